"""Sources of data: a folder that the user names, or else Keras."""

import os
import pathlib

import numpy as np

from models.record import Dataset


def from_folder_or_keras(module, data_dir):
    """Read a data set of Keras from a folder. Without one, let Keras find or download it.

    Args:
        module: The module of the data set, such as `keras.datasets.mnist`.
        data_dir: Folder that holds `<name>.npz` with the arrays `x_train`, `y_train`, `x_test` and
            `y_test`, images as uint8. If it is None, the environment variable `A2D_DATA_DIR`
            names the folder, if set.

    Returns:
        The `Dataset`.

    Raises:
        FileNotFoundError: If the data is not in the folder and Keras cannot download it.
    """
    name = module.__name__.rpartition(".")[2]
    data_dir = data_dir or os.environ.get("A2D_DATA_DIR")
    return Dataset(*(_read(name, data_dir) if data_dir else _from_keras(name, module)))


def _read(name, data_dir):
    path = pathlib.Path(data_dir) / f"{name}.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {name}.npz in the data folder; put it there, or leave the folder out to "
            f"let Keras download it. Received: {data_dir}"
        )
    with np.load(path, allow_pickle=False) as arrays:
        return [_scale(arrays[field]) for field in Dataset._fields]


def _from_keras(name, module):
    try:
        (x_train, y_train), (x_test, y_test) = module.load_data()
    except Exception as error:  # Keras reports a failed download as a bare Exception
        raise FileNotFoundError(
            f"{name} is not in the Keras cache and could not be downloaded; go online, or name "
            f"the folder of {name}.npz (--data-dir, or A2D_DATA_DIR). Received: {error}"
        ) from error
    return [_scale(array) for array in (x_train, y_train, x_test, y_test)]


def _scale(array):
    if array.ndim <= 2:  # labels; CIFAR-10 has them in a column
        return array.reshape(-1).astype("int64")
    images = array.astype("float32") / 255
    return images if images.ndim == 4 else images[..., None]
