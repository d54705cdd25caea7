"""The mutation operators: small random damage to the weights of a classifier.

Wang et al. 2019; see `detector.py`. The details are those of the authors' code. A *unit* is one
output channel of a convolution, or one output of a dense layer. It owns its incoming weights and
its bias. Batch normalization has parameters but no units.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from keras import layers

_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_MIN_SWITCHED = 10  # smaller layers do not switch


class Units(NamedTuple):
    """The units of one layer.

    Attributes:
        kernel: The place of the kernel among the parameters.
        bias: The place of the bias, or None if the layer has none.
        count: The number of units.
    """

    kernel: int
    bias: int | None
    count: int


def parameters(model):
    """List the parameters of a model: what training changes, also in layers that are frozen.

    Args:
        model: A built `keras.Model`.

    Returns:
        A list of `keras.Variable`s, in the order of the layers.

    Examples:
        >>> import keras
        >>> stack = [keras.Input((3,)), layers.Dense(2), layers.BatchNormalization()]
        >>> [variable.name for variable in parameters(keras.Sequential(stack))]
        ['kernel', 'bias', 'gamma', 'beta']
    """
    # A frozen layer counts its parameters among the others, except here.
    own = (variable for layer in _layers(model) for variable in layer._trainable_variables)
    return list({id(variable): variable for variable in own}.values())


def units(model):
    """List the units of every convolution and dense layer, the output layer included.

    Args:
        model: A built `keras.Model`. Layers of other kinds, such as separable and transposed
            convolutions, have no units here.

    Returns:
        A list of `Units`, one for each layer, in their order.

    Raises:
        ValueError: If a kernel is not a parameter itself, as after `enable_lora` or `quantize`.

    Examples:
        >>> import keras
        >>> stack = [keras.Input((8, 8, 1)), layers.Conv2D(6, 3), layers.Flatten(), layers.Dense(4)]
        >>> units(keras.Sequential(stack))
        [Units(kernel=0, bias=1, count=6), Units(kernel=2, bias=3, count=4)]
    """
    places = {id(variable): place for place, variable in enumerate(parameters(model))}
    found = []
    for layer in _layers(model):
        if isinstance(layer, (layers.Dense, *_CONVOLUTIONS, *_DEPTHWISE)):
            shape, bias = layer.kernel.shape, layer.bias
            count = math.prod(shape[-2:]) if isinstance(layer, _DEPTHWISE) else shape[-1]
            if id(layer.kernel) not in places:
                raise ValueError(
                    "Kernels must be parameters of the model, without LoRA and not quantized. "
                    f"Received: the layer {layer.name!r}"
                )
            found.append(Units(places[id(layer.kernel)], places.get(id(bias)), count))
    return found


def invert(weights, layout, rate, generator):
    """Neuron activation inverse (NAI): invert units drawn from all layers together.

    A unit's incoming weights and its bias change their sign.

    Args:
        weights: The parameters, a list of float32 arrays. They change in place.
        layout: The `Units` of each layer.
        rate: The share of units to draw, in (0, 1]; the number is truncated.
        generator: A `numpy.random.Generator`.
    """
    for layer, drawn in zip(layout, _draw_units(layout, rate, generator), strict=True):
        _columns(weights, layer)[:, drawn] *= -1
        if layer.bias is not None:
            weights[layer.bias][drawn] *= -1


def fuzz(weights, layout, rate, generator):
    """Gaussian fuzzing (GF): replace parameters drawn from all parameters together.

    A new value comes from a normal distribution with the mean and the standard deviation of the
    array that the parameter lies in. It does not depend on the old value.

    Args:
        weights: As for `invert`.
        layout: Ignored: every parameter counts.
        rate: The share of parameters to draw, in (0, 1]; the number is truncated.
        generator: As for `invert`.
    """
    sizes = [array.size for array in weights]
    for array, drawn in zip(weights, _draw(sizes, rate, generator), strict=True):
        spread = array.std(ddof=1) if array.size > 1 else 0.0
        array.reshape(-1)[drawn] = generator.normal(array.mean(), spread, len(drawn))


def shuffle(weights, layout, rate, generator):
    """Weight shuffling (WS): permute the incoming weights of units drawn from all layers together.

    Args:
        weights: As for `invert`. Biases stay.
        layout: As for `invert`.
        rate: As for `invert`.
        generator: As for `invert`.
    """
    for layer, drawn in zip(layout, _draw_units(layout, rate, generator), strict=True):
        columns = _columns(weights, layer)
        columns[:, drawn] = generator.permuted(columns[:, drawn], axis=0)


def switch(weights, layout, rate, generator):
    """Neuron switch (NS): in each layer of 10 units or more, permute the incoming weights of some.

    Of u units, ⌊u · rate⌋ are drawn if that is more than 2, else ⌈u · rate⌉. One alone changes
    nothing.

    Args:
        weights: As for `invert`. Biases stay.
        layout: As for `invert`.
        rate: The share of units to draw in each layer, in (0, 1].
        generator: As for `invert`.
    """
    for layer in layout:
        if layer.count >= _MIN_SWITCHED:
            share = layer.count * rate
            size = math.floor(share) if share > 2 else math.ceil(share)
            drawn = generator.choice(layer.count, size, replace=False)
            columns = _columns(weights, layer)
            columns[:, drawn] = columns[:, generator.permutation(drawn)]


OPERATORS: dict[str, Callable] = {"NAI": invert, "GF": fuzz, "WS": shuffle, "NS": switch}


def _layers(model):
    return model._flatten_layers()


def _columns(weights, layer):
    """View a kernel as a matrix with a column for each unit: Keras puts them last."""
    return weights[layer.kernel].reshape(-1, layer.count)


def _draw_units(layout, rate, generator):
    return _draw([layer.count for layer in layout], rate, generator)


def _draw(sizes, rate, generator):
    """Draw a share of all places, without replacement; return those drawn in each part."""
    ends = np.cumsum(sizes)
    drawn = generator.choice(ends[-1], int(ends[-1] * rate), replace=False)
    drawn.sort()
    parts = np.split(drawn, np.searchsorted(drawn, ends[:-1]))
    return [part - (end - size) for part, end, size in zip(parts, ends, sizes, strict=True)]
