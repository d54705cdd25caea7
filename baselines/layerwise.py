"""A model run layer by layer."""

import keras


def run(model, inputs, call):
    """Run a model, those inside it too, with every layer through a function. Graph code.

    Args:
        model: A built Sequential or Functional `keras.Model`.
        inputs: Its inputs, a list of tensors.
        call: A function of a layer (or operation) and its arguments, to what it gives.

    Returns:
        The outputs, a list of tensors.
    """

    def operation(layer):
        def called(*args, **kwargs):
            if not has_graph(layer):
                return call(layer, *args, **kwargs)
            results = run(layer, keras.tree.flatten(args), call)
            return results[0] if len(results) == 1 else results

        return called

    # A layer's own `output` may belong to another model, which used the layer first.
    graph = keras.Model(model.inputs, model.outputs)
    return graph._run_through_graph(inputs, operation_fn=operation)


def has_graph(layer):
    """Tell whether a layer is a model whose layers can be run one by one.

    Args:
        layer: A layer, or an operation.

    Returns:
        Whether it is.
    """
    return isinstance(layer, keras.Model) and bool(getattr(layer, "inputs", None))


def ends(model):
    """List a model's inputs and outputs.

    Args:
        model: A `keras.Model`.

    Returns:
        Two lists of `KerasTensor`s, empty where the model has no graph of layers.
    """
    if not model.built:  # of which Keras 3.3 raises an error of its own
        return [], []
    return tuple(list(getattr(model, name, None) or ()) for name in ("inputs", "outputs"))


def describe(model):
    """Name a model in a sentence.

    Args:
        model: A `keras.Model`.

    Returns:
        Its class and name.
    """
    return f"{type(model).__name__} {model.name!r}"
