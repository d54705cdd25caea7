"""Keep finished results on disk, so that a run that was stopped continues."""

import json
import os
import time

import h5py

from a2d_keras.progress import duration
from baselines.digests import digest


class Checkpoints:
    """A folder of finished results, a small HDF5 file for each.

    A file is written under another name, flushed to the disk and renamed, so it is complete or
    absent. It holds the SHA-256 of its arrays, and their origin. A checkpoint that is damaged, or
    has another origin, is computed again. (One file for all is not enough: a run killed while it
    writes can leave an HDF5 file that nothing can read.)

    Args:
        folder: The folder, a `pathlib.Path`; created if missing. None keeps nothing.

    Attributes:
        seconds: A dict from the name of each checkpoint that was asked for to the seconds that
            computing it took, in this or an earlier run.

    Examples:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoints = Checkpoints(pathlib.Path(folder))
        ...     made = checkpoints.get("ones", {"count": 2}, lambda: {"x": np.ones(2)})
        ...     kept = checkpoints.get("ones", {"count": 2}, lambda: {"x": np.zeros(2)})
        ones: computing
        ones: computed in 0 s
        ones: kept
        >>> kept["x"]
        array([1., 1.])
    """

    def __init__(self, folder):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.seconds = {}
        self._asked, self._expected, self._computed = 0, None, []

    def expect(self, count):
        """Say how many checkpoints will be asked for, so that each line says how much is done.

        Args:
            count: How many more.
        """
        self._expected = self._asked + count

    def get(self, name, origin, compute):
        """Read a checkpoint, or compute and keep it.

        Args:
            name: Its name, and that of its file.
            origin: Everything that it depends on, a dict that JSON can hold: parameters, and
                digests of data.
            compute: A function without arguments that computes it, a dict of arrays.

        Returns:
            The dict of arrays.
        """
        if self.folder is None:
            return compute()
        path = self.folder / f"{name}.h5"
        origin = json.dumps(origin, sort_keys=True)
        kept, place = self._read(path, name, origin), self._place()
        if kept is not None:
            print(f"{name}: kept{place}", flush=True)
            return kept
        print(f"{name}: computing{place}", flush=True)
        started = time.monotonic()
        arrays = compute()
        self.seconds[name] = seconds = time.monotonic() - started
        _write(path, arrays, origin, seconds)
        self._computed.append(seconds)
        print(f"{name}: computed in {seconds:.0f} s{self._left()}", flush=True)
        return arrays

    def _place(self):
        self._asked += 1
        return "" if self._expected is None else f" (piece {self._asked} of {self._expected})"

    def _left(self):
        """Say how long the others may take, if they take as long as those of this run."""
        others = (self._expected or 0) - self._asked
        mean = sum(self._computed) / len(self._computed)
        return f", about {duration(mean * others)} left" if others > 0 else ""

    def _read(self, path, name, expected):
        if not path.exists():
            return None
        try:
            with h5py.File(path) as file:
                arrays = {key: dataset[()] for key, dataset in file.items()}
                origin, seconds = file.attrs["origin"], float(file.attrs["seconds"])
                intact = file.attrs["sha256"] == _checksum(arrays, origin, seconds)
        except Exception:  # HDF5 raises errors of many kinds for damaged files
            intact = False
        if not intact:
            print(f"{name}: {path.name} is damaged; computing it again", flush=True)
        elif origin != expected:
            print(f"{name}: {path.name} has another origin; computing it again", flush=True)
        else:
            self.seconds[name] = seconds
            return arrays
        return None


def _write(path, arrays, origin, seconds):
    temporary = path.with_name(f"{path.name}.part")
    with h5py.File(temporary, "w") as file:
        for key, values in arrays.items():
            file.create_dataset(key, data=values, compression="gzip", compression_opts=1)
        checksum = _checksum(arrays, origin, seconds)
        file.attrs.update(sha256=checksum, origin=origin, seconds=seconds)
    _flush(temporary)
    os.replace(temporary, path)
    _flush(path.parent)  # the name too


def _checksum(arrays, origin, seconds):
    named = (part for key in sorted(arrays) for part in (key, arrays[key]))
    return digest(origin, seconds, *named)


def _flush(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
