"""The data sets of Env1: digits (ships with scikit-learn), MNIST and CIFAR-10."""

import os
import pathlib
from typing import NamedTuple

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

NAMES = ("digits", "mnist", "cifar10")

_KERAS_DATASETS = {"mnist": keras.datasets.mnist, "cifar10": keras.datasets.cifar10}


class Dataset(NamedTuple):
    """Images, float32 in [0, 1], (n, height, width, channels), and labels, int64, (n,)."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load(name, data_dir=None):
    """Load one data set of Env1.

    Args:
        name: `"digits"` (8×8 grey, 1,197 train and 600 test, always at hand), `"mnist"`
            (28×28 grey, 60,000 and 10,000) or `"cifar10"` (32×32 colour, 50,000 and 10,000).
        data_dir: Folder that holds `<name>.npz` with the arrays `x_train`, `y_train`, `x_test`
            and `y_test`, images as uint8. Defaults to the environment variable `A2D_DATA_DIR`;
            where neither is given, Keras looks in its cache and downloads what is missing.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: If `name` is unknown.
        FileNotFoundError: If the data is neither in the folder named nor within Keras's reach.

    Examples:
        >>> load("digits").x_test.shape
        (600, 8, 8, 1)
    """
    if name not in NAMES:
        raise ValueError(f"`name` must be one of {', '.join(NAMES)}. Received: {name!r}")
    if name == "digits":
        return _digits()
    data_dir = data_dir or os.environ.get("A2D_DATA_DIR")
    return Dataset(*(_read(name, data_dir) if data_dir else _from_keras(name)))


def _digits():
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype("float32")
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=600, stratify=labels, random_state=0
    )
    return Dataset(x_train, y_train, x_test, y_test)


def _read(name, data_dir):
    path = pathlib.Path(data_dir) / f"{name}.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {name}.npz in the data folder; put it there, or name no folder to let "
            f"Keras download it. Received: {data_dir}"
        )
    with np.load(path, allow_pickle=False) as arrays:
        return [_scale(arrays[field]) for field in Dataset._fields]


def _from_keras(name):
    try:
        (x_train, y_train), (x_test, y_test) = _KERAS_DATASETS[name].load_data()
    except Exception as error:  # Keras reports a failed download as a bare Exception
        raise FileNotFoundError(
            f"{name} is not in the Keras cache and could not be downloaded; go online, or name "
            f"the folder that holds {name}.npz (--data-dir, or A2D_DATA_DIR). Received: {error}"
        ) from error
    return [_scale(array) for array in (x_train, y_train, x_test, y_test)]


def _scale(array):
    if array.ndim <= 2:  # labels, which CIFAR-10 keeps in a column
        return array.reshape(-1).astype("int64")
    images = array.astype("float32") / 255
    return images if images.ndim == 4 else images[..., None]
