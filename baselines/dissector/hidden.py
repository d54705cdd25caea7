"""The hidden layers of a classifier that Dissector looks into, and their activations, pooled."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from a2d_keras.classifier import layerwise
from baselines.base import graph_ends

MAX_VALUES = 2048  # of an activation; larger ones are pooled
_GRIDS = (4, 2, 1)  # cells a side of a pooled activation
_BATCH = 256
# These only scale, move, drop or summarise values: what they return is in their inputs already.
_PASSIVE = (
    *(layers.Rescaling, layers.Normalization, layers.Flatten, layers.Reshape, layers.Permute),
    *(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D),
    *(layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D),
    *(layers.GaussianDropout, layers.GaussianNoise, layers.AlphaDropout),
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
)


class Hidden:
    """The pooled activations of hidden layers, as functions of the input.

    By default these are the last layer at each resolution, and every dense layer with what follows
    it, up to the last layer with weights, which gives the outputs. Layers that only scale, move,
    drop or summarise values, such as Flatten, Dropout and global pooling, do not count. On LeNet-5
    these are the four layers that Dissector's authors take, and the two convolutions.

    An activation of more than 2,048 values is averaged over the cells of a grid with 4, 2 or 1
    cells a side, the first that makes it small enough. That is ours: the authors pool less, and
    train heads of up to 0.4 billion weights.

    Args:
        model: A built Sequential or Functional classifier with one input. Layers of the models
            inside it count as its own. It runs in inference mode.
        chosen: The layers, in order of depth: their names, or their places among the layers of
            the model, in the order in which these run. Defaults to None, the rule above.

    Attributes:
        names: The names of the layers, a list of strings.
        places: Their places, a list of ints. Unlike names that Keras gives, they do not depend on
            what else was built before.

    Raises:
        ValueError: If the model has no graph of layers, or no hidden layer; if a name or place is
            that of no layer, or a name that of several; or if a layer's size is open.

    Examples:
        >>> stack = [keras.Input((28, 28, 1)), layers.Conv2D(64, 5), layers.ReLU(name="b")]
        >>> stack += [layers.MaxPooling2D(name="c"), layers.Flatten(), layers.Dense(9, name="d")]
        >>> hidden = Hidden(keras.Sequential([*stack, layers.Dense(4), layers.Softmax()]))
        >>> hidden.names
        ['b', 'c', 'd']
        >>> [a.shape for a in hidden.activations(np.zeros((7, 28, 28, 1), "float32"))]
        [(7, 1024), (7, 1024), (7, 9)]
    """

    def __init__(self, model, *, chosen=None):
        inputs, _ = graph_ends(model)
        if len(inputs) != 1:
            raise ValueError(
                "The model must be built, Sequential or Functional, with one input. "
                f"Received: {layerwise.describe(model)}"
            )
        self._model = model
        self._input = tf.TensorSpec((None, *inputs[0].shape[1:]), "float32")
        outputs = self._trace()
        if chosen is None:
            self.places = _by_rule(outputs)
        else:
            self.places = [_place(outputs, each) for each in chosen]
        if not self.places:
            raise ValueError(
                "The model must have a hidden layer, or `hidden` must name one. "
                f"Received: {layerwise.describe(model)}"
            )
        self.names = [outputs[place][0].name for place in self.places]
        self._all = self._compile(self.places)

    def activations(self, x):
        """Compute the pooled activations of all layers.

        Args:
            x: Inputs, float32, (n, *input shape); one or more.

        Returns:
            The activations, flattened, a list of float32 arrays, (n, values).
        """
        return _in_batches(self._all, x)

    def activations_of(self, index, x):
        """Compute the pooled activations of one layer, without running the layers behind it.

        Args:
            index: The index of the layer in `names`.
            x: As for `activations`.

        Returns:
            The activations, float32, (n, values).
        """
        return _in_batches(self._compile([self.places[index]]), x)[0]

    def _trace(self):
        """List the outputs of every layer in the order in which they are computed."""
        found = []

        def trace(x):
            found.extend(_run(self._model, x))

        tf.function(trace, autograph=False).get_concrete_function(self._input)
        return found

    def _compile(self, places):
        def activations(x):
            outputs = _run(self._model, x)
            return [pooled(tf.cast(outputs[place][1], "float32")) for place in places]

        # Concrete, so that open sizes are refused at once.
        return tf.function(activations, autograph=False).get_concrete_function(self._input)


def pooled(activations):
    """Average activations over a grid of cells, if they are large, and flatten them. Graph code.

    Cell i of g along a side of s values holds the values from ⌊i s / g⌋ up to ⌈(i + 1) s / g⌉.

    Args:
        activations: Activations, float32, (batch, *sides, channels).

    Returns:
        The averages, float32, (batch, values).

    Raises:
        ValueError: If a side is open.

    Examples:
        >>> pooled(tf.reshape(tf.range(32 * 128, dtype="float32"), (1, 32, 128)))[0, :2].numpy()
        array([448., 449.], dtype=float32)
    """
    shape = activations.shape.as_list()
    if None in shape[1:]:
        raise ValueError(
            "The sizes of hidden layers must not be open: give the model a fixed input shape. "
            f"Received: {tuple(shape)}"
        )
    grid = _grid(shape[1:-1], shape[-1])
    for axis, (side, cells) in enumerate(zip(shape[1:-1], grid, strict=True), start=1):
        if cells < side:
            means = tf.tensordot(activations, _cells(side, cells), [[axis], [1]])  # puts it last
            activations = keras.ops.moveaxis(means, -1, axis)
    return tf.reshape(activations, [-1, math.prod(grid) * shape[-1]])


def _grid(sides, channels):
    """Choose the cells along each side."""
    for limit in (max(sides, default=1), *_GRIDS):
        grid = [min(side, limit) for side in sides]
        if math.prod(grid) * channels <= MAX_VALUES:
            break
    return grid


def _cells(side, cells):
    """Make the matrix that averages over cells, float32, (cells, side)."""
    matrix = np.zeros((cells, side), "float32")
    for i in range(cells):
        cell = slice(i * side // cells, -(-(i + 1) * side // cells))
        matrix[i, cell] = 1 / (cell.stop - cell.start)
    return matrix


def _run(model, x):
    """Run a model, and list each layer with its output. Graph code."""
    outputs = []

    def call(layer, *args, **kwargs):
        result = layerwise.predict_layer(layer, *args, **kwargs)
        if isinstance(layer, keras.Layer) and tf.is_tensor(result):
            outputs.append((layer, result))
        return result

    layerwise.run(model, [x], call)
    return outputs


def _by_rule(outputs):
    """Keep the last layer at each resolution, and after each dense layer; but not the outputs."""
    with_weights = [place for place, (layer, _) in enumerate(outputs) if layer.weights]
    last, part = {}, None
    hidden = outputs[: max(with_weights, default=0)]  # that one gives the outputs
    for place, (layer, result) in enumerate(hidden):
        if isinstance(layer, _PASSIVE):
            continue
        if result.shape.rank > 2:
            part = tuple(result.shape[1:-1])
        elif isinstance(layer, layers.Dense) or isinstance(part, tuple):
            part = place
        last[part] = place
    return sorted(last.values())


def _place(outputs, chosen):
    """Find a layer by its name, or check its place."""
    known = {chosen} & {*range(len(outputs))}
    found = known or [place for place, (layer, _) in enumerate(outputs) if layer.name == chosen]
    if len(found) != 1:
        raise ValueError(
            "`hidden` must hold names of layers that run once and have one output, or places of "
            f"layers. Received: {chosen!r}, which is {len(found)} such layers"
        )
    return next(iter(found))


def _in_batches(function, x):
    parts = [function(tf.constant(x[i : i + _BATCH])) for i in range(0, len(x), _BATCH)]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]
