"""Inputs from files, one at a time: arrays, images, and TFRecords of `tf.train.Example`."""

import glob
import itertools
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from a2d_keras.classifier import Classifier

_IMAGES = (".jpeg", ".jpg", ".png")
_ARRAYS = (".npy", ".npz")
_LABELS = "y"
_KEYS = ("x", "image", "image/encoded")  # tried in this order if no key is given

_Rows = Iterator[tuple[str, np.ndarray]]  # names and inputs


class Reader(NamedTuple):
    """A classifier's inputs in files, read again on every pass.

    Attributes:
        source: Where they are, as the user named it.
        rows: Starts a pass: yields the name of each input, and the input, float32,
            (*input_shape,).
        shape: The shape of an input, with None for sizes that are left open.
    """

    source: str
    rows: Callable[[], _Rows]
    shape: tuple[int | None, ...]

    def batches(self, size: int) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
        """Read the inputs, with one batch in memory.

        Args:
            size: Inputs in a batch.

        Yields:
            The names of a batch of inputs, and the inputs, float32, (size, *input_shape).
        """
        rows = self.rows()
        while batch := list(itertools.islice(rows, size)):
            names, images = zip(*batch, strict=True)
            yield names, np.stack(images)

    def first(self, count: int) -> np.ndarray:
        """Read the first inputs.

        Args:
            count: The largest number of inputs to read.

        Returns:
            The inputs, float32, (at most `count`, *input_shape).

        Raises:
            ValueError: If there is none.
        """
        images = [image for _, image in itertools.islice(self.rows(), max(count, 0))]
        if not images:
            raise ValueError(
                f"There must be at least one input. Received: {count} of {self.source}"
            )
        return np.stack(images)

    def dataset(self, size: int) -> tf.data.Dataset:
        """Make a dataset of the inputs, without names.

        Args:
            size: Inputs in a batch.

        Returns:
            A `tf.data.Dataset` of float32 batches.
        """
        rows = tf.data.Dataset.from_generator(
            lambda: (image for _, image in self.rows()),
            output_signature=tf.TensorSpec(self.shape, tf.float32),
        )
        return rows.batch(size)


def read(source: str, classifier: Classifier, key: str | None = None) -> Reader:
    """Find inputs, and read them when they are needed.

    Pixels (images, and arrays of type uint8) are scaled from 0 ... 255 to the classifier's bounds,
    each feature to its own bounds; other numbers are used as they are. Images are decoded to the
    classifier's `data_format`; arrays must have it already.

    Args:
        source: An NPZ or NPY file, a PNG or JPEG image, a folder of images and subfolders, a file
            of TFRecords, or a glob pattern of images or of TFRecords.
        classifier: The `Classifier` that takes the inputs.
        key: The array of an NPZ file, or the feature of TFRecords, that holds the inputs. Defaults
            to the only one, or the first of `x`, `image` and `image/encoded`.

    Returns:
        A `Reader`, whose rows raise `ValueError` for a file that cannot be read, or inputs of
        another shape.

    Raises:
        ValueError: If there is nothing to read, or the array is missing.

    Examples:
        >>> import keras, os, tempfile
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "pixels.npy")
        ...     np.save(path, np.full((2, 4), 255, "uint8"))
        ...     names, x = next(read(path, Classifier(model)).batches(128))
        >>> names, float(x.max())
        (('0', '1'), 1.0)
    """
    rows = _find(source, classifier, key)
    return Reader(source, lambda: _conform(rows(), source, classifier), classifier.input_shape)


def labels(source: str, key: str | None = None) -> np.ndarray | None:
    """Read the true classes that an NPZ file holds beside its inputs.

    Args:
        source: What `read` takes.
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


def channel_axis(classifier: Classifier) -> int:
    """Return which axis of an image holds its channels.

    Args:
        classifier: The `Classifier` that takes the image.

    Returns:
        -1 if its `data_format` is channels last, 0 if it is channels first.

    Examples:
        >>> import keras
        >>> layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
        >>> channel_axis(Classifier(keras.Sequential(layers)))
        -1
    """
    return 0 if classifier.data_format == "channels_first" else -1


def _find(source: str, classifier: Classifier, key: str | None) -> Callable[[], _Rows]:
    folder = pathlib.Path(source)
    if folder.is_dir():
        files = sorted(path for path in folder.rglob("*") if _is_image(path))
        _require_some(files, source)
        named = {path.relative_to(folder).as_posix(): path for path in files}
        return lambda: _images(named, classifier)
    files = [folder] if folder.is_file() else sorted(map(pathlib.Path, glob.glob(source)))
    _require_some(files, source)
    if all(_is_image(path) for path in files):
        return lambda: _images({str(path): path for path in files}, classifier)
    if len(files) == 1 and files[0].suffix in _ARRAYS:
        values = _load(files[0], key)
        return lambda: ((str(index), row) for index, row in enumerate(values))
    return lambda: _records(files, classifier, key)


def _conform(rows: _Rows, source: str, classifier: Classifier) -> _Rows:
    """Convert inputs to the classifier's shape and scale, and refuse those of another shape."""
    shape, axis = classifier.input_shape, channel_axis(classifier)
    for name, values in rows:
        if values.ndim == len(shape) - 1 and shape[axis] == 1:
            values = np.expand_dims(values, axis)  # grey images often lack the channel
        if not tf.TensorShape(shape).is_compatible_with(values.shape):
            raise ValueError(
                f"Every input must have the shape {shape}. Received: {values.shape}, {name} of "
                f"{source}"
            )
        shape = values.shape  # the first input settles the sizes left open
        yield name, _scale(values, classifier).astype("float32")


