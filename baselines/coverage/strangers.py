"""Out-of-distribution inputs: images of another data set, brought to the shape of this one."""

import importlib.resources

import numpy as np
import tensorflow as tf

from models import datasets

_PHOTOGRAPHS = ("china.jpg", "flower.jpg")  # ship with scikit-learn
_CROP = 64  # pixels of a photograph that become one image


def strangers(name, shape, count):
    """Make images that show nothing a classifier knows. They need no download.

    Args:
        name: The data set of the classifier.
        shape: The shape of its inputs, (height, width, channels).
        count: The number of images of each kind.

    Returns:
        A dict from the kind to images, float32, (count, *shape): "digits", those of scikit-learn
        (not for the data set itself), and "photographs" as grey crops (for grey data sets).
    """
    found = {}
    if name != "digits":
        found["digits"] = _as(np.resize(_digits(), (count, 8, 8, 1)), shape)
    if shape[-1] == 1:
        found["photographs"] = _as(_crops(count), shape)
    return found


def _digits():
    return datasets.load("digits").x_train


def _crops(count):
    """Cut squares out of the photographs at random, in turn."""
    folder = importlib.resources.files("sklearn.datasets.images")
    photographs = [
        tf.io.decode_jpeg(folder.joinpath(name).read_bytes()).numpy() for name in _PHOTOGRAPHS
    ]
    generator, crops = np.random.default_rng(0), []
    for place in range(count):
        photograph = photographs[place % len(photographs)]
        top, left = (generator.integers(side - _CROP) for side in photograph.shape[:2])
        crops.append(photograph[top : top + _CROP, left : left + _CROP])
    return np.mean(crops, axis=-1, keepdims=True) / 255


def _as(images, shape):
    resized = tf.image.resize(images, shape[:2], antialias=True).numpy()
    wide = np.broadcast_to(resized, (len(images), *shape))
    return np.clip(wide, 0, 1).astype("float32")
