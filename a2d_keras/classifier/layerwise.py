"""Run a model layer by layer; describe a model in an error message."""

from collections.abc import Callable
from typing import Any

import keras


def run(model: keras.Model, inputs: list[Any], call: Callable[..., Any]) -> list[Any]:
    """Run a model and the models inside it, calling every layer through a function. Graph code.

    Inputs are not cast to the dtype that the model declares.

    Args:
        model: A built Sequential or Functional `keras.Model`.
        inputs: Its inputs, a list of tensors.
        call: A function that takes a layer (or operation) and its arguments, and returns its
            outputs.

    Returns:
        The outputs, a list of tensors.
    """

    def operation(layer: Any) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            if not has_graph(layer):
                return call(layer, *args, **kwargs)
            results = run(layer, keras.tree.flatten(args), call)
            return results[0] if len(results) == 1 else results

        return called

    # A layer's own `output` may belong to another model that used the layer first.
    graph = keras.Model(model.inputs, model.outputs)
    return list(keras.tree.flatten(graph._run_through_graph(inputs, operation_fn=operation)))


def has_graph(layer: Any) -> bool:
    """Return whether a layer is a model whose layers can be run one by one.

    Args:
        layer: A layer, or an operation.

    Returns:
        Whether it is a Sequential or Functional model with Keras's own `call`.
    """
    if not isinstance(layer, keras.Model) or not getattr(layer, "inputs", None):
        return False
    return str(type(layer).call.__module__).startswith("keras.")


def predict_layer(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a layer or operation in inference mode. Graph code.

    Args:
        layer: The layer, or operation.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Returns:
        What it returns.
    """
    if getattr(layer, "_call_has_training_arg", False):
        kwargs["training"] = False
    return layer(*args, **kwargs)


def describe(model: keras.Model) -> str:
    """Describe a model in an error message.

    Args:
        model: A `keras.Model`.

    Returns:
        Its class and name.
    """
    return f"{type(model).__name__} {model.name!r}"


def pack(model: keras.Model, x: Any) -> Any:
    """Put the one input of a model into the dict or list that a Functional model declares.

    Args:
        model: The model.
        x: The input.

    Returns:
        The input, as the model takes it.
    """
    structure = getattr(model, "_inputs_struct", None)
    if not isinstance(structure, (dict, list, tuple)):
        return x
    return keras.tree.pack_sequence_as(structure, [x])
