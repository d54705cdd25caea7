"""Finished parts of a run on disk, so that a run that was stopped continues."""

import hashlib
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from a2d_keras.files import replace_atomically

Arrays = dict[str, np.ndarray]
_ORIGIN = "origin"


class Checkpoints:
    """A folder of finished parts, an NPZ file for each; or nothing, if there is no folder.

    A part with another origin, or a damaged file, is computed again.

    Args:
        folder: The folder, created if missing. None keeps nothing.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kept = Checkpoints(folder)
        ...     first = kept.get("ones", [1], lambda: {"x": np.ones(2)})
        ...     again = kept.get("ones", [1], lambda: {"x": np.zeros(2)})
        >>> again["x"]
        array([1., 1.])
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self._folder = None if folder is None else pathlib.Path(folder)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, origin: list[Any], compute: Callable[[], Arrays]) -> Arrays:
        """Read a part, or compute and keep it.

        Args:
            name: Its name, and that of its file.
            origin: All that it depends on: arrays, and whatever has a `repr` of its value.
            compute: Computes it, a dict of arrays.

        Returns:
            The dict of arrays.
        """
        if self._folder is None:
            return compute()
        path, digest = self._folder / f"{name}.npz", _digest(origin)
        kept = _read(path)
        if kept is None or str(kept.pop(_ORIGIN, "")) != digest:
            kept = compute()
            with replace_atomically(path) as part, open(part, "wb") as file:
                arrays: Any = {_ORIGIN: np.asarray(digest), **kept}
                np.savez_compressed(file, **arrays)
        return kept


def _digest(origin: list[Any]) -> str:
    found = hashlib.sha256()
    for part in origin:
        array = isinstance(part, np.ndarray)
        found.update(f"{part.dtype}{part.shape}".encode() if array else b"value")
        found.update(np.ascontiguousarray(part).tobytes() if array else repr(part).encode())
    return found.hexdigest()


def _read(path: pathlib.Path) -> Arrays | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        return None
