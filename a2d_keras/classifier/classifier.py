"""`Classifier`: any trained Keras classifier seen as logits, with its input bounds."""

import functools
import math
import numbers
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.classifier import bounds as ranges
from a2d_keras.classifier import geometry
from a2d_keras.classifier import logits as reading
from a2d_keras.classifier.layerwise import describe
from a2d_keras.classifier.predict import PredictFunction, single_output
from a2d_keras.classifier.structure import Structure, hash_weights
from a2d_keras.precision import lowered, require_precision

_PROBE_INPUTS = 8
_PROBE_SIZE = 32  # of image sides that the model leaves open
_NEARLY = 1e-4  # relative difference of logits that are the same but for rounding


class Classifier:
    """A trained Keras classifier as a function from inputs to float32 logits.

    Attacks must see the true logits. A softmax saturates at exactly 1.0, its gradient vanishes,
    and the input looks infinitely robust. So where the model ends in a softmax or a sigmoid, the
    values that go into it are read from the model's own graph: nothing is copied, the weights are
    shared, and layers of any kind may stand before it. The model always runs in inference mode.

    The function is the one that `model.predict` computes: through the model's own `predict_step`,
    and KerasHub's preprocessing, where it has them.

    Args:
        model: A built `keras.Model` with one input, which takes continuous values in batches of
            any size, and one output of shape (batch, classes), or (batch, 1) for a two-class
            problem.
        bounds: Smallest and largest value an input may hold: two numbers, or two arrays that
            broadcast to the shape of an input, one range per feature. Defaults to (0.0, 1.0).
        from_logits: Whether the model's outputs are logits (True) or probabilities (False).
            By default the model's graph tells; where the softmax is out of sight, the model is
            run on 8 seeded random inputs, and rows of non-negative numbers that sum to one
            are probabilities: then their logarithms are used, with a warning.
        threshold: The probability above which one unit means class 1. Defaults to 0.5.
        data_format: `"channels_last"` or `"channels_first"`, for attacks that know pixels. By
            default the shape of an image tells: one end of it has 1, 3 or 4 channels; else the
            model's first layer that knows.
        precision: What the model computes in under attack: `"float32"`, `"bfloat16"`, where the
            processor has it or there is a GPU, or `"float16"`, on a GPU. Below float32 the first
            and the last layer with weights, and so the logits, stay float32. Costs belong to one
            precision. Defaults to `"float32"`.

    Attributes:
        model: The model, untouched.
        bounds: The bounds, as floats, or as two float32 arrays of the shape of one input.
        input_shape: Shape of one input, without the batch.
        classes: The number of classes.
        data_format: Where the channels of an image are.
        version: How often `refresh` has read the model anew.

    Raises:
        ValueError: If the model is no `keras.Model`, is not built, is stateful, has several
            inputs or outputs, takes tokens or batches of one size, or has an output that is not
            (batch, classes) or whose units are labels of their own; if `model.predict` computes
            what no graph of it does; if an argument is out of its range, or the machine lacks
            the `precision`, or the model does not run in it.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        >>> Classifier(model).logits(keras.ops.ones((2, 4))).shape
        TensorShape([2, 3])
        >>> ages_and_incomes = ([18, 0, 0, 0], [90, 1e6, 1, 1])
        >>> Classifier(model, bounds=ages_and_incomes).unit.bounds
        (0.0, 1.0)
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        bounds: Any = (0.0, 1.0),
        from_logits: bool | None = None,
        threshold: float = 0.5,
        data_format: str | None = None,
        precision: str = "float32",
    ) -> None:
        if not isinstance(model, keras.Model):
            raise ValueError(
                f"The classifier must be a `keras.Model`, of Keras 3. Received: {type(model)}"
            )
        require_precision(precision)
        _require_threshold(threshold)
        self.model = model
        self.from_logits = from_logits
        self.threshold = float(threshold)
        self.precision = precision
        self.version = 0
        self._given = {"bounds": bounds, "data_format": data_format}
        self._unit: Classifier = self
        self._trace()

    @property
    def range(self) -> Any:
        """Width of the bounds: a float, or an array of one width per feature."""
        return self.bounds[1] - self.bounds[0]

    @property
    def dtype(self) -> tf.DType:
        """The dtype that the model declares for its inputs."""
        return self._predict.dtype

    @property
    def input_names(self) -> set[str]:
        """The names under which inputs may be given in a dict of one."""
        return self._predict.names

    @property
    def unit(self) -> "Classifier":
        """The classifier whose bounds are two numbers: this one, or one on the unit cube.

        Attacks run on it, so that a step is a fraction of each feature's own range; `to_unit` and
        `from_unit` go there and back.
        """
        return self._unit

    def to_unit(self, x: Any) -> Any:
        """Bring inputs within the bounds to those of `unit`. Graph code.

        Args:
            x: Inputs, float32, (batch, *input_shape).

        Returns:
            Inputs of `unit`: the same, where the bounds are two numbers.
        """
        if self._unit is self:
            return x
        return tf.clip_by_value((x - self.bounds[0]) / self.range, 0.0, 1.0)

    def from_unit(self, u: Any) -> Any:
        """Bring inputs of `unit` back, into the bounds. Graph code.

        Args:
            u: Inputs of `unit`, float32, (batch, *input_shape).

        Returns:
            Inputs: the same, where the bounds are two numbers.
        """
        if self._unit is self:
            return u
        return tf.clip_by_value(self.bounds[0] + u * self.range, *self.bounds)

    def predictions(self, x: tf.Tensor) -> Any:
        """Compute what `model.predict` returns. Graph code.

        Args:
            x: Inputs, of the user's dtype, (batch, *input_shape).

        Returns:
            The model's own outputs.
        """
        return self._predict(x)

    def predictions_spec(self, x: keras.KerasTensor) -> Any:
        """Describe what `predictions` returns, without computing it.

        Args:
            x: A symbolic batch of inputs.

        Returns:
            `KerasTensor`s, in the structure of the model's outputs.
        """
        return self._predict.spec(x)

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
            It is finite: NaN becomes 0, and an infinity the largest finite size in its input.
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
                    f"Received: {describe(self.model)}"
                )
            return _finite(gradient)

        return logits, pullback

    def trusted(self, outputs: tf.Tensor) -> tf.Tensor:
        """Tell which predictions can be used. Graph code.

        Args:
            outputs: Logits or the model's own outputs, float, (batch, classes).

        Returns:
            Whether a row has no NaN and a finite maximum, bool, (batch,). A logit of -inf, of a
            class that is masked, is fine.
        """
        clear = ~tf.reduce_any(tf.math.is_nan(outputs), axis=-1)
        return clear & tf.math.is_finite(tf.reduce_max(outputs, axis=-1))

    def random_inputs(self, count: int) -> tf.Tensor:
        """Make inputs of uniform noise, always the same; of a side left open, 32 pixels.

        Args:
            count: How many.

        Returns:
            Inputs within the bounds, float32, (count, *input_shape).
        """
        shape = [count, *(size or _PROBE_SIZE for size in self.input_shape)]
        if _are_scalars(self.bounds):
            return tf.random.stateless_uniform(shape, (0, 0), *self.bounds)
        return self.bounds[0] + self.range * tf.random.stateless_uniform(shape, (0, 0))

    def weights_hash(self) -> int:
        """Hash the bits of the model's weights, and a precision below float32, on the host.

        What the model would save is hashed: LoRA's weights are merged into the kernels.

        Returns:
            The first 64 bits of their SHA-256, as a signed integer: equal for equal weights and
            precision, on every machine, and in a model that was saved and loaded.
        """
        return hash_weights(self.model, "" if self.precision == "float32" else self.precision)

    def structure_changed(self) -> bool:
        """Tell whether the model has changed since it was read, its weights' values aside.

        Returns:
            Whether a layer, a variable, a setting or a constant is another one.
        """
        return self._structure != Structure(self.model)

    def refresh(self) -> None:
        """Read the model anew if it is another function than the one traced.

        It is where a layer, variable or setting is another one (LoRA enabled, quantized, an
        activation swapped), or where its logits differ on 8 seeded inputs. Training alone
        changes the values of variables, which graphs share.

        Raises:
            ValueError: If the model is no longer one that the class takes.
        """
        if not self.structure_changed() and not self._answers_otherwise():
            return
        self._trace()
        self.version += 1

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments but for the model, as plain values.

        Returns:
            Keyword arguments of the class.
        """
        return {
            "bounds": tuple(
                bound.tolist() if isinstance(bound, np.ndarray) else bound for bound in self.bounds
            ),
            "from_logits": self.from_logits,
            "threshold": self.threshold,
            "data_format": self._given["data_format"],
            "precision": self.precision,
        }

    def _trace(self) -> None:
        """Read the model: its inputs, its logits and its classes."""
        model = self.model
        geometry.require_stateless(model)
        self.input_shape = geometry.input_shape(model)
        self.data_format = geometry.data_format(model, self.input_shape, self._given["data_format"])
        self.bounds = ranges.parse(self._given["bounds"], self.input_shape)
        self._predict = PredictFunction(model)
        if self._predict.dtype == tf.string:
            raise ValueError(_no_continuous_values(model))
        self._predict.require_as_predict(self.random_inputs(_PROBE_INPUTS))
        self._run = self._compile(self._outputs)
        self._to_logits = self._choose_logits(self._traced(self._run))
        self._function = self._compile(self._logits)
        logits = self._function.get_concrete_function().outputs[0]
        self.classes = int(logits.shape[-1])
        if self.precision != "float32" and reading.source(logits).dtype != tf.float32:
            self._warn_of_coarse_logits()
        self._structure = Structure(model)
        if not _are_scalars(self.bounds):
            self._unit = _UnitClassifier(self)

    def _answers_otherwise(self) -> bool:
        x = self.random_inputs(_PROBE_INPUTS)
        before, now = self._run(x), self._outputs(x)
        if before.shape != now.shape:
            return True
        if bool(tf.reduce_all((now >= 0) & (now <= 1))):  # a saturated softmax hides much
            before, now = reading.log(before), reading.log(now)
        size = tf.reduce_max(tf.abs(now), axis=-1, keepdims=True)
        return not bool(tf.reduce_all(tf.abs(now - before) <= _NEARLY * size))

    def _logits(self, x: tf.Tensor) -> tf.Tensor:
        return self._to_logits(self._outputs(x))

    def _outputs(self, x: tf.Tensor) -> tf.Tensor:
        with lowered(self.model, self.precision):
            return single_output(self._predict.continuous(x), self.model)

    def _compile(self, function: reading.ToLogits) -> Any:
        x = tf.TensorSpec((None, *self.input_shape), tf.float32)
        return tf.function(function, input_signature=[x], autograph=False)

    def _choose_logits(self, outputs: tf.Tensor) -> reading.ToLogits:
        if outputs.shape.rank != 2:
            raise ValueError(
                "The classifier's output must have the shape (batch, classes). "
                f"Received: {outputs.shape} from {describe(self.model)}"
            )
        self._require_continuous()
        one_unit = outputs.shape[-1] == 1
        if not one_unit and self.threshold != 0.5:
            raise ValueError(
                "A `threshold` belongs to a classifier of one unit; a larger one decides for its "
                f"largest output. Received: {self.threshold} for {outputs.shape} from "
                f"{describe(self.model)}"
            )
        shift = math.log(self.threshold / (1 - self.threshold))
        if self.from_logits is not True and reading.activation_op(outputs) is not None:
            self._require_exclusive(outputs)
            to_logits = reading.before_activation
        elif one_unit and self.from_logits is None:
            raise ValueError(
                "The classifier must have two classes or more, or one unit with a sigmoid; of "
                "any other single unit, say with `from_logits` what it gives. "
                f"Received: {outputs.shape} from {describe(self.model)}"
            )
        elif self.from_logits or (self.from_logits is None and not self._gives_probabilities()):
            to_logits = reading.as_they_are
        else:
            self._warn_of_probabilities()
            if one_unit:
                return functools.partial(reading.two_log_probabilities, shift)
            return reading.log
        return functools.partial(reading.two_classes, to_logits, shift) if one_unit else to_logits

    def _traced(self, run: Any) -> tf.Tensor:
        try:
            return run.get_concrete_function().outputs[0]
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            if self.precision == "float32":
                raise
            raise ValueError(
                "The classifier mixes its precision with float32 in a layer of its own, and so "
                f'runs in float32 alone: take `precision="float32"`. Received: {self.precision!r} '
                f"for {describe(self.model)}"
            ) from error

    def _require_continuous(self) -> None:
        graph = self._run.get_concrete_function()
        if reading.feeds_lookup(graph.inputs[0]) and not self._has_gradient():
            raise ValueError(_no_continuous_values(self.model))

    def _has_gradient(self) -> bool:
        found = []

        def trace(x: tf.Tensor) -> tf.Tensor:
            outputs = self._outputs(x)
            found.append(tf.gradients(outputs, x)[0] is not None)
            return outputs

        self._compile(trace).get_concrete_function()
        return found[-1]

    def _require_exclusive(self, outputs: tf.Tensor) -> None:
        op = reading.activation_op(outputs)
        sigmoid = op is not None and op.type == "Sigmoid"
        if sigmoid and outputs.shape[-1] > 1 and self.from_logits is None:
            raise ValueError(_labels_of_their_own(outputs, self.model))

    def _gives_probabilities(self) -> bool:
        outputs = self._run(self.random_inputs(_PROBE_INPUTS))
        probabilities = reading.are_probabilities(outputs)
        if not probabilities and reading.are_labels(outputs):
            raise ValueError(_labels_of_their_own(outputs, self.model))
        return probabilities

    def _warn_of_probabilities(self) -> None:
        warnings.warn(
            "The softmax of this classifier is out of sight, so its log-probabilities are "
            "attacked: where it is so sure that they underflow, an adversarial input looks robust "
            f"and is missed; give its logits instead. Received: {describe(self.model)}",
            stacklevel=5,
        )

    def _warn_of_coarse_logits(self) -> None:
        warnings.warn(
            "The layer that gives the logits is not the last that this classifier lists, so they "
            f"are computed in {self.precision}, and costs are coarse. Received: "
            f"{describe(self.model)}",
            stacklevel=4,
        )


