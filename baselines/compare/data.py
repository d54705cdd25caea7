"""A user's data: arrays in an NPZ file, checked against the classifier."""

import pathlib
from typing import NamedTuple

import numpy as np

from models.record import Dataset

_NEEDED, _TRAINING, _NAMES = ("x_test", "y_test"), ("x_train", "y_train"), "class_names"


class Data(NamedTuple):
    """Arrays, and the names of the classes.

    Attributes:
        arrays: The `models.record.Dataset`; without training inputs, its first two arrays are
            empty.
        class_names: A list of strings, or None.
    """

    arrays: Dataset
    class_names: list[str] | None


def load(path, classifier):
    """Load an NPZ file.

    Args:
        path: The file, with the arrays `x_test` and `y_test`, and optionally `x_train`, `y_train`
            and `class_names`.
        classifier: The `a2d_keras.Classifier` that takes the inputs.

    Returns:
        The `Data`.

    Raises:
        ValueError: If the file does not exist, or `check` refuses what it holds.
    """
    path = pathlib.Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except Exception as error:  # NumPy and zipfile raise errors of many kinds for damaged files
        raise ValueError(
            f"The data must be an NPZ file of arrays, x_test and y_test. Received: {path}: {error}"
        ) from error
    return check(arrays, classifier)


def check(arrays, classifier):
    """Check arrays, and convert them.

    Pixels of the type uint8 are scaled to the bounds of the classifier. Other numbers stay.

    Args:
        arrays: A dict, or a `models.record.Dataset`, as `load` describes it.
        classifier: As for `load`.

    Returns:
        The `Data`.

    Raises:
        ValueError: If an array is missing, or does not fit the classifier or the others.
    """
    if isinstance(arrays, Dataset):
        arrays = arrays._asdict()
    wanted = [*_NEEDED, *(_TRAINING if {*_TRAINING} & {*arrays} else ())]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise ValueError(
            f"The data must hold {', '.join(wanted)}. Received: {', '.join(arrays)}, "
            f"without {', '.join(missing)}"
        )
    found = {}
    for kind in ("test", "train"):
        x, y = f"x_{kind}", f"y_{kind}"
        given = arrays if x in wanted else {x: found["x_test"][:0], y: np.empty(0, "int64")}
        found[x] = _inputs(x, np.asarray(given[x]), classifier)
        found[y] = _classes(y, np.asarray(given[y]), len(found[x]), classifier.classes)
    return Data(Dataset(**found), _names(arrays.get(_NAMES), classifier.classes))


def _inputs(name, x, classifier):
    shape = classifier.input_shape
    if x.ndim == len(shape) and shape[-1] == 1:
        x = x[..., None]  # grey images often lack the channel
    fits = len(x.shape[1:]) == len(shape) and all(
        size in (None, own) for size, own in zip(shape, x.shape[1:], strict=True)
    )
    if not fits or x.dtype.kind not in "buif":
        raise ValueError(
            f"`{name}` must hold numbers of the shape (n, {', '.join(map(str, shape))}). "
            f"Received: {x.dtype} of the shape {x.shape}"
        )
    low, high = classifier.bounds
    if x.dtype == np.uint8:
        x = low + x * ((high - low) / 255)
    x = x.astype("float32")
    if len(x) and not ((x >= low) & (x <= high)).all():
        raise ValueError(
            f"`{name}` must lie within the bounds; give others with --bounds, or "
            f"`Classifier(model, bounds=...)`. Received: {x.min():g} to {x.max():g}"
        )
    return x


def _classes(name, y, inputs, classes):
    y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    fits = y.shape == (inputs,) and y.dtype.kind in "iu"
    if not fits or (inputs and not 0 <= y.min() <= y.max() < classes):
        raise ValueError(
            f"`{name}` must hold the class of each input, a whole number from 0 to {classes - 1}. "
            f"Received: {y.dtype} of the shape {y.shape} for {inputs} inputs"
        )
    return y.astype("int64")


def _names(names, classes):
    if names is None:
        return None
    names = [str(name) for name in np.asarray(names).reshape(-1)]
    if len(names) != classes:
        raise ValueError(
            f"`class_names` must name each of the {classes} classes. Received: {len(names)} names"
        )
    return names
