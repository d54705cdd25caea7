"""`PredictFunction`: what `model.predict` computes, as graph code."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.classifier.layerwise import describe, has_graph, pack, predict_layer, run

_OVERRIDABLE = ("predict", "predict_step", "make_predict_function")
_NEARLY = 1e-4  # largest relative difference that rounding may make between equal outputs


class PredictFunction:
    """What `model.predict` computes, as graph code.

    Usually that is a call of the model. A model with its own `predict_step` runs through it, and
    a KerasHub model preprocesses first.

    Args:
        model: The built model, with one input.

    Attributes:
        dtype: The dtype that the model declares for its input, or float32 if it declares none.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        declared = getattr(model, "inputs", None)
        self.dtype = tf.as_dtype(declared[0].dtype if declared else "float32")
        self._structure = getattr(model, "_inputs_struct", None)
        self._steps = not _is_kerass_own(model, "predict_step")
        self._preprocesses = not _is_kerass_own(model, "predict") and callable(
            getattr(model, "preprocess_samples", None)
        )

    @property
    def is_plain(self) -> bool:
        """Whether it is a call of the model and nothing else."""
        return not self._steps and not self._preprocesses

    @property
    def names(self) -> set[str]:
        """The keys under which a dict may hold the one input."""
        declared = {each.name for each in getattr(self._model, "inputs", None) or ()}
        return declared | (set(self._structure) if isinstance(self._structure, dict) else set())

    def __call__(self, x: tf.Tensor) -> Any:
        """Compute what `model.predict` returns for a batch.

        Args:
            x: Inputs of any real dtype, (batch, *input_shape).

        Returns:
            The outputs, as the model returns them.
        """
        data = self._prepared(x)
        if self._steps:
            return self._model.predict_step((data,))
        return self._model(data, training=False)

    def spec(self, x: keras.KerasTensor) -> Any:
        """Describe the outputs without computing them.

        Args:
            x: A symbolic batch of inputs.

        Returns:
            `KerasTensor`s in the structure of the outputs.
        """
        if self.is_plain:
            return self._model.compute_output_spec(pack(self._model, x))
        traced = tf.function(self, autograph=False).get_concrete_function(
            tf.TensorSpec(x.shape, x.dtype)
        )
        return tf.nest.map_structure(
            lambda each: keras.KerasTensor(tuple(each.shape), each.dtype.name),
            traced.structured_outputs,
        )

    def continuous(self, x: tf.Tensor) -> Any:
        """Compute the same from float32 inputs for a model that declares whole numbers.

        Keras casts inputs to the declared dtype, and a cast to whole numbers has no gradient. The
        model's layers take any dtype, so they get the numbers without a cast.

        Args:
            x: Inputs, float32, (batch, *input_shape).

        Returns:
            The outputs, with a gradient if the layers have one.
        """
        if self.dtype.is_floating or not self.is_plain or not has_graph(self._model):
            return self(x)
        return run(self._model, [x], predict_layer)

    def require_as_predict(self, x: tf.Tensor) -> None:
        """Refuse a model whose own `predict` computes something else.

        Args:
            x: Some inputs, float32.

        Raises:
            ValueError: If the model's class overrides how it predicts, and `model.predict`
                differs from what this function computes.
        """
        if all(_is_kerass_own(self._model, name) for name in _OVERRIDABLE):
            return
        x = tf.cast(x, self.dtype)
        if not _same(self._model_predict(x.numpy()), self(x)):
            raise ValueError(
                "`predict` of this classifier computes something that neither its layers nor its "
                "`predict_step` compute, so it cannot be attacked: move that computation into "
                f"layers of the model. Received: {describe(self._model)}"
            )

    def _model_predict(self, x: np.ndarray) -> Any:
        data = pack(self._model, x)
        try:
            return self._model.predict(data, verbose=0)
        except TypeError:  # its own `predict` takes no `verbose`
            return self._model.predict(data)

    def _prepared(self, x: Any) -> Any:
        data = pack(self._model, x)
        if self._preprocesses:
            data = self._model.preprocess_samples(data)
            data, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return data


def _is_kerass_own(model: keras.Model, name: str) -> bool:
    return getattr(getattr(model, name), "__module__", "").startswith("keras.")


def _same(theirs: Any, ours: Any) -> bool:
    theirs, ours = (keras.tree.flatten(outputs) for outputs in (theirs, ours))
    if len(theirs) != len(ours):
        return False
    return all(map(_close, theirs, ours))


def _close(theirs: Any, ours: Any) -> bool:
    theirs, ours = np.asarray(theirs), np.asarray(ours)
    if theirs.shape != ours.shape or theirs.dtype.kind not in "fiub":
        return False
    return np.allclose(theirs, ours, rtol=_NEARLY, atol=_NEARLY / 10, equal_nan=True)


def single_output(outputs: Any, model: keras.Model) -> tf.Tensor:
    """Return the one output of a classifier.

    Args:
        outputs: What the model returned.
        model: The model, for the error message.

    Returns:
        The output, float32.

    Raises:
        ValueError: If there are several.
    """
    flat = tf.nest.flatten(outputs)
    if len(flat) != 1:
        raise ValueError(
            "The classifier must have one output. "
            f"Received: {len(flat)} outputs of {describe(model)}"
        )
    return tf.cast(flat[0], tf.float32)
