"""The data sets, loaded by name."""

from models import registry
from models.record import Dataset

NAMES = registry.NAMES


def load(name: str, data_dir: str | None = None) -> Dataset:
    """Load a data set.

    Args:
        name: `"digits"` (8×8 grey, 1,197 train and 600 test, always available), `"mnist"`
            (28×28 grey, 60,000 and 10,000), `"cifar10"` (32×32 colour, 50,000 and 10,000), or
            another of `NAMES`.
        data_dir: Folder that holds `<name>.npz` with the arrays `x_train`, `y_train`, `x_test`
            and `y_test`, images as uint8. Defaults to the environment variable `A2D_DATA_DIR`;
            if neither is given, Keras looks in its cache and downloads what is missing.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: If `name` is unknown.
        FileNotFoundError: If the data is not in the folder and Keras cannot download it.

    Examples:
        >>> load("digits").x_test.shape
        (600, 8, 8, 1)
    """
    return registry.find(name).load(data_dir)
