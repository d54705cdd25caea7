"""Read logits from the graph of a model that ends in a softmax or a sigmoid."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

# Ops that keep the order of classes: the softmax may come before them.
_TRANSPARENT_OPS = frozenset({"Cast", "Identity", "Reshape", "Squeeze"})
# Ops through which whole numbers reach a table. `keras.ops.take` also wraps negative ones around.
_INDEX_OPS = _TRANSPARENT_OPS | {
    *("AddV2", "AsString", "ConcatV2", "ExpandDims", "Floor", "Maximum", "Minimum"),
    *("Pack", "Rint", "Round", "SelectV2", "StridedSlice", "Transpose"),
}
_LOOKUPS = {  # the position of the argument that is looked up, or counted
    **{"Gather": 1, "GatherV2": 1, "ResourceGather": 1, "LookupTableFindV2": 1},
    **{"Bincount": 0, "DenseBincount": 0, "OneHot": 0, "StringToHashBucketFast": 0},
}
_LAYERS = frozenset(
    {"BatchMatMulV2", "BatchMatMulV3", "Conv1D", "Conv2D", "Conv3D", "Einsum", "MatMul"}
)
_CALLS = frozenset({"If", "PartitionedCall", "StatefulPartitionedCall", "StatelessIf", "While"})
_SUM_TOLERANCE = 1e-3

ToLogits = Callable[[tf.Tensor], tf.Tensor]


def source(outputs: tf.Tensor) -> tf.Tensor:
    """Find the tensor that holds the same numbers before they were cast or reshaped.

    Args:
        outputs: A tensor in a graph.

    Returns:
        The tensor that it comes from.
    """
    while outputs.op.type in _TRANSPARENT_OPS:
        outputs = outputs.op.inputs[0]
    return outputs


def activation_op(outputs: tf.Tensor) -> tf.Operation | None:
    """Find the softmax or sigmoid whose results the outputs are, as Keras's own losses do.

    Args:
        outputs: The outputs of a model in a graph, (batch, classes).

    Returns:
        The operation, or None.
    """
    op = source(outputs).op
    classes = outputs.shape[-1]
    softmax = op.type == "Softmax" and op.outputs[0].shape[-1] == classes > 1
    return op if softmax or op.type == "Sigmoid" else None


def before_activation(outputs: tf.Tensor) -> tf.Tensor:
    """Return the input of the softmax or sigmoid."""
    op = activation_op(outputs)
    assert op is not None
    return tf.reshape(tf.cast(op.inputs[0], tf.float32), tf.shape(outputs))


def as_they_are(outputs: tf.Tensor) -> tf.Tensor:
    """Return outputs that are logits already."""
    return outputs


def log(probabilities: tf.Tensor) -> tf.Tensor:
    """Return the logarithms of probabilities, which are valid logits."""
    return tf.math.log(tf.maximum(probabilities, np.finfo(np.float32).tiny))


def two_classes(to_logits: ToLogits, shift: float, outputs: tf.Tensor) -> tf.Tensor:
    """Turn the output of one unit into the logits of two classes.

    Args:
        to_logits: Reads the unit's logit.
        shift: The logit at which the decision changes; 0 for a threshold of 0.5.
        outputs: The unit's outputs, (batch, 1).

    Returns:
        The logits, (batch, 2): class 1 wins above the threshold.
    """
    logit = to_logits(outputs)
    return _shifted(tf.concat([tf.zeros_like(logit), logit], axis=-1), shift)


def two_log_probabilities(shift: float, outputs: tf.Tensor) -> tf.Tensor:
    """Turn the probability of one unit into the logits of two classes; see `two_classes`."""
    return _shifted(log(tf.concat([1 - outputs, outputs], axis=-1)), shift)


def _shifted(logits: tf.Tensor, shift: float) -> tf.Tensor:
    return logits - [0.0, shift] if shift else logits


def are_probabilities(outputs: tf.Tensor) -> bool:
    """Return whether rows are probabilities of exclusive classes: not negative, with sum one."""
    sums = tf.reduce_sum(outputs, axis=-1)
    return bool(tf.reduce_all(outputs >= 0) & tf.reduce_all(tf.abs(sums - 1) <= _SUM_TOLERANCE))


def are_labels(outputs: tf.Tensor) -> bool:
    """Return whether rows look like probabilities of labels: within [0, 1], with any sum.

    Equal rows show nothing, since an untrained model may return zeros.
    """
    within = tf.reduce_all((outputs >= 0) & (outputs <= 1))
    return bool(within & tf.reduce_any(outputs != outputs[:1]))


def last_hidden(logits: tf.Tensor) -> tf.Tensor:
    """Find the activations that the last layer with weights turns into logits.

    Args:
        logits: Logits in a graph.

    Returns:
        The input of the last matrix product or convolution, (batch, ...).

    Raises:
        ValueError: If the graph shows no such layer.
    """
    op = logits.op
    while op.type not in _LAYERS:
        if not op.inputs or op.type in _CALLS:
            raise ValueError(
                "The classifier's graph shows no last hidden layer: it must end in a dense layer "
                f"or a convolution. Received: an operation {op.type}"
            )
        op = op.inputs[0].op
    return op.inputs[0]


def feeds_lookup(x: tf.Tensor) -> bool:
    """Return whether a graph looks its input up in a table, like tokens in an embedding.

    Args:
        x: The input, a placeholder.

    Returns:
        Whether it reaches the indices of a lookup through casts and changes of shape only.
    """
    waiting, seen = [x], set()
    while waiting:
        tensor = waiting.pop()
        for op in tensor.consumers():
            place = _LOOKUPS.get(op.type)
            if place is not None and op.inputs[place] is tensor:
                return True
            if op.type in _INDEX_OPS and op.name not in seen:
                seen.add(op.name)
                waiting.extend(op.outputs)
    return False
