"""The values of inputs: finite numbers within a classifier's bounds."""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from a2d_keras.classifier import Classifier
from a2d_keras.inputs.forms import to_images
from a2d_keras.validation import require

AT_ONCE = 2**22  # values validated, or copied, at once, to limit memory
_TOLERANCE = 1e-6  # how far an input may exceed its bounds, as a fraction of their range
_DARK, _BRIGHT = 32, 255  # a maximum between these looks like pixels that were not scaled


class Summary(NamedTuple):
    """What is wrong with some inputs.

    Attributes:
        counts: The numbers of values that are not finite, of values outside the bounds, of
            inputs with such values, and of all inputs; int64, (4,).
        min: The smallest finite value, float32.
        max: The largest finite value, float32.
    """

    counts: Any
    min: Any
    max: Any


def validity(images: tf.Tensor, classifier: Classifier) -> tuple[tf.Tensor, Summary]:
    """Find the valid rows. Graph code.

    Args:
        images: Inputs, float32, (n, *input_shape).
        classifier: The `Classifier`.

    Returns:
        Which rows hold only finite values within the bounds, with a tolerance of 1e-6 of their
        range, bool, (n,); and a `Summary`.
    """
    low, high = classifier.bounds
    slack = _TOLERANCE * classifier.range
    finite = tf.math.is_finite(images)
    outside = finite & ((images < low - slack) | (images > high + slack))
    invalid = tf.reduce_any(~finite | outside, axis=list(range(1, len(images.shape))))
    counts = [tf.math.count_nonzero(mask) for mask in (~finite, outside, invalid)]
    return ~invalid, Summary(
        tf.stack([*counts, tf.shape(images, tf.int64)[0]]),
        tf.reduce_min(tf.where(finite, images, np.inf)),
        tf.reduce_max(tf.where(finite, images, -np.inf)),
    )


def require_valid(summary: Summary, classifier: Classifier) -> None:
    """Refuse inputs if any of them is invalid.

    Args:
        summary: Their `Summary`.
        classifier: The `Classifier`.

    Raises:
        ValueError: If an input is invalid. In a graph, `tf.errors.InvalidArgumentError` when it
            runs.
    """
    require(summary.counts[2] == 0, _sentence(summary, classifier))


def _sentence(summary: Summary, classifier: Classifier) -> tf.Tensor:
    low, high = classifier.bounds
    if isinstance(high, float):
        named = f"within the bounds ({low}, {high})"
        dark = high < _DARK  # the model
    else:
        named, dark = "within the bounds of each feature", False
    pixels = dark & (summary.min >= 0) & (summary.max > _DARK) & (summary.max <= _BRIGHT)
    template = "{} values that are not finite, {} outside the bounds, in {} of {} inputs"
    parts = [
        f"Inputs must be finite numbers {named}",
        tf.where(pixels, f", and these look like pixels from 0 to {_BRIGHT}", ""),
        "; scale them as for training, or set `bounds`. Received: ",
        tf.strings.format(template, tuple(tf.unstack(summary.counts))),
        tf.where(
            summary.min <= summary.max,
            tf.strings.format(", from {} to {}", (summary.min, summary.max)),
            "",
        ),
    ]
    return tf.strings.join(parts)


def clip(images: tf.Tensor, classifier: Classifier) -> tf.Tensor:
    """Convert valid inputs to what the model sees. Graph code.

    Args:
        images: Valid inputs, float32.
        classifier: The `Classifier`.

    Returns:
        The inputs, clipped to the bounds, which changes them by less than 1e-6 of their range,
        and truncated if the model declares whole numbers, as Keras does.
    """
    images = tf.clip_by_value(images, *classifier.bounds)
    if classifier.dtype.is_floating:
        return images
    return tf.cast(tf.cast(images, classifier.dtype), tf.float32)


def checked(x: Any, classifier: Classifier) -> tf.Tensor:
    """Turn an array or tensor into inputs that attacks can take, or refuse it.

    Args:
        x: Numbers, as for `as_inputs`, but not a dataset.
        classifier: The `Classifier`.

    Returns:
        The inputs, float32, as `clip` returns them.

    Raises:
        ValueError: If a value is not a finite number within the bounds, or the shape is wrong. In
            a graph, `tf.errors.InvalidArgumentError`.
    """
    images = to_images(x, classifier)
    require_valid(validity(images, classifier)[1], classifier)
    return clip(images, classifier)


def validate(x: Any, classifier: Classifier, *, refuse: bool = True) -> tf.Tensor:
    """Validate every value: an array in parts, to limit memory, and a tensor in a graph at once.

    Args:
        x: What `as_inputs` returns, but not a dataset.
        classifier: The `Classifier`.
        refuse: Whether to refuse invalid inputs. Defaults to True.

    Returns:
        Which rows are valid, bool, (n,).

    Raises:
        ValueError: If a value is not a finite number within the bounds, unless `refuse` is False.
            In a graph, `tf.errors.InvalidArgumentError` when it runs.
    """
    parts = [x] if not tf.executing_eagerly() else _parts(x)
    found = [validity(to_images(part, classifier), classifier) for part in parts]
    valid, summaries = zip(*found, strict=True)
    counts, low, high = zip(*summaries, strict=True)
    total = Summary(tf.add_n(counts), tf.reduce_min(low), tf.reduce_max(high))
    if refuse:
        require_valid(total, classifier)
    return tf.concat(valid, axis=0)


def _parts(x: Any) -> list[Any]:
    rows = rows_at_once(x)
    return [x[start : start + rows] for start in range(0, max(len(x), 1), rows)]


def rows_at_once(x: Any) -> int:
    """Return how many inputs may be copied at once.

    Args:
        x: Inputs, (n, *input_shape).
    """
    values: int = math.prod(x.shape[1:])
    return max(1, AT_ONCE // max(1, values))
