"""Views of an input that keep its label: the same thing, seen a little differently. Graph code."""

import functools
from collections.abc import Callable

import tensorflow as tf

from a2d_keras.attacks.engine import randomness
from a2d_keras.statistics.view import View

_NOISE = 0.02  # standard deviation, as a fraction of the input range
_MEDIAN = 2  # side of the window in pixels


def flip(view: View) -> tf.Tensor:
    """Mirror images, left to right."""
    return tf.reverse(view.x, [_axes(view)[1]])


def shift(rows: int, columns: int, view: View) -> tf.Tensor:
    """Shift images by some pixels. The border that comes free repeats what was there.

    Args:
        rows: Pixels down; negative for up.
        columns: Pixels to the right; negative for left.
        view: The images.

    Returns:
        The shifted images.
    """
    x = view.x
    for axis, by in zip(_axes(view), (rows, columns), strict=True):
        x = _shift(x, axis, by)
    return x


def median(view: View, side: int = _MEDIAN) -> tf.Tensor:
    """Replace each pixel by the median of the window that begins there.

    Args:
        view: The images.
        side: The side of the window in pixels. Defaults to 2. Of an even number of values, the
            upper of the middle two counts.

    Returns:
        The smoothed images.
    """
    row_axis, column_axis = _axes(view)
    window = [
        _shift(_shift(view.x, row_axis, -row), column_axis, -column)
        for row in range(side)
        for column in range(side)
    ]
    return tf.sort(tf.stack(window, axis=-1), axis=-1)[..., side**2 // 2]


def fewer_bits(view: View, bits: int | tf.Tensor) -> tf.Tensor:
    """Round values to a small number of levels.

    Args:
        view: The inputs.
        bits: The number of bits that a value keeps: 1 leaves the two bounds.

    Returns:
        The rounded inputs. Their gradient is that of the inputs, since rounding has none.
    """
    unit, levels = view.classifier.unit, 2.0 ** tf.cast(bits, tf.float32) - 1
    return unit.bounds[0] + unit.range * _rounded(scaled(view) * levels) / levels


def scaled(view: View) -> tf.Tensor:
    """Return the inputs between 0 and 1."""
    unit = view.classifier.unit
    return (view.x - unit.bounds[0]) / unit.range


def pixels(view: View) -> tf.Tensor:
    """Return images between 0 and 1, (n, rows, columns, channels)."""
    images = scaled(view)
    if view.classifier.data_format == "channels_last":
        return images
    return tf.transpose(images, [0, 2, 3, 1])


def noise(view: View) -> tf.Tensor:
    """Add Gaussian noise of 0.02 of the input range, which depends on the input alone."""
    unit, keys = view.classifier.unit, randomness.keys(view.x, view.seed)
    numbers = randomness.normal(keys, tf.zeros_like(keys), tf.unstack(tf.shape(view.x))[1:])
    return tf.clip_by_value(view.x + _NOISE * unit.range * numbers, *unit.bounds)


OF_IMAGES: dict[str, Callable[[View], tf.Tensor]] = {
    "flip": flip,
    "left": functools.partial(shift, 0, -1),
    "right": functools.partial(shift, 0, 1),
    "up": functools.partial(shift, -1, 0),
    "down": functools.partial(shift, 1, 0),
    "median": median,
}


def _rounded(x: tf.Tensor) -> tf.Tensor:
    """Round, and let the gradient pass straight through (Athalye, Carlini, Wagner 2018, BPDA)."""
    return tf.custom_gradient(lambda x: (tf.round(x), lambda upstream: upstream))(x)


def _axes(view: View) -> tuple[int, int]:
    """Return the axes of rows and columns of images."""
    return (1, 2) if view.classifier.data_format == "channels_last" else (2, 3)


def _shift(x: tf.Tensor, axis: int, by: int) -> tf.Tensor:
    if not by:
        return x
    size = tf.shape(x)[axis]
    return tf.gather(x, tf.clip_by_value(tf.range(size) - by, 0, size - 1), axis=axis)
