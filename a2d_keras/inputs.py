"""What may go into a classifier: arrays and datasets of numbers within its bounds."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.classifier import Classifier

_TOLERANCE = 1e-6  # how far outside its bounds an input may lie, as a fraction of their range
_AT_ONCE = 2**22  # values of an array that are looked at at once, to take little memory
_DARK, _BRIGHT = 32, 255  # numbers up to between these look like pixels that were never scaled


class Survey(NamedTuple):
    """What some inputs hold that no classifier input can.

    Attributes:
        counts: How many values are not finite, how many lie outside the bounds, in how many
            inputs, and of how many; int64, (4,).
        least: The smallest finite value, float32.
        most: The largest, likewise.
    """

    counts: Any
    least: Any
    most: Any


def dense(x: Any, classifier: Classifier) -> Any:
    """Take what holds inputs as an array, a tensor or a dataset, or refuse it.

    Args:
        x: Numbers, (n, *input_shape), or a `tf.data.Dataset` of batches of them, alone or as the
            first of a tuple.
        classifier: The `Classifier`.

    Returns:
        A NumPy array, a tensor, or the dataset.

    Raises:
        ValueError: If `x` does not hold real numbers, or not of that shape; in a graph, where a
            dataset or an exported model brings it, `tf.errors.InvalidArgumentError`.
    """
    if is_dataset(x):
        require_dataset(x, classifier)
        return x
    x = _dense(x)
    require_spec(x, classifier, in_graph=not tf.executing_eagerly())
    return x


def to_images(x: Any, classifier: Classifier) -> tf.Tensor:
    """Turn an array or tensor into the float32 tensor that a classifier takes.

    Args:
        x: Numbers, (n, *input_shape).
        classifier: The `Classifier`.

    Returns:
        The same numbers, float32.

    Raises:
        ValueError: As `dense`.
    """
    images = tf.cast(dense(x, classifier), tf.float32)
    return tf.ensure_shape(images, (None, *classifier.input_shape))


def survey(images: tf.Tensor, classifier: Classifier) -> tuple[tf.Tensor, Survey]:
    """Find the rows that no classifier input can hold. Graph code.

    Args:
        images: Inputs, float32, (n, *input_shape).
        classifier: The `Classifier`, whose bounds count.

    Returns:
        Which rows hold a value that is not finite, or outside the bounds by more than 1e-6 of
        their range, bool, (n,); and a `Survey`.
    """
    low, high = classifier.bounds
    slack = _TOLERANCE * classifier.range
    finite = tf.math.is_finite(images)
    outside = finite & ((images < low - slack) | (images > high + slack))
    invalid = tf.reduce_any(~finite | outside, axis=list(range(1, len(images.shape))))
    counts = [tf.math.count_nonzero(mask) for mask in (~finite, outside, invalid)]
    return invalid, Survey(
        tf.stack([*counts, tf.shape(images, tf.int64)[0]]),
        tf.reduce_min(tf.where(finite, images, np.inf)),
        tf.reduce_max(tf.where(finite, images, -np.inf)),
    )


def survey_array(x: Any, classifier: Classifier) -> Survey:
    """Survey an array of any size, a part at a time.

    Args:
        x: What `dense` returns, no dataset.
        classifier: The `Classifier`.

    Returns:
        The `Survey` of all of it.
    """
    rows = max(1, _AT_ONCE // max(1, math.prod(x.shape[1:])))
    parts = (x[start : start + rows] for start in range(0, max(len(x), 1), rows))
    surveys = [survey(to_images(part, classifier), classifier)[1] for part in parts]
    counts, least, most = zip(*surveys, strict=True)
    return Survey(tf.add_n(counts), tf.reduce_min(least), tf.reduce_max(most))


def require_valid(found: Survey, classifier: Classifier) -> None:
    """Refuse inputs of which any is invalid.

    Args:
        found: Their `Survey`.
        classifier: The `Classifier`.

    Raises:
        ValueError: If any is; in a graph, when that runs, `tf.errors.InvalidArgumentError`.
    """
    require(found.counts[2] == 0, _sentence(found, classifier))


def _sentence(found: Survey, classifier: Classifier) -> tf.Tensor:
    low, high = classifier.bounds
    dark = high < _DARK  # the model
    pixels = dark & (found.least >= 0) & (found.most > _DARK) & (found.most <= _BRIGHT)
    template = "{} values that are not finite, {} outside the bounds, in {} of {} inputs"
    parts = [
        f"Inputs must be finite numbers within the bounds ({low}, {high})",
        tf.where(pixels, f", and these look like pixels from 0 to {_BRIGHT}", ""),
        "; scale them as for training, or set `bounds`. Received: ",
        tf.strings.format(template, tuple(tf.unstack(found.counts))),
        tf.where(
            found.least <= found.most,
            tf.strings.format(", from {} to {}", (found.least, found.most)),
            "",
        ),
    ]
    return tf.strings.join(parts)


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
    require_valid(survey(images, classifier)[1], classifier)
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
    x = dense(x, classifier)
    if not is_dataset(x):
        require_valid(survey_array(x, classifier), classifier)  # before any work is done
        for start in range(0, max(len(x), 1), size):
            yield checked(x[start : start + size], classifier)
        return
    if isinstance(x.element_spec, tuple):
        x = x.map(lambda images, *_: images)
    images = None
    for images in x.map(lambda images: checked(images, classifier)).rebatch(size):
        yield images
    if images is None:
        yield tf.zeros([0, *(side or 1 for side in classifier.input_shape)])


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
        return checked(_dense(x)[:most], classifier).numpy()
    return next(batches(x, classifier, most)).numpy()


def to_dataset(x: Any, size: int) -> tf.data.Dataset:
    """Cut an array or tensor into batches, as `keras.Model.predict` would, but without its wait.

    Dropping the dataset that Keras makes can take as long again as going through it did: it waits
    for tf.data's autotuning to wake. Here nothing is tuned.

    Args:
        x: What `dense` returns, no dataset.
        size: Inputs in a batch, at least 1.

    Returns:
        The dataset. Floating-point numbers become Keras's `floatx`, others stay as they are.
    """
    if tf.as_dtype(x.dtype).is_floating:
        x = tf.cast(x, keras.config.floatx())
    dataset = tf.data.Dataset.from_tensor_slices(x)
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.batch(size).with_options(options)


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
    spec = x.element_spec[0] if isinstance(x.element_spec, tuple) else x.element_spec
    if not isinstance(spec, tf.TensorSpec):
        sentence = (
            "A dataset must hold batches of inputs, alone or as the first of a tuple. "
            f"Received: {spec}"
        )
        raise tf.errors.InvalidArgumentError(None, None, sentence)
    require_spec(spec, classifier, in_graph=True)


def require_spec(x: Any, classifier: Classifier, in_graph: bool) -> None:
    """Refuse what does not hold real numbers, or not in the shape of a classifier's inputs.

    Args:
        x: Anything with a `dtype` and a `shape`.
        classifier: The `Classifier`.
        in_graph: Whether the inputs come through a graph.

    Raises:
        ValueError: If `x` does not fit; in a graph `tf.errors.InvalidArgumentError`.
    """
    shape = tf.TensorShape([None, *classifier.input_shape])
    if not _is_real(x.dtype):
        sentence = f"Inputs must be real numbers. Received: {x.dtype}"
    elif not shape.is_compatible_with(x.shape):
        sentence = f"Inputs must have the shape {shape}. Received: {tf.TensorShape(x.shape)}"
    else:
        return
    raise tf.errors.InvalidArgumentError(None, None, sentence) if in_graph else ValueError(sentence)


def _dense(x: Any) -> Any:
    """Turn whatever holds numbers into an array, unless it is a tensor already."""
    try:
        return tf.convert_to_tensor(x) if tf.is_tensor(x) else np.asarray(x)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Inputs must be real numbers in one array, all of the same shape. "
            f"Received: {type(x).__name__}"
        ) from error


def _is_real(dtype: Any) -> bool:
    try:
        dtype = tf.as_dtype(dtype)  # of an object array: a string
    except TypeError:  # such as NumPy's dates
        return False
    return dtype.is_floating or dtype.is_integer or dtype.is_bool
