"""Inputs from files, one at a time: arrays, images, and TFRecords of `tf.train.Example`."""

import functools
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from a2d_keras import inputs
from a2d_keras.classifier import Classifier
from a2d_keras.cli import arrays, sources
from a2d_keras.cli.images import channel_axis, decode, sides

_Load = Callable[[tuple[int, int] | None], np.ndarray]  # given the size of an image
_Files = Iterator[tuple[str, _Load]]  # names, and what reads each input


class Row(NamedTuple):
    """One input.

    Attributes:
        name: Its name.
        image: The input, float32, (*input_shape,). None if it cannot be read.
        error: Why not, in one sentence. Defaults to nothing.
    """

    name: str
    image: np.ndarray | None
    error: str = ""


class Reader(NamedTuple):
    """A classifier's inputs in files, read again on every pass.

    Attributes:
        source: Where they are.
        rows: Starts a pass: yields a `Row` for each input.
        shape: The shape of an input, with None for sizes that are left open.
        total: How many inputs there are. None if that is not known.
    """

    source: sources.Source
    rows: Callable[[], Iterator[Row]]
    shape: tuple[int | None, ...]
    total: int | None

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """Read the inputs, with some of them in memory.

        Args:
            size: How many.

        Yields:
            A list of at most so many rows, those that cannot be read included.
        """
        rows = self.rows()
        while chunk := list(itertools.islice(rows, size)):
            yield chunk

    def batches(self, size: int) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
        """Read the inputs, with one batch in memory, and refuse one that cannot be read.

        Args:
            size: Inputs in a batch.

        Yields:
            The names of a batch of inputs, and the inputs, float32, (size, *input_shape).

        Raises:
            ValueError: If an input cannot be read.
        """
        for chunk in self.chunks(size):
            yield tuple(row.name for row in chunk), np.stack([_image(row) for row in chunk])

    def first(self, count: int) -> np.ndarray:
        """Read the first inputs.

        Args:
            count: The largest number of inputs to read.

        Returns:
            The inputs, float32, (at most `count`, *input_shape).

        Raises:
            ValueError: If there is none, or one cannot be read.
        """
        images = [_image(row) for row in itertools.islice(self.rows(), max(count, 0))]
        if not images:
            raise ValueError(
                f"There must be at least one input. Received: {count} of {self.source.named}"
            )
        return np.stack(images)

    def dataset(self, size: int, count: int | None = None) -> tf.data.Dataset:
        """Make a dataset of the inputs, without names.

        Args:
            size: Inputs in a batch.
            count: How many inputs there are. Defaults to None, not known.

        Returns:
            A `tf.data.Dataset` of float32 batches.
        """
        rows = tf.data.Dataset.from_generator(
            lambda: (_image(row) for row in self.rows()),
            output_signature=tf.TensorSpec(self.shape, tf.float32),
        )
        dataset = rows.batch(size)
        if count is not None:
            inputs.remember_count(dataset, count)
        return dataset


