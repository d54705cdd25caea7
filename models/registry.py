"""The data sets, one file each, with a `RECORD`; to add one, add its line here.

Other classifiers of the same data have lists of their own, which `models.train` offers, since the
suites ask for a data set: those of the paper's Env2, with attacks of their own, those that were
trained adversarially, and MagNet's autoencoders.
"""

import importlib

from models import magnet
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
ROBUST_NAMES = (
    "mnist_robust",
    "cifar10_robust",
)
_OTHERS = (*ENV2_NAMES, *ROBUST_NAMES)
RECORDS = {name: importlib.import_module(f"models.{name}").RECORD for name in NAMES}
OTHER_RECORDS = {name: importlib.import_module(f"models.{name}").RECORD for name in _OTHERS}
OTHER_RECORDS |= magnet.RECORDS


def find(name: str) -> Record:
    """Find the record of a data set, of another classifier, or of an autoencoder.

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
    known = RECORDS | OTHER_RECORDS
    if name not in known:
        raise ValueError(f"`name` must be one of {', '.join(known)}. Received: {name!r}")
    return known[name]
