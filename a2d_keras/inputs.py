"""What may go into a classifier: arrays and datasets of numbers within its bounds."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from a2d_keras.classifier import Classifier

_TOLERANCE = 1e-6  # how far outside its bounds an input may lie, as a fraction of their range


def to_images(x: Any, classifier: Classifier) -> tf.Tensor:
    """Turn an array or tensor into the float32 tensor that a classifier takes.

    Args:
        x: Numbers, (n, *input_shape).
        classifier: The `Classifier`.

    Returns:
        The same numbers, float32.

    Raises:
        ValueError: If `x` does not hold numbers, or not of that shape; in a graph, where a
            dataset or an exported model brings it, `tf.errors.InvalidArgumentError`.
    """
    if not tf.is_tensor(x):
        x = np.asarray(x)
    require_spec(x, classifier, in_graph=not tf.executing_eagerly())
    return tf.ensure_shape(tf.cast(x, tf.float32), (None, *classifier.input_shape))


def find_invalid(images: tf.Tensor, classifier: Classifier) -> tuple[tf.Tensor, tf.Tensor]:
    """Find the rows that no classifier input can hold. Graph code.

    Args:
        images: Inputs, float32, (n, *input_shape).
        classifier: The `Classifier`, whose bounds count.

    Returns:
        Which rows hold a value that is not finite, or outside the bounds by more than 1e-6 of
        their range, bool, (n,); and a sentence that says so, a string.
    """
    low, high = classifier.bounds
    slack = _TOLERANCE * classifier.range
    finite = tf.math.is_finite(images)
    outside = finite & ((images < low - slack) | (images > high + slack))
    invalid = tf.reduce_any(~finite | outside, axis=list(range(1, len(images.shape))))
    sentence = tf.strings.format(
        f"Inputs must be finite numbers within the bounds ({low}, {high}); scale them as for "
        "training, or set `bounds`. Received: {} values that are not finite, {} outside the "
        "bounds, in {} of {} inputs, from {} to {}",
        (
            tf.math.count_nonzero(~finite),
            tf.math.count_nonzero(outside),
            tf.math.count_nonzero(invalid),
            tf.shape(images)[0],
            tf.reduce_min(tf.where(finite, images, images.dtype.max)),
            tf.reduce_max(tf.where(finite, images, images.dtype.min)),
        ),
    )
    return invalid, sentence


def require(condition: tf.Tensor, sentence: Any) -> None:
    """Refuse with one sentence unless a condition holds.

    Args:
        condition: What must hold, bool.
        sentence: What to say where it does not, a string.

    Raises:
        ValueError: If the condition does not hold; in a graph, when that runs,
            `tf.errors.InvalidArgumentError`.
    """
    if not tf.executing_eagerly():
        tf.debugging.Assert(condition, [sentence])
    elif not condition:
        raise ValueError(tf.constant(sentence).numpy().decode())


def checked(x: Any, classifier: Classifier) -> tf.Tensor:
    """Turn an array or tensor into inputs that a classifier can take, or refuse it.

    Args:
        x: Numbers, (n, *input_shape).
        classifier: The `Classifier`.

    Returns:
        The inputs, float32, clipped to the bounds (which takes away less than 1e-6 of their
        range).

    Raises:
        ValueError: If a value is not a finite number within the bounds, or the shape is wrong;
            in a graph `tf.errors.InvalidArgumentError`.
    """
    images = to_images(x, classifier)
    invalid, sentence = find_invalid(images, classifier)
    require(~tf.reduce_any(invalid), sentence)
    return tf.clip_by_value(images, *classifier.bounds)


def batches(x: Any, classifier: Classifier, size: int) -> Iterator[tf.Tensor]:
    """Go through inputs in batches of one size, the last one smaller.

    Args:
        x: An array or tensor (n, *input_shape), or a `tf.data.Dataset` of batches of them, alone
            or as the first of a tuple.
        classifier: The `Classifier`.
        size: Inputs in a batch.

    Yields:
        Checked inputs, float32, (size, *input_shape).

    Raises:
        ValueError: As `checked`, for arrays.
        tf.errors.InvalidArgumentError: As `checked`, for datasets.
    """
    if not is_dataset(x):
        images = checked(x, classifier)
        for start in range(0, max(len(images), 1), size):
            yield images[start : start + size]
        return
    require_dataset(x, classifier)
    if isinstance(x.element_spec, tuple):
        x = x.map(lambda images, *_: images)
    yield from x.map(lambda images: checked(images, classifier)).rebatch(size)


def first(x: Any, classifier: Classifier, most: int) -> np.ndarray:
    """Take the first inputs.

    Args:
        x: Inputs, as for `batches`.
        classifier: The `Classifier`.
        most: How many to take at most.

    Returns:
        Checked inputs, float32, (n, *input_shape), n up to `most`.
    """
    if not is_dataset(x):
        return checked(x[:most], classifier).numpy()
    return next(batches(x, classifier, most)).numpy()


def is_dataset(x: Any) -> bool:
    """Tell whether inputs come as a `tf.data.Dataset`.

    Args:
        x: The inputs.

    Returns:
        Whether they do.
    """
    return isinstance(x, tf.data.Dataset)


def count(x: Any) -> int | None:
    """Count inputs, without going through them.

    Args:
        x: An array, a tensor or a `tf.data.Dataset`.

    Returns:
        Their number, or None for a dataset, which may not know.
    """
    return None if is_dataset(x) else len(x)


def require_dataset(x: tf.data.Dataset, classifier: Classifier) -> None:
    """Refuse a dataset whose batches are not a classifier's inputs, before any is read.

    Args:
        x: A dataset of batches of inputs, alone or as the first of a tuple.
        classifier: The `Classifier`.

    Raises:
        tf.errors.InvalidArgumentError: If their dtype or shape does not fit.
    """
    spec = x.element_spec
    require_spec(spec[0] if isinstance(spec, tuple) else spec, classifier, in_graph=True)


def require_spec(x: Any, classifier: Classifier, in_graph: bool) -> None:
    """Refuse what does not hold real numbers, or not in the shape of a classifier's inputs.

    Args:
        x: Anything with a `dtype` and a `shape`.
        classifier: The `Classifier`.
        in_graph: Whether the inputs come through a graph.

    Raises:
        ValueError: If `x` does not fit; in a graph `tf.errors.InvalidArgumentError`.
    """
    dtype = tf.as_dtype(x.dtype) if x.dtype != object else tf.variant
    shape = tf.TensorShape([None, *classifier.input_shape])
    if not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
        sentence = f"Inputs must be real numbers. Received: {x.dtype}"
    elif not shape.is_compatible_with(x.shape):
        sentence = f"Inputs must have the shape {shape}. Received: {tf.TensorShape(x.shape)}"
    else:
        return
    raise tf.errors.InvalidArgumentError(None, None, sentence) if in_graph else ValueError(sentence)