def _scale(values: np.ndarray, classifier: Classifier) -> np.ndarray:
    """Scale pixels to the bounds, which may differ between features."""
    if values.dtype != np.uint8:
        return values
    low, high = (np.asarray(bound, "float64") for bound in classifier.bounds)
    scaled: np.ndarray = low + values.astype("float64") * (high - low) / 255
    return scaled


def _images(files: dict[str, pathlib.Path], classifier: Classifier) -> _Rows:
    for name, path in files.items():
        yield name, _decode(path.read_bytes(), classifier, str(path))


def _decode(encoded: bytes, classifier: Classifier, name: str) -> np.ndarray:
    """Decode an image, with the number and the place of channels that the classifier takes."""
    shape, axis = classifier.input_shape, channel_axis(classifier)
    channels = 1 if len(shape) == 2 else shape[axis] if len(shape) == 3 else None
    if channels not in (1, 3, 4):
        raise ValueError(
            "Images need a classifier of inputs with a height and a width, and with 1, 3 or 4 "
            f"channels or none. Received: a classifier of inputs of the shape {shape}"
        )
    try:
        image = tf.io.decode_image(encoded, channels, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            "An image must be a complete PNG or JPEG file that TensorFlow can decode. "
            f"Received: {name}"
        ) from error
    return np.moveaxis(image, -1, axis) if len(shape) == 3 else image[..., 0]


def _load(path: pathlib.Path, key: str | None) -> np.ndarray:
    values = _complete(path, lambda: np.load(path, mmap_mode="r", allow_pickle=False))
    if not isinstance(values, np.ndarray):
        with values as arrays:
            name = _choose(arrays.files, key, str(path))
            values = _complete(path, lambda: arrays[name])
    if values.dtype.kind not in "buif" or values.ndim == 0:
        raise ValueError(
            "Inputs must be an array of real numbers. "
            f"Received: {values.dtype} of the shape {values.shape} in {path}"
        )
    return np.asarray(values)


def _complete(path: pathlib.Path, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"An NPZ or NPY file must be complete, and hold only numbers. Received: {path}: {error}"
        ) from error


def _records(files: list[pathlib.Path], classifier: Classifier, key: str | None) -> _Rows:
    for path in files:
        try:
            for index, record in enumerate(tf.data.TFRecordDataset(str(path))):
                name, example = f"{path}:{index}", tf.train.Example.FromString(record.numpy())
                yield name, _input(example, classifier, key, name)
        except (tf.errors.DataLossError, DecodeError) as error:
            raise ValueError(
                f"TFRecords must be complete, and each a `tf.train.Example`. Received: {path}"
            ) from error


def _input(example: Any, classifier: Classifier, key: str | None, name: str) -> np.ndarray:
    features = example.features.feature
    feature = features[_choose(features, key, name)]
    if feature.WhichOneof("kind") == "bytes_list" and feature.bytes_list.value:
        return _decode(feature.bytes_list.value[0], classifier, name)
    numbers = np.array([*feature.float_list.value, *feature.int64_list.value])
    sizes = [-1 if size is None else size for size in classifier.input_shape]
    try:
        return numbers.reshape(sizes)
    except ValueError as error:
        raise ValueError(
            "A feature must hold an encoded image, or the numbers of an input of the shape "
            f"{classifier.input_shape}. Received: {len(numbers)} numbers in {name}"
        ) from error


def _choose(names: Iterable[str], key: str | None, source: str) -> str:
    """Choose the array or feature that holds the inputs."""
    names = sorted(names)
    wanted = [key] if key else [*_KEYS, *(names if len(names) == 1 else [])]
    for name in wanted:
        if name in names:
            return name
    raise ValueError(
        f"Choose the inputs with --key: one of {', '.join(names)}. "
        f"Received: {'--key ' + key if key else 'no --key'} for {source}"
    )


def _is_image(path: pathlib.Path) -> bool:
    return path.suffix.lower() in _IMAGES


def _require_some(files: list[pathlib.Path], source: str) -> None:
    if not files:
        raise ValueError(
            "There is nothing to read: name an NPZ or NPY file, PNG or JPEG images, a folder of "
            f"images, or TFRecords. Received: {source}"
        )
