"""Changes of images that leave an image what it shows. Every change takes and returns a batch."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from scipy import ndimage

_BYTE = 255


def noise(x, *, sigma):
    """Add Gaussian noise, the same in every call.

    Args:
        x: Images, float32 in [0, 1], (n, height, width, channels). The same for all changes.
        sigma: The standard deviation, in units of 1/255.

    Returns:
        The changed images, like `x`. The same for all changes.
    """
    added = np.random.default_rng(0).standard_normal(x.shape, "float32")
    return _clipped(x + np.float32(sigma / _BYTE) * added)


def brightness(x, *, factor):
    """Multiply all values, as another exposure does.

    Args:
        x: Images.
        factor: The factor.

    Returns:
        The changed images.
    """
    return _clipped(x * np.float32(factor))


def blur(x, *, sigma):
    """Blur with a Gaussian.

    Args:
        x: Images.
        sigma: Its standard deviation in pixels.

    Returns:
        The changed images.
    """
    return _clipped(ndimage.gaussian_filter(x, (0, sigma, sigma, 0), mode="nearest"))


def shift(x):
    """Shift by one pixel to the right; the left edge repeats.

    Args:
        x: Images.

    Returns:
        The changed images.
    """
    return np.concatenate([x[:, :, :1], x[:, :, :-1]], axis=2)


def rotation(x, *, degrees):
    """Rotate around the centre, with linear interpolation; edges repeat.

    Args:
        x: Images.
        degrees: The angle, counterclockwise.

    Returns:
        The changed images.
    """
    turned = ndimage.rotate(x, degrees, axes=(2, 1), reshape=False, order=1, mode="nearest")
    return _clipped(turned)


def eight_bits(x):
    """Round to the 256 values that an image file holds.

    Args:
        x: Images.

    Returns:
        The changed images.
    """
    return (_bytes(x) / _BYTE).astype("float32")


def jpeg(x, *, quality):
    """Encode as JPEG, and decode again.

    Args:
        x: Images of 1 or 3 channels.
        quality: The quality, from 1 to 100.

    Returns:
        The changed images.
    """

    def through(image):
        encoded = tf.io.encode_jpeg(image, quality=quality)
        return tf.io.decode_jpeg(encoded, channels=x.shape[-1])

    return np.stack([through(image).numpy() for image in _bytes(x)]).astype("float32") / _BYTE


def _bytes(x):
    return np.rint(_clipped(x) * _BYTE).astype("uint8")


def _clipped(x):
    return np.clip(x, 0, 1).astype("float32")


Change = Callable[[np.ndarray], np.ndarray]

# What benign images meet on their way to a classifier. A flag on them is a false alarm.
HARMLESS: dict[str, Change] = {
    **{f"noise {s}": functools.partial(noise, sigma=s) for s in (2, 4, 8)},
    "bright +20 %": functools.partial(brightness, factor=1.2),
    "bright −20 %": functools.partial(brightness, factor=0.8),
    "blur": functools.partial(blur, sigma=0.6),
    "JPEG 75": functools.partial(jpeg, quality=75),
    "JPEG 50": functools.partial(jpeg, quality=50),
    "shift": shift,
    "rotation": functools.partial(rotation, degrees=5),
}
# What an attacker can do to adversarial images without knowing of any detector.
EVASIONS: dict[str, Change] = {
    "8 bits": eight_bits,
    "JPEG 75": functools.partial(jpeg, quality=75),
}
