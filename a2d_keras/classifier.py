"""`Classifier`: any trained Keras classifier seen as logits, with its input bounds."""

import functools
import hashlib
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.precision import lowered, require_precision

# Ops that leave the classes where they are, so the softmax may stand before them.
_TRANSPARENT_OPS = frozenset({"Cast", "Identity", "Reshape", "Squeeze"})
_MOST = float(np.finfo("float32").max)
_PROBE_INPUTS = 8
_PROBE_SIZE = 32  # of image sides that the model leaves open


class Classifier:
    """A trained Keras classifier as a function from inputs to float32 logits.

    Attacks must see the true logits. A softmax saturates at exactly 1.0, its gradient vanishes,
    and the input looks infinitely robust. So where the model ends in a softmax or a sigmoid, the
    values that go into it are read from the model's own graph: nothing is copied, the weights are
    shared, and layers of any kind may stand before it. The model always runs in inference mode.

    Args:
        model: A built `keras.Model` with one input and one output of shape (batch, classes), or
            (batch, 1) for a two-class problem.
        bounds: Smallest and largest value an input may hold. Defaults to (0.0, 1.0).
        from_logits: Whether the model's outputs are logits (True) or probabilities (False).
            By default the model's graph tells; where the softmax is out of sight, the model is
            run on 8 seeded random inputs, and rows of non-negative numbers that sum to one
            are probabilities: then their logarithms are used, with a warning.
        precision: What the model computes in under attack: `"float32"`, `"bfloat16"`, where the
            processor has it or there is a GPU, or `"float16"`, on a GPU. Below float32 the first
            and the last layer with weights, and so the logits, stay float32. Costs belong to one
            precision. Defaults to `"float32"`.

    Attributes:
        model: The model, untouched.
        bounds: The bounds, as floats.
        input_shape: Shape of one input, without the batch.
        classes: The number of classes.

    Raises:
        ValueError: If the model is no `keras.Model`, is not built, has several inputs or outputs,
            an output that is not (batch, classes), fewer than two classes, if `bounds` are not
            two increasing finite numbers, as float32 holds them, or if the machine has no such
            `precision`, or the model does not run in it.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        >>> Classifier(model).logits(keras.ops.ones((2, 4))).shape
        TensorShape([2, 3])
    """

    def __init__(
        self,
        model: keras.Model,
        bounds: tuple[float, float] = (0.0, 1.0),
        from_logits: bool | None = None,
        precision: str = "float32",
    ) -> None:
        if not isinstance(model, keras.Model):
            raise ValueError(
                f"The classifier must be a `keras.Model`, of Keras 3. Received: {type(model)}"
            )
        require_precision(precision)
        self.model = model
        self.precision = precision
        self.bounds = _increasing(bounds)
        self.input_shape = _input_shape(model)
        self.cache: dict[Any, Any] = {}  # what others compile for this classifier
        self.best_slots: dict[Any, int] = {}  # what calibrations have found
        self._to_logits = self._choose_logits(from_logits)
        self._function = self._compile(self._logits)
        logits = self._function.get_concrete_function().outputs[0]
        self.classes = int(logits.shape[-1])
        if precision != "float32" and _source(logits).dtype != tf.float32:
            self._warn_of_coarse_logits()

    @property
    def range(self) -> float:
        """Width of the bounds."""
        return self.bounds[1] - self.bounds[0]

    def logits(self, x: tf.Tensor) -> tf.Tensor:
        """Compute the logits.

        Args:
            x: Inputs, float, (batch, *input_shape).

        Returns:
            Logits, float32, (batch, classes).
        """
        return self._function(x) if tf.executing_eagerly() else self._logits(x)

    def vjp(self, x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        """Compute the logits, and how to carry a direction back from them to the inputs.

        Args:
            x: Inputs, float32, (batch, *input_shape).

        Returns:
            The logits, float32, (batch, classes), and a function from a direction in their
            space, of the same shape and dtype, to the vector-Jacobian product, a tensor like `x`.
        """
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(x)
            logits = self.logits(x)

        def pullback(direction: tf.Tensor) -> tf.Tensor:
            gradient = tape.gradient(logits, x, output_gradients=direction)
            if gradient is None:
                raise ValueError(
                    "A gradient attack needs a classifier that is differentiable in its input; "
                    "use one that needs labels alone, DBA, or probabilities, LSA. "
                    f"Received: {_describe(self.model)}"
                )
            return gradient

        return logits, pullback

    def random_inputs(self, count: int) -> tf.Tensor:
        """Make inputs of uniform noise, always the same; of a side left open, 32 pixels.

        Args:
            count: How many.

        Returns:
            Inputs within the bounds, float32, (count, *input_shape).
        """
        shape = [size or _PROBE_SIZE for size in self.input_shape]
        return tf.random.stateless_uniform([count, *shape], (0, 0), *self.bounds)

    def weights_hash(self) -> int:
        """Hash the bits of the model's weights, and a precision below float32, on the host.

        Returns:
            The first 64 bits of their SHA-256, as a signed integer: equal for equal weights and
            precision, on every machine, and in a model that was saved and loaded.
        """
        digest = hashlib.sha256()
        if self.precision != "float32":
            digest.update(self.precision.encode())
        for weight in self.model.weights:
            values = keras.ops.convert_to_numpy(weight)
            digest.update(values.reshape(-1).view("uint8"))  # hashlib does not take bfloat16
        return int.from_bytes(digest.digest()[:8], "little", signed=True)

    def _logits(self, x: tf.Tensor) -> tf.Tensor:
        return self._to_logits(self._outputs(x))

    def _outputs(self, x: tf.Tensor) -> tf.Tensor:
        with lowered(self.model, self.precision):
            return _single_output(self.model, x)

    def _compile(self, function: Callable) -> Any:
        x = tf.TensorSpec((None, *self.input_shape), tf.float32)
        return tf.function(function, input_signature=[x], autograph=False)

    def _choose_logits(self, from_logits: bool | None) -> Callable:
        run = self._compile(self._outputs)
        outputs = self._traced(run)
        if outputs.shape.rank != 2:
            raise ValueError(
                "The classifier's output must have the shape (batch, classes). "
                f"Received: {outputs.shape} from {_describe(self.model)}"
            )
        one_unit = outputs.shape[-1] == 1
        if from_logits is not True and _activation_op(outputs) is not None:
            to_logits = _before_activation
        elif one_unit and from_logits is None:
            raise ValueError(
                "The classifier must have two classes or more, or one unit with a sigmoid; of "
                "any other single unit, say with `from_logits` what it gives. "
                f"Received: {outputs.shape} from {_describe(self.model)}"
            )
        elif from_logits or (from_logits is None and not self._gives_probabilities(run)):
            to_logits = _as_they_are
        else:
            self._warn_of_probabilities()
            return _log_odds if one_unit else _log
        return functools.partial(_two_classes, to_logits) if one_unit else to_logits

    def _traced(self, run: Any) -> tf.Tensor:
        try:
            return run.get_concrete_function().outputs[0]
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            if self.precision == "float32":
                raise
            raise ValueError(
                "The classifier mixes its precision with float32 in a layer of its own, and so "
                f'runs in float32 alone: take `precision="float32"`. Received: {self.precision!r} '
                f"for {_describe(self.model)}"
            ) from error

    def _gives_probabilities(self, run: Callable) -> bool:
        outputs = run(self.random_inputs(_PROBE_INPUTS))
        sums = tf.reduce_sum(outputs, axis=-1)
        return bool(tf.reduce_all(outputs >= 0) & tf.reduce_all(tf.abs(sums - 1) <= 1e-3))

    def _warn_of_probabilities(self) -> None:
        warnings.warn(
            "The softmax of this classifier is out of sight, so its log-probabilities are "
            "attacked: where it is so sure that they underflow, an adversarial input looks robust "
            f"and is missed; give its logits instead. Received: {_describe(self.model)}",
            stacklevel=4,
        )

    def _warn_of_coarse_logits(self) -> None:
        warnings.warn(
            "The layer that gives the logits is not the last that this classifier lists, so they "
            f"are computed in {self.precision}, and costs are coarse. Received: "
            f"{_describe(self.model)}",
            stacklevel=3,
        )


def _increasing(bounds: Any) -> tuple[float, float]:
    try:
        low, high = (float(bound) for bound in bounds)
        within = -_MOST <= low < high <= _MOST and high - low <= _MOST
        valid = within and np.float32(low) < np.float32(high)
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(f"`bounds` must be two increasing finite numbers. Received: {bounds}")
    return low, high


def _describe(model: keras.Model) -> str:
    return f"{type(model).__name__} {model.name!r}"


def _input_shape(model: keras.Model) -> tuple[int | None, ...]:
    config = model.get_build_config() if model.built else None
    shape = config.get("input_shape") if config else None
    inputs = getattr(model, "inputs", None)
    if inputs:
        if len(inputs) != 1:
            raise ValueError(
                "The classifier must have one input. "
                f"Received: {len(inputs)} inputs of {_describe(model)}"
            )
        shape = inputs[0].shape
    if shape is None or not all(size is None or isinstance(size, int) for size in shape):
        raise ValueError(
            "The classifier must be built: call it on one batch of inputs first. "
            f"Received: {_describe(model)}"
        )
    return tuple(shape[1:])


def _single_output(model: keras.Model, x: tf.Tensor) -> tf.Tensor:
    outputs = tf.nest.flatten(model(x, training=False))
    if len(outputs) != 1:
        raise ValueError(
            "The classifier must have one output. "
            f"Received: {len(outputs)} outputs of {_describe(model)}"
        )
    return tf.cast(outputs[0], tf.float32)


def _source(outputs: tf.Tensor) -> tf.Tensor:
    """Find the tensor that holds the same numbers before they were cast or reshaped."""
    while outputs.op.type in _TRANSPARENT_OPS:
        outputs = outputs.op.inputs[0]
    return outputs


def _activation_op(outputs: tf.Tensor) -> tf.Operation | None:
    """Find the softmax or sigmoid that `outputs` come straight from, as Keras's own losses do."""
    op = _source(outputs).op
    classes = outputs.shape[-1]
    softmax = op.type == "Softmax" and op.outputs[0].shape[-1] == classes > 1
    return op if softmax or op.type == "Sigmoid" else None


def _before_activation(outputs: tf.Tensor) -> tf.Tensor:
    op = _activation_op(outputs)
    assert op is not None
    return tf.reshape(tf.cast(op.inputs[0], tf.float32), tf.shape(outputs))


def _as_they_are(outputs: tf.Tensor) -> tf.Tensor:
    return outputs


def _log(probabilities: tf.Tensor) -> tf.Tensor:
    return tf.math.log(tf.maximum(probabilities, np.finfo(np.float32).tiny))


def _log_odds(probability: tf.Tensor) -> tf.Tensor:
    return _log(tf.concat([1 - probability, probability], axis=-1))


def _two_classes(to_logits: Callable, outputs: tf.Tensor) -> tf.Tensor:
    logit = to_logits(outputs)
    return tf.concat([tf.zeros_like(logit), logit], axis=-1)