class _UnitClassifier(Classifier):
    """A classifier with a range per feature, seen from the unit cube.

    Args:
        whole: The `Classifier` with bounds per feature.
    """

    def __init__(self, whole: Classifier) -> None:
        self._whole = whole
        self.model, self.from_logits = whole.model, whole.from_logits
        self.threshold, self.precision = whole.threshold, whole.precision
        self.input_shape, self.data_format = whole.input_shape, whole.data_format
        self.classes, self.version = whole.classes, whole.version
        self._predict, self._given = whole._predict, {"data_format": whole._given["data_format"]}
        self.bounds = (0.0, 1.0)
        self._unit = self
        self._function = self._compile(self._logits)

    @property
    def dtype(self) -> tf.DType:
        """The dtype of inputs on the unit cube, whatever the model declares."""
        return tf.float32

    def predictions(self, x: tf.Tensor) -> Any:
        """Compute what `model.predict` returns for these inputs in the model's own ranges."""
        return self._whole.predictions(self._own_ranges(x))

    def structure_changed(self) -> bool:
        """Tell whether the model has changed; see `Classifier.structure_changed`."""
        return self._whole.structure_changed()

    def refresh(self) -> None:
        """Refuse: this one belongs to its `Classifier`, which makes another."""
        raise TypeError("Refresh the classifier itself, and take its `unit` again.")

    def _outputs(self, x: tf.Tensor) -> tf.Tensor:
        return self._whole._outputs(self._own_ranges(x))

    def _logits(self, x: tf.Tensor) -> tf.Tensor:
        return self._whole._logits(self._own_ranges(x))

    def _own_ranges(self, x: tf.Tensor) -> tf.Tensor:
        low, _ = self._whole.bounds
        return low + x * self._whole.range


