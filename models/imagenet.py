"""ImageNet: photographs of 224×224, two classifiers, and the attacks of Env2 on them.

Photographs and weights are not in the repository. They come from a data folder that the user
names, or else from the folder in the environment variable `A2D_DATA_DIR`.
"""

import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from a2d_keras import BIM, BIM2, JSMA, Attack, CarliniWagner, DeepFool
from models import efficientnet_lite0

PHOTOGRAPHS = "imagenet1000.npz"
SIDE = 224  # of a photograph, in pixels

# Zhao et al. 2021, Table 6, with the defaults of Foolbox 1.8; and two attacks of ours.
ATTACKS: dict[str, Attack] = {
    # One step along the gradient. Its length is a root mean square over the values of an image,
    # as in Foolbox. As a plain L2 norm, 0.016 would be a change of 0.00004 in a value.
    "FGSM": BIM2(eps=0.016, eps_iter=0.016, max_iterations=1),
    "BIM-a": BIM(eps_iter=0.0001, max_iterations=50),
    "DeepFool": DeepFool(overshoot=0.05, max_iterations=100),
    "PGD": BIM(eps=8 / 255, eps_iter=2 / 255, max_iterations=40, stop_at_success=False),
    "JSMA": JSMA(theta=0.1, max_changes=7, max_iterations=2000),
    "C&W": CarliniWagner(
        initial_c=0.01, learning_rate=0.005, binary_search_steps=5, search_iterations=1000
    ),
}
SLOW = ("JSMA", "C&W")  # thousands of gradients a photograph


class _Source(NamedTuple):
    """Where a classifier comes from: its file of weights, and how to build and load it."""

    weights: str
    build: Callable[[int], keras.Model]
    load: Callable[[keras.Model, pathlib.Path], None]


def _mobilenet(side: int = SIDE) -> keras.Model:
    network = keras.applications.MobileNet((side, side, 3), alpha=0.75, weights=None)
    scaled = layers.Rescaling(2.0, offset=-1.0, name="scale")
    return keras.Sequential([keras.Input((side, side, 3)), scaled, network], name="mobilenet")


def _load_mobilenet(model: keras.Model, path: pathlib.Path) -> None:
    model.layers[-1].load_weights(path)


_SOURCES = {
    "mobilenet": _Source("mobilenet_075_224.weights.h5", _mobilenet, _load_mobilenet),
    "efficientnet_lite0": _Source(
        "efficientnet_lite0_imagenet.npz", efficientnet_lite0.build, efficientnet_lite0.load_weights
    ),
}
CLASSIFIERS = tuple(_SOURCES)


def build(name: str, side: int = SIDE) -> keras.Model:
    """Build a classifier with random weights.

    Args:
        name: `"mobilenet"` (MobileNet of width 0.75) or `"efficientnet_lite0"`.
        side: Height and width of an input in pixels, at least 32. Defaults to 224, the size that
            the weights were trained on.

    Returns:
        A `keras.Model` with images in [0, 1] as inputs and class probabilities as outputs.

    Raises:
        ValueError: If `name` is unknown.

    Examples:
        >>> build("mobilenet", 32).output_shape
        (None, 1000)
    """
    return _source(name).build(side)


def load(name: str, data_dir: str | os.PathLike | None = None, side: int = SIDE) -> keras.Model:
    """Load a classifier that was trained on ImageNet.

    Args:
        name: As for `build`.
        data_dir: Folder of the weights: `mobilenet_075_224.weights.h5`, those of
            `keras.applications.MobileNet(alpha=0.75)`, or `efficientnet_lite0_imagenet.npz`; see
            `models.efficientnet_lite0`. Defaults to the environment variable `A2D_DATA_DIR`.
        side: As for `build`.

    Returns:
        The `keras.Model`.

    Raises:
        ValueError: If `name` is unknown, or the file holds other weights.
        FileNotFoundError: If no folder is named, or the file is not in it.
    """
    source = _source(name)
    path = _find(source.weights, data_dir)
    model = source.build(side)
    source.load(model, path)
    return model


def photographs(
    data_dir: str | os.PathLike | None = None, limit: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Load photographs in a seeded order.

    Args:
        data_dir: Folder that holds `imagenet1000.npz`, with the arrays `x`, uint8,
            (n, 224, 224, 3), and `y`, the classes, (n,). Defaults to the environment variable
            `A2D_DATA_DIR`.
        limit: The largest number of photographs. Defaults to all.

    Returns:
        The photographs, float32 in [0, 1], (n, 224, 224, 3), and their classes, int64, (n,).

    Raises:
        FileNotFoundError: If no folder is named, or the file is not in it.
    """
    with np.load(_find(PHOTOGRAPHS, data_dir), allow_pickle=False) as arrays:
        x, y = arrays["x"], arrays["y"]
    order = np.random.default_rng(0).permutation(len(x))[:limit]
    return x[order].astype("float32") / 255, y[order].astype("int64")


def _source(name):
    if name not in _SOURCES:
        raise ValueError(f"`name` must be one of {', '.join(CLASSIFIERS)}. Received: {name!r}")
    return _SOURCES[name]


def _find(file, data_dir):
    data_dir = data_dir or os.environ.get("A2D_DATA_DIR")
    if data_dir is None:
        raise FileNotFoundError(
            f"{file} must come from a data folder: name it (--data-dir, or A2D_DATA_DIR). "
            "Received: None"
        )
    path = pathlib.Path(data_dir) / file
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {file} in the data folder; put it there. Received: {data_dir}"
        )
    return path
