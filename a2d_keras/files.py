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
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise ValueError(f"A file must go into a folder that can be written to. Received: {path}")
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: pathlib.Path) -> None:
    """Flush a file to the disk before it replaces the old one.

    Otherwise a power cut could destroy both.
    """
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