def _are_scalars(bounds: Any) -> bool:
    return isinstance(bounds[0], float)


def _finite(gradient: tf.Tensor) -> tf.Tensor:
    """Mend what is not finite, and leave every finite number as it is."""
    # One sum tells, and takes less time than to mend; one that overflows does no harm.
    whole = tf.math.is_finite(tf.reduce_sum(gradient))
    return tf.cond(whole, lambda: gradient, lambda: _mended(gradient))


def _mended(gradient: tf.Tensor) -> tf.Tensor:
    finite = tf.math.is_finite(gradient)
    axes = list(range(1, gradient.shape.rank))
    sizes = tf.where(finite, tf.abs(gradient), 0.0)
    largest = tf.reduce_max(sizes, axis=axes, keepdims=True)
    largest = tf.where(largest > 0, largest, 1.0)
    signs = tf.where(tf.math.is_nan(gradient), 0.0, tf.sign(gradient))
    return tf.where(finite, gradient, signs * largest)


def _require_threshold(threshold: Any) -> None:
    if not isinstance(threshold, numbers.Real) or not 0 < float(threshold) < 1:
        raise ValueError(f"`threshold` must lie between 0 and 1. Received: {threshold}")


def _no_continuous_values(model: keras.Model) -> str:
    return (
        "The classifier looks its inputs up in a table, as tokens in an embedding, and attacks "
        "change continuous values: guard the part of the model behind the embedding, and give it "
        f"embedded inputs. Received: {describe(model)}"
    )


def _labels_of_their_own(outputs: tf.Tensor, model: keras.Model) -> str:
    return (
        "The outputs of this classifier do not sum to one, as several sigmoid units' do, so each "
        "is a label of its own: guard one label, with a model of that one unit; or, if they are "
        "exclusive classes, say with `from_logits` what they are. "
        f"Received: {outputs.shape[-1]} units of {describe(model)}"
    )
