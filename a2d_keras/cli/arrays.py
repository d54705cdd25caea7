"""Arrays in NPZ and NPY files, and the names that they have there."""

import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

_LABELS = "y"
_KEYS = ("x", "image", "image/encoded")  # tried in this order if no key is given


def load(path: pathlib.Path, key: str | None) -> np.ndarray:
    """Read the array of inputs of a file.

    Args:
        path: An NPZ or NPY file.
        key: The array of an NPZ file. Defaults to the only one, or x, image or image/encoded.

    Returns:
        The array, real numbers.

    Raises:
        ValueError: If the file is not complete, or there is no such array.
    """
    values = _complete(path, lambda: np.load(path, mmap_mode="r", allow_pickle=False))
    if not isinstance(values, np.ndarray):
        with values as arrays:
            name = choose(arrays.files, key, str(path))
            values = _complete(path, lambda: arrays[name])
    if values.dtype.kind not in "buif" or values.ndim == 0:
        raise ValueError(
            "Inputs must be an array of real numbers. "
            f"Received: {values.dtype} of the shape {values.shape} in {path}"
        )
    return np.asarray(values)


def labels(source: str, key: str | None = None) -> np.ndarray | None:
    """Read the true classes that an NPZ file holds beside its inputs.

    Args:
        source: What `readers.read` takes.
        key: The name of the array. Defaults to `y`, if there is one.

    Returns:
        The classes, int64, (n,); None if there are none and no key was given.

    Raises:
        ValueError: If there is no array of that name, or it holds no whole numbers.

    Examples:
        >>> labels("photos/") is None
        True
    """
    path = pathlib.Path(source)
    if key is None and (path.suffix != ".npz" or not path.is_file()):
        return None
    if path.suffix != ".npz":
        raise ValueError(f"--labels names an array of an NPZ file. Received: {key} for {source}")
    arrays = _complete(path, lambda: dict(np.load(path, allow_pickle=False)))
    name = key or _LABELS
    if name not in arrays:
        if key is None:
            return None
        raise ValueError(
            f"--labels must name one of {', '.join(sorted(arrays))}. Received: {key} for {source}"
        )
    values = np.asarray(arrays[name])
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError(
            "Classes must be whole numbers, one for each input. "
            f"Received: {values.dtype} of the shape {values.shape} in {source}"
        )
    return values.astype("int64")


def choose(names: Iterable[str], key: str | None, source: str) -> str:
    """Choose the array or feature that holds the inputs.

    Args:
        names: The names that there are.
        key: The name that was given, or None.
        source: Where they are, for an error.

    Returns:
        The name.

    Raises:
        ValueError: If there is no such name, or no obvious one.

    Examples:
        >>> choose(["label", "x"], None, "test.npz")
        'x'
    """
    names = sorted(names)
    wanted = [key] if key else [*_KEYS, *(names if len(names) == 1 else [])]
    for name in wanted:
        if name in names:
            return name
    raise ValueError(
        f"Choose the inputs with --key: one of {', '.join(names)}. "
        f"Received: {'--key ' + key if key else 'no --key'} for {source}"
    )


def _complete(path: pathlib.Path, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"An NPZ or NPY file must be complete, and hold only numbers. Received: {path}: {error}"
        ) from error