def read(
    source: str,
    classifier: Classifier,
    key: str | None = None,
    *,
    resize: bool = False,
    strict: bool = False,
) -> Reader:
    """Find inputs, and read them when they are needed.

    Pixels (images, and arrays of type uint8) are scaled from 0 ... 255 to the classifier's bounds,
    each feature to its own bounds; other numbers are used as they are. Images are decoded to the
    classifier's `data_format`; arrays must have it already.

    Args:
        source: What `sources.find` takes.
        classifier: The `Classifier` that takes the inputs.
        key: The array of an NPZ file, or the feature of TFRecords, that holds the inputs. Defaults
            to the only one, or the first of `x`, `image` and `image/encoded`.
        resize: Whether to bring images to the classifier's size, or to that of the first image if
            the classifier leaves it open. Defaults to False.
        strict: Whether to refuse inputs that cannot be read, and other files beside images.
            Defaults to False, which yields rows with their errors, and skips the files.

    Returns:
        A `Reader`.

    Raises:
        ValueError: If there is nothing to read, the array is missing, or files would be skipped.

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
    found = sources.find(source)
    if strict and found.skipped:
        raise ValueError(
            "Every file must be a PNG or JPEG image, since --strict skips none. "
            f"Received: {sources.listed(found.skipped)} of {source}"
        )
    total, files = _open(found, classifier, key)

    def rows() -> Iterator[Row]:
        for row in _conform(files(), source, classifier, resize):
            if strict:
                _image(row)
            yield row

    return Reader(found, rows, classifier.input_shape, total)


def _open(
    source: sources.Source, classifier: Classifier, key: str | None
) -> tuple[int | None, Callable[[], _Files]]:
    """Return how many inputs there are, if known, and what starts a pass."""
    files = list(source.files.values())
    if source.kind == "images":
        named = source.files.items()
        return len(files), lambda: ((n, _from_image(path, classifier)) for n, path in named)
    if source.kind == "array":
        values = arrays.load(files[0], key)
        return len(values), lambda: ((str(i), _as_it_is(row)) for i, row in enumerate(values))
    return None, lambda: _records(files, classifier, key)


def _conform(files: _Files, source: str, classifier: Classifier, resize: bool) -> Iterator[Row]:
    """Convert inputs to the classifier's shape and scale, and note those of another shape."""
    shape = classifier.input_shape
    for name, load in files:
        try:
            values = load(sides(shape, classifier) if resize else None)
            values = _fitted(values, shape, f"{name} of {source}", classifier)
        except (OSError, ValueError) as error:
            yield Row(name, None, str(error))
            continue
        shape = values.shape  # the first input settles the sizes left open
        yield Row(name, _scale(values, classifier).astype("float32"))


def _fitted(
    values: np.ndarray, shape: tuple[int | None, ...], name: str, classifier: Classifier
) -> np.ndarray:
    axis = channel_axis(classifier)
    if values.ndim == len(shape) - 1 and shape[axis] == 1:
        values = np.expand_dims(values, axis)  # grey images often lack the channel
    if not tf.TensorShape(shape).is_compatible_with(values.shape):
        fix = "; --resize brings images to it" if values.ndim in (2, 3) else ""
        raise ValueError(
            f"Every input must have the shape {shape}{fix}. Received: {values.shape}, {name}"
        )
    return values


def _image(row: Row) -> np.ndarray:
    if row.image is None:
        raise ValueError(row.error)
    return row.image


def _scale(values: np.ndarray, classifier: Classifier) -> np.ndarray:
    """Scale pixels to the bounds, which may differ between features."""
    if values.dtype != np.uint8:
        return values
    low, high = (np.asarray(bound, "float64") for bound in classifier.bounds)
    scaled: np.ndarray = low + values.astype("float64") * (high - low) / 255
    return scaled


def _from_image(path: pathlib.Path, classifier: Classifier) -> _Load:
    return lambda size: decode(path.read_bytes(), classifier, str(path), size)


def _as_it_is(values: np.ndarray) -> _Load:
    return lambda _: values


def _records(files: list[pathlib.Path], classifier: Classifier, key: str | None) -> _Files:
    for path in files:
        try:
            for index, record in enumerate(tf.data.TFRecordDataset(str(path))):
                name, example = f"{path}:{index}", tf.train.Example.FromString(record.numpy())
                yield name, functools.partial(_input, example, classifier, key, name)
        except (tf.errors.DataLossError, DecodeError) as error:
            raise ValueError(
                f"TFRecords must be complete, and each a `tf.train.Example`. Received: {path}"
            ) from error


def _input(
    example: Any,
    classifier: Classifier,
    key: str | None,
    name: str,
    size: tuple[int, int] | None,
) -> np.ndarray:
    features = example.features.feature
    feature = features[arrays.choose(features, key, name)]
    if feature.WhichOneof("kind") == "bytes_list" and feature.bytes_list.value:
        return decode(feature.bytes_list.value[0], classifier, name, size)
    numbers = np.array([*feature.float_list.value, *feature.int64_list.value])
    sizes = [-1 if size is None else size for size in classifier.input_shape]
    try:
        return numbers.reshape(sizes)
    except ValueError as error:
        raise ValueError(
            "A feature must hold an encoded image, or the numbers of an input of the shape "
            f"{classifier.input_shape}. Received: {len(numbers)} numbers in {name}"
        ) from error
