"""Finished work, kept: a run that is stopped at any moment goes on where it was."""

import json
import os
import time

import h5py

from baselines.digests import digest


class Pieces:
    """A folder of finished work, a small HDF5 file for each piece.

    A file is written beside, flushed to the disk, and renamed, so it is whole or it is not there.
    It carries a SHA-256 of its arrays, and what they were made from: a piece that is damaged, or
    was made from anything else, is made again. (One file for all would not do: a run killed while
    it writes can leave an HDF5 file that nothing reads any more.)

    Args:
        folder: The folder, a `pathlib.Path`; made where it is missing.

    Attributes:
        seconds: How long each piece that was asked for took to make, in whichever run that was, a
            dict from its name.

    Examples:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pieces = Pieces(pathlib.Path(folder))
        ...     made = pieces.get("ones", {"count": 2}, lambda: {"x": np.ones(2)})
        ...     kept = pieces.get("ones", {"count": 2}, lambda: {"x": np.zeros(2)})
        ones: making
        ones: made in 0 s
        ones: kept
        >>> kept["x"]
        array([1., 1.])
    """

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.seconds = {}

    def get(self, name, made_from, make):
        """Read a piece, or make and keep it.

        Args:
            name: Its name, which names its file.
            made_from: All that it depends on, a dict that JSON can hold: parameters, and digests
                of data.
            make: A function of nothing that makes it, a dict of arrays.

        Returns:
            The piece, a dict of arrays.
        """
        path = self.folder / f"{name}.h5"
        made_from = json.dumps(made_from, sort_keys=True)
        kept = self._read(path, name, made_from)
        if kept is not None:
            print(f"{name}: kept", flush=True)
            return kept
        print(f"{name}: making", flush=True)
        started = time.monotonic()
        arrays = make()
        self.seconds[name] = time.monotonic() - started
        _write(path, arrays, made_from, self.seconds[name])
        print(f"{name}: made in {self.seconds[name]:.0f} s", flush=True)
        return arrays

    def _read(self, path, name, made_from):
        if not path.exists():
            return None
        try:
            with h5py.File(path) as file:
                arrays = {key: dataset[()] for key, dataset in file.items()}
                origin, seconds = file.attrs["made_from"], float(file.attrs["seconds"])
                whole = file.attrs["sha256"] == _checksum(arrays, origin, seconds)
        except Exception:  # whatever HDF5 stumbles over
            whole = False
        if not whole:
            print(f"{name}: {path.name} is damaged, and is made again", flush=True)
        elif origin != made_from:
            print(f"{name}: {path.name} was made otherwise, and is made again", flush=True)
        else:
            self.seconds[name] = seconds
            return arrays
        return None


def _write(path, arrays, made_from, seconds):
    beside = path.with_name(f"{path.name}.part")
    with h5py.File(beside, "w") as file:
        for key, values in arrays.items():
            file.create_dataset(key, data=values, compression="gzip", compression_opts=1)
        checksum = _checksum(arrays, made_from, seconds)
        file.attrs.update(sha256=checksum, made_from=made_from, seconds=seconds)
    _flush(beside)
    os.replace(beside, path)
    _flush(path.parent)  # the name too


def _checksum(arrays, made_from, seconds):
    named = (part for key in sorted(arrays) for part in (key, arrays[key]))
    return digest(made_from, seconds, *named)


def _flush(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
