"""Files that are written completely or not at all."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replace_atomically(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Write a file under a temporary name, and rename it once it is complete.

    Args:
        path: The file to write or to replace.

    Yields:
        The path to write to, in the same folder and with the same suffix.

    Raises:
        ValueError: Before any work is done, if the folder is missing or cannot be written to.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replace_atomically(os.path.join(folder, "words.txt")) as temporary:
        ...         _ = temporary.write_text("complete")
        ...     os.listdir(folder)
        ['words.txt']
    """
    path = pathlib.Path(path)
    require_writable(path)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a path where no file can be written.

    Args:
        path: The path.

    Raises:
        ValueError: If it is a folder, or its folder is missing or cannot be written to.

    Examples:
        >>> require_writable("nowhere/words.txt")
        Traceback (most recent call last):
        ValueError: A file must go into a folder that can be written to. Received: nowhere/words.txt
    """
    path = pathlib.Path(path)
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise ValueError(f"A file must go into a folder that can be written to. Received: {path}")


def require_folder(path: str | os.PathLike[str]) -> None:
    """Refuse a path where no folder of files can be made.

    Args:
        path: The path.

    Raises:
        ValueError: If it, or what there is of it, is no folder that can be written to.

    Examples:
        >>> require_folder("report/of/today")
    """
    path = pathlib.Path(path).absolute()
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"The folder must be one that can be written to. Received: {path}")


def _flush(path: pathlib.Path) -> None:
    """Flush a file to the disk before it replaces the old one.

    Otherwise a power cut could destroy both.
    """
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
