"""Files that are written whole or not at all."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replace_atomically(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Write a file beside another, which it replaces when all has gone well.

    Args:
        path: The file to write or to replace.

    Yields:
        The path to write to, in the same folder and with the same suffix.

    Raises:
        ValueError: If the folder is missing or cannot be written to: before any work is done.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replace_atomically(os.path.join(folder, "words.txt")) as beside:
        ...         _ = beside.write_text("whole")
        ...     os.listdir(folder)
        ['words.txt']
    """
    path = pathlib.Path(path)
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise ValueError(f"A file must go into a folder that can be written to. Received: {path}")
    beside = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        yield beside
        _flush(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _flush(path: pathlib.Path) -> None:
    """Have the disk hold all of it before the old file goes, lest a power cut leave neither."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
