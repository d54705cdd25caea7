"""Batches of inputs, without a copy of all of them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.classifier import Classifier
from a2d_keras.inputs.forms import as_inputs, is_dataset, only, to_array, to_images
from a2d_keras.inputs.values import checked, clip, rows_at_once, validate


class Checked(NamedTuple):
    """Inputs that were validated, and the result.

    Attributes:
        x: Inputs, an array or tensor, (n, *input_shape).
        invalid: Which of them are invalid, bool, (n,).
    """

    x: Any
    invalid: tf.Tensor


def batches(
    x: Any, classifier: Classifier, size: int, *, validated: bool = False
) -> Iterator[tf.Tensor]:
    """Yield inputs in batches of one size. The last batch may be smaller.

    Args:
        x: Inputs, as for `as_inputs`.
        classifier: The `Classifier`.
        size: Inputs in a batch.
        validated: Whether their values were validated before. Defaults to False.

    Yields:
        Checked inputs, float32, (size, *input_shape).

    Raises:
        ValueError: As for `checked`, if `x` is an array.
        tf.errors.InvalidArgumentError: As for `checked`, if `x` is a dataset.
    """

    def ready(part: Any) -> tf.Tensor:
        return clip(to_images(part, classifier), classifier)

    x = as_inputs(x, classifier)
    if not is_dataset(x):
        if not validated:
            validate(x, classifier)  # all of them, before any work is done
        for start in range(0, max(len(x), 1), size):
            yield ready(x[start : start + size])
        return
    images = None
    convert = ready if validated else lambda part: checked(part, classifier)
    for images in _untuned(x.map(convert).rebatch(size)):
        yield images
    if images is None:
        yield tf.zeros([0, *(side or 1 for side in classifier.input_shape)])


def first(x: Any, classifier: Classifier, max_count: int) -> np.ndarray:
    """Return the first inputs.

    Args:
        x: Inputs, as for `as_inputs`.
        classifier: The `Classifier`.
        max_count: The largest number of inputs to return.

    Returns:
        Checked inputs, float32, (at most `max_count`, *input_shape).
    """
    if not is_dataset(x):
        return np.asarray(checked(to_array(only(x, classifier))[:max_count], classifier))
    return np.asarray(next(batches(x, classifier, max_count)))


def every_other(x: Any, classifier: Classifier, max_count: int) -> np.ndarray:
    """Return the first input, the third, and so on.

    Args:
        x: Inputs, as for `as_inputs`.
        classifier: The `Classifier`.
        max_count: The largest number of inputs to return.

    Returns:
        Checked inputs, float32, (at most `max_count`, *input_shape).
    """
    return first(x, classifier, 2 * max_count)[::2]


def to_dataset(checked: Checked, size: int) -> tf.data.Dataset:
    """Cut inputs into batches, as `keras.Model.predict` would, but without its wait.

    Args:
        checked: The inputs.
        size: Inputs in a batch, at least 1.

    Returns:
        A dataset of `Checked` batches. Floating-point numbers are cast to Keras's `floatx`, and
        others are not changed.
    """
    rows = size * max(1, rows_at_once(checked.x) // size)
    if len(checked.x) <= rows:
        return _untuned(_batched(_in_floatx(checked), size))
    count = -(-len(checked.x) // size)
    parted = _parted(checked, rows, size)
    return _untuned(parted.apply(tf.data.experimental.assert_cardinality(count)))


def _parted(checked: Checked, rows: int, size: int) -> tf.data.Dataset:
    """Cut into batches part after part. At once, TensorFlow would copy all inputs, twice."""

    def parts() -> Iterator[Checked]:
        for start in range(0, len(checked.x), rows):
            yield _in_floatx(Checked(*(part[start : start + rows] for part in checked)))

    specs = [tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in next(parts())]
    made = tf.data.Dataset.from_generator(parts, output_signature=Checked(*specs))
    return made.flat_map(lambda part: _batched(part, size))


def _batched(checked: Checked, size: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(checked).batch(size)


def _in_floatx(checked: Checked) -> Checked:
    if not tf.as_dtype(checked.x.dtype).is_floating:
        return checked
    return checked._replace(x=tf.cast(checked.x, keras.config.floatx()))


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Switch tf.data's autotuning off: at its end, a dataset waits for its thread."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
