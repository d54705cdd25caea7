"""The data sets, one file each, with a `RECORD`; to add one, add its line here."""

import importlib

from models.record import Record

NAMES = (
    "digits",
    "mnist",
    "cifar10",
)
RECORDS = {name: importlib.import_module(f"models.{name}").RECORD for name in NAMES}


def find(name: str) -> Record:
    """Find the record of a data set.

    Args:
        name: Its name.

    Returns:
        The `models.record.Record`.

    Raises:
        ValueError: If no data set has that name.

    Examples:
        >>> find("digits").epochs
        100
    """
    if name not in RECORDS:
        raise ValueError(f"`name` must be one of {', '.join(RECORDS)}. Received: {name!r}")
    return RECORDS[name]
