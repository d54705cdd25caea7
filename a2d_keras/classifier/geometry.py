"""The geometry of one input of a model: its shape, and the axis of its channels."""

from typing import Any

import keras
import tensorflow as tf

from a2d_keras.classifier.layerwise import describe, pack

_CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
DATA_FORMATS = ("channels_last", "channels_first")


def input_shape(model: keras.Model) -> tuple[int | None, ...]:
    """Read the shape of one input.

    Args:
        model: The model.

    Returns:
        The shape, without the batch; None for sides left open.

    Raises:
        ValueError: If the model is not built, has several inputs, or has a fixed batch size.
    """
    inputs = getattr(model, "inputs", None)
    if inputs:
        shape = _declared_shape(model, inputs)
    else:
        config = model.get_build_config() if model.built else None
        shape = config.get("input_shape") if config else None
    if not _is_shape(shape):
        raise ValueError(
            "The classifier must be built: call it on one batch of inputs first. "
            f"Received: {describe(model)}"
        )
    sides = tuple(shape[1:])
    return (None, None, sides[-1]) if inputs and _resizes(model, sides) else sides


def _declared_shape(model: keras.Model, inputs: Any) -> Any:
    if len(inputs) != 1:
        raise ValueError(
            "The classifier must have one input. "
            f"Received: {len(inputs)} inputs of {describe(model)}"
        )
    batch = inputs[0].shape[0]
    if batch is not None and not _takes(model, batch + 1):
        raise ValueError(
            "The classifier must take batches of any size: build it again without `batch_size` in "
            "`keras.Input`, and give it the weights with `set_weights`. "
            f"Received: only batches of {batch}, for {describe(model)}"
        )
    return inputs[0].shape


def _takes(model: keras.Model, count: int) -> bool:
    """Return whether a model takes a batch of another size than it declares.

    Most models do. `fit`, for one, declares the size of its first batch for a model that it builds.
    """
    declared = model.inputs[0]
    sides = [side or 1 for side in declared.shape[1:]]
    x = pack(model, tf.zeros([count, *sides], declared.dtype))
    try:
        outputs = model(x, training=False)
    except Exception:  # whatever a layer made for one size stumbles over
        return False
    return all(len(output) == count for output in tf.nest.flatten(outputs))


def _is_shape(shape: Any) -> bool:
    sized = isinstance(shape, (list, tuple)) and len(shape) > 0
    return sized and all(size is None or isinstance(size, int) for size in shape)


def _resizes(model: keras.Model, sides: tuple[int | None, ...]) -> bool:
    """Return whether KerasHub's preprocessing resizes images to one size."""
    preprocess = getattr(model, "preprocess_samples", None)
    if preprocess is None or len(sides) != 3 or None in sides:
        return False
    x = tf.TensorSpec((None, None, None, sides[-1]), tf.float32)
    try:
        trace = tf.function(preprocess, autograph=False).get_concrete_function(x)
    except (TypeError, ValueError, tf.errors.OpError):
        return False
    shapes = [each.shape for each in trace.outputs if each.shape.rank == 4]
    return any(None not in shape.as_list()[1:] for shape in shapes)


def require_stateless(model: keras.Model) -> None:
    """Refuse a model that keeps state between batches.

    Args:
        model: The model.

    Raises:
        ValueError: If one of its layers is stateful.
    """
    stateful = [layer.name for layer in model._flatten_layers() if getattr(layer, "stateful", None)]
    if stateful:
        raise ValueError(
            "The classifier must not keep state between batches: build it with `stateful=False`, "
            "and give it the weights with `set_weights`. "
            f"Received: {describe(model)} with stateful layers {stateful}"
        )


def data_format(model: keras.Model, shape: tuple[int | None, ...], given: str | None) -> str:
    """Find the axis of an image that holds its channels.

    Args:
        model: The model.
        shape: The shape of one input.
        given: The user's choice. If it is None and the shape has three sides, the channels are
            at the end that holds 1, 3 or 4. If neither or both ends do, the first layer with a
            `data_format` decides.

    Returns:
        `"channels_last"` or `"channels_first"`.

    Raises:
        ValueError: If the user's choice is invalid.
    """
    if given is not None:
        if given not in DATA_FORMATS:
            raise ValueError(
                '`data_format` must be "channels_last", "channels_first" or None. '
                f"Received: {given!r}"
            )
        return given
    if len(shape) == 3:
        last, first = shape[-1] in _CHANNELS, shape[0] in _CHANNELS
        if last != first:
            return "channels_last" if last else "channels_first"
        for layer in model._flatten_layers():
            if getattr(layer, "data_format", None) in DATA_FORMATS:
                return str(layer.data_format)
    return str(keras.config.image_data_format())
