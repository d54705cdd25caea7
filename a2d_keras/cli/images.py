"""Images as a camera or a program has left them, decoded to what a classifier takes."""

import io

import numpy as np
import tensorflow as tf

from a2d_keras.classifier import Classifier

_ORIENTATION = 0x0112  # the tag of EXIF


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


def decode(
    encoded: bytes, classifier: Classifier, name: str, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Decode an image, upright, with the number and the place of channels that a classifier takes.

    Args:
        encoded: A PNG or JPEG file: grey or in colour, with a palette, or with 16 bits.
        classifier: The `Classifier`.
        name: The name for an error.
        size: The height and the width to bring it to, bilinear as Keras does. Defaults to its own.

    Returns:
        The image, uint8, (height, width), (height, width, channels) or (channels, height, width).

    Raises:
        ValueError: If it cannot be decoded, or the classifier takes no images.
    """
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
    image = _upright(image, encoded)
    if size is not None and image.shape[:2] != size:
        image = np.clip(np.rint(tf.image.resize(image, size, antialias=True)), 0, 255)
    image = image.astype("uint8")
    return np.moveaxis(image, -1, axis) if len(shape) == 3 else image[..., 0]


def sides(shape: tuple[int | None, ...], classifier: Classifier) -> tuple[int, int] | None:
    """Return the height and the width of images of a shape.

    Args:
        shape: The shape, as the classifier takes it.
        classifier: The `Classifier`.

    Returns:
        The two, or None if one is left open or these are no images.
    """
    first = 1 if len(shape) == 3 and channel_axis(classifier) == 0 else 0
    height, width = (*shape[first : first + 2], None, None)[:2]
    return None if height is None or width is None else (height, width)


def _upright(image: np.ndarray, encoded: bytes) -> np.ndarray:
    """Turn an image as its EXIF data say, which TensorFlow ignores."""
    orientation = _orientation(encoded)
    if orientation in (5, 6, 7, 8):
        image = np.swapaxes(image, 0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


def _orientation(encoded: bytes) -> int:
    if b"Exif" not in encoded and b"eXIf" not in encoded:
        return 1
    from PIL import Image  # only for images of cameras

    return int(Image.open(io.BytesIO(encoded)).getexif().get(_ORIENTATION, 1))
