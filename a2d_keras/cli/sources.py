"""Files of inputs, found by what the user names. Nothing here imports TensorFlow."""

import glob
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

IMAGES = (".jpeg", ".jpg", ".png")
ARRAYS = (".npy", ".npz")
_OTHER_IMAGES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".tif", ".tiff", ".webp")
_MAX_NAMED = 5  # files in a sentence


class Source(NamedTuple):
    """Files of inputs.

    Attributes:
        named: As the user named them.
        kind: `"images"`, `"array"` or `"records"`.
        files: The files, by their names in tables.
        skipped: The names of the files beside images that are no PNG or JPEG.
    """

    named: str
    kind: str
    files: dict[str, pathlib.Path]
    skipped: tuple[str, ...]


def find(source: str) -> Source:
    """Find files of inputs.

    Args:
        source: An NPZ or NPY file, a PNG or JPEG image, a folder of images and subfolders, a file
            of TFRecords, or a glob pattern of images or of TFRecords.

    Returns:
        The `Source`.

    Raises:
        ValueError: If there is nothing to read, or only images of other formats.

    Examples:
        >>> find("missing.npz")
        Traceback (most recent call last):
        ValueError: There is nothing to read: name an NPZ or NPY file, PNG or JPEG images, a \
folder of images, or TFRecords. Received: missing.npz
    """
    folder = pathlib.Path(source)
    if folder.is_dir():
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path for path in paths}
        files = {name: path for name, path in files.items() if not _is_hidden(name)}
    else:
        paths = [folder] if folder.is_file() else sorted(map(pathlib.Path, glob.glob(source)))
        files = {str(path): path for path in paths if path.is_file()}
    images = {name: path for name, path in files.items() if path.suffix.lower() in IMAGES}
    skipped = tuple(name for name in files if name not in images)
    if images:
        return Source(source, "images", images, skipped)
    others = [name for name in skipped if pathlib.Path(name).suffix.lower() in _OTHER_IMAGES]
    if others:
        raise ValueError(
            "Images must be PNG or JPEG files; convert those of other formats, such as HEIC. "
            f"Received: {listed(others)} of {source}"
        )
    if not files or folder.is_dir():
        raise ValueError(
            "There is nothing to read: name an NPZ or NPY file, PNG or JPEG images, a folder of "
            f"images, or TFRecords. Received: {source}"
        )
    is_array = len(files) == 1 and paths[0].suffix in ARRAYS
    return Source(source, "array" if is_array else "records", files, ())


def listed(names: Sequence[str]) -> str:
    """Name files in a sentence.

    Args:
        names: Their names.

    Returns:
        The first of them, and how many more there are.

    Examples:
        >>> listed(["a", "b"]), listed(list("abcdefgh"))
        ('a, b', 'a, b, c, d, e and 3 more')
    """
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in pathlib.PurePosixPath(name).parts)
