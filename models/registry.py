"""The data sets, one file each, with a `RECORD`; to add one, add its line here.

Env2 of the paper has classifiers of its own on the same data, with attacks of its own. They have
another list, which `baselines.env2` and `models.train` offer; the other suites ask for a data set.
"""

import importlib

from models.record import Record

NAMES = (
    "digits",
    "mnist",
    "cifar10",
)
ENV2_NAMES = (
    "lenet5",
    "resnet20",
)
RECORDS = {name: importlib.import_module(f"models.{name}").RECORD for name in NAMES}
ENV2_RECORDS = {name: importlib.import_module(f"models.{name}").RECORD for name in ENV2_NAMES}


def find(name: str) -> Record:
    """Find the record of a data set, or of a classifier of Env2.

    Args:
        name: Its name.

    Returns:
        The `models.record.Record`.

    Raises:
        ValueError: If none has that name.

    Examples:
        >>> find("digits").epochs
        100
    """
    known = RECORDS | ENV2_RECORDS
    if name not in known:
        raise ValueError(f"`name` must be one of {', '.join(known)}. Received: {name!r}")
    return known[name]
