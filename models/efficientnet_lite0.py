"""EfficientNet-Lite0 (Liu et al. 2020): EfficientNet-B0 with ReLU6 and no squeeze-and-excitation.

The baseline network is that of Tan and Le 2019, "EfficientNet", Table 1. The weights come from a
file of plain arrays, one for each parameter, such as `blocks/3/bn0/gamma`.
"""

import pathlib

import keras
import numpy as np
from keras import layers

# Expansion, kernel size, stride, output channels and number of blocks of each stage.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_STEM, _HEAD, _CLASSES = 32, 1280, 1000
_EPSILON = 1e-3  # of batch normalization


def build(side: int = 224) -> keras.Model:
    """Build the network with random weights.

    Args:
        side: Height and width of an input in pixels. Defaults to 224, the size that the weights
            were trained on.

    Returns:
        A `keras.Model` with images in [0, 1] as inputs and class probabilities as outputs.

    Examples:
        >>> build(32).output_shape
        (None, 1000)
    """
    inputs = keras.Input((side, side, 3))
    x = layers.Rescaling(255 / 128, offset=-127 / 128, name="scale")(inputs)
    x = _convolution(x, "conv_stem", _STEM, size=3, strides=2)
    x = _normalized(x, "bn0")
    index = 0
    for expansion, size, strides, channels, count in _STAGES:
        for repeat in range(count):
            x = _block(x, f"blocks/{index}", expansion, channels, size, 1 if repeat else strides)
            index += 1
    x = _normalized(_convolution(x, "conv_head", _HEAD), "bn1")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = layers.Dense(_CLASSES, "softmax", name="fc")(x)
    return keras.Model(inputs, outputs, name="efficientnet_lite0")


def load_weights(model: keras.Model, path: pathlib.Path) -> None:
    """Set the weights from a file of plain arrays.

    Args:
        model: What `build` returned.
        path: An `.npz` file that holds an array for each parameter, in Keras's order of axes.

    Raises:
        ValueError: If a parameter is missing, is not one of the network, or has another shape.
    """
    variables = parameters(model)
    with np.load(path, allow_pickle=False) as arrays:
        differ = sorted({*arrays} ^ {*variables})
        if differ:
            raise ValueError(
                f"{path.name} must hold the {len(variables)} parameters of EfficientNet-Lite0 and "
                f"no others. Received: {len({*arrays})}, and {differ[0]} is in one of them only"
            )
        for name, variable in variables.items():
            values = arrays[name]
            if values.shape != tuple(variable.shape):
                raise ValueError(
                    f"{name} in {path.name} must have the shape {tuple(variable.shape)}. "
                    f"Received: {values.shape}"
                )
            variable.assign(values)


def parameters(model: keras.Model) -> dict[str, keras.Variable]:
    """List the parameters under the names that the file of weights uses.

    Args:
        model: What `build` returned.

    Returns:
        The variables by name, such as `fc/bias`.

    Examples:
        >>> tuple(parameters(build(32))["blocks/3/depthwise_conv/kernel"].shape)
        (5, 5, 144, 1)
    """
    names = {"moving_mean": "mean", "moving_variance": "variance"}
    return {
        f"{_outer(layer.name)}/{names.get(variable.name, variable.name)}": variable
        for layer in model.layers
        for variable in layer.weights
    }


def _block(x, name, expansion, channels, size, strides):
    """An inverted residual: expand, filter each channel, project; and add, if nothing shrank."""
    before, wide = x, x.shape[-1] * expansion
    if expansion > 1:
        x = _normalized(_convolution(x, f"{name}/expand_conv", wide), f"{name}/bn0")
    x = layers.DepthwiseConv2D(
        size, strides, "same", use_bias=False, name=_inner(f"{name}/depthwise_conv")
    )(x)
    x = _normalized(x, f"{name}/bn1")
    x = _convolution(x, f"{name}/project_conv", channels)
    x = _normalized(x, f"{name}/bn2", activation=False)
    return layers.Add(name=_inner(f"{name}/add"))([before, x]) if before.shape == x.shape else x


def _convolution(x, name, channels, *, size=1, strides=1):
    return layers.Conv2D(channels, size, strides, "same", use_bias=False, name=_inner(name))(x)


def _normalized(x, name, *, activation=True):
    x = layers.BatchNormalization(epsilon=_EPSILON, name=_inner(name))(x)
    return layers.ReLU(6.0, name=_inner(f"{name}/relu6"))(x) if activation else x


def _inner(name):
    """Name a layer: Keras allows no slash."""
    return name.replace("/", ".")


def _outer(name):
    return name.replace(".", "/")
