"""`Classifier`: the logits of any trained Keras classifier, with its input bounds."""

import functools
import math
import numbers
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.classifier import bounds as ranges
from a2d_keras.classifier import geometry, peers
from a2d_keras.classifier import logits as reading
from a2d_keras.classifier.layerwise import describe
from a2d_keras.classifier.predict import PredictFunction, single_output
from a2d_keras.classifier.structure import Structure, hash_weights
from a2d_keras.precision import AUTO, lowered, require_precision

_PROBE_INPUTS = 8
_PROBE_SIZE = 32  # of image sides that the model leaves open
_NEARLY = 1e-4  # largest relative difference that rounding may make between equal logits


class Pass(NamedTuple):
    """What one pass of a classifier over n inputs gives.

    Attributes:
        predictions: What `model.predict` returns.
        logits: The logits, float32, (n, classes).
        pullback: Maps a direction at the logits to the inputs; see `Classifier.vjp`.
    """

    predictions: Any
    logits: tf.Tensor
    pullback: Callable[[tf.Tensor], tf.Tensor]


class Classifier:
    """A trained Keras classifier as a function from inputs to float32 logits.

    Attacks must see the true logits. A softmax saturates at exactly 1.0, its gradient vanishes,
    and the input looks infinitely robust. So if the model ends in a softmax or a sigmoid, the
    values that go into it are read from the model's own graph. Nothing is copied, the weights are
    shared, and any layers may come before it. The model always runs in inference mode.

    The function is the one that `model.predict` computes. It includes the model's own
    `predict_step` and KerasHub's preprocessing, if the model has them.

    Args:
        model: A built `keras.Model` with one input, which takes continuous values in batches of
            any size, and one output of shape (batch, classes), or (batch, 1) for a two-class
            problem.
        bounds: The smallest and the largest value of an input: two numbers, or two arrays that
            broadcast to the shape of an input, one range per feature. Defaults to (0.0, 1.0).
        from_logits: Whether the model's outputs are logits (True) or probabilities (False).
            By default the model's graph shows it. If the softmax is hidden, the model is run on
            8 seeded random inputs: rows of non-negative numbers that sum to one are
            probabilities, and their logarithms are used, with a warning.
        threshold: The probability above which a single unit means class 1. Defaults to 0.5.
        data_format: `"channels_last"` or `"channels_first"`, for attacks that work on pixels. By
            default it follows from the shape of an image, which has 1, 3 or 4 channels at one
            end, or else from the first layer that has a `data_format`.
        precision: The precision of the model under attack: `"float32"`; `"bfloat16"`, if the
            processor supports it or there is a GPU; `"float16"`, on a GPU; or `"auto"`: float32
            until the first `adapt` of a guard has measured whether bfloat16 is faster, and then
            the faster for good, also when it is saved and loaded. Below float32 the first and the
            last layer with weights, and so the logits, stay float32. Costs hold for one precision
            only. Defaults to `"float32"`.

    Attributes:
        model: The model, unchanged.
        bounds: The bounds, as floats, or as two float32 arrays of the shape of one input.
        input_shape: Shape of one input, without the batch.
        classes: The number of classes.
        data_format: `"channels_last"` or `"channels_first"`.
        precision: The precision in use: `"float32"` while `undecided`.
        undecided: Whether `precision="auto"` was given, and no `adapt` has decided yet.
        is_coarse: Whether the logits are computed below float32.
        version: How many times `refresh` has read the model again.

    Raises:
        ValueError: If the model is not a built `keras.Model` with one input and one output of
            shape (batch, classes); if it is stateful, takes tokens, has a fixed batch size, or
            gives several labels per input; if no graph computes what `model.predict` does; if an
            argument is out of range; or if the machine or the model does not support the
            `precision`.

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
                f"The classifier must be a `keras.Model` of Keras 3. Received: {type(model)}"
            )
        require_precision(precision)
        _require_threshold(threshold)
        self.model = model
        self.from_logits = from_logits
        self.threshold = float(threshold)
        self.undecided = precision == AUTO
        self.precision = "float32" if self.undecided else precision
        self.version = 0
        self._given = {"bounds": bounds, "data_format": data_format}
        self._unit: Classifier = self
        self._trace()

    @property
    def range(self) -> Any:
        """Width of the bounds: a float, or an array of one width per feature."""
        return self.bounds[1] - self.bounds[0]

    @property
    def takes_images(self) -> bool:
        """Whether an input has rows, columns and channels."""
        return len(self.input_shape) == 3

    @property
    def channels(self) -> int | None:
        """The number of channels of an image; None if it is open."""
        return self.input_shape[-1 if self.data_format == "channels_last" else 0]

    @property
    def dtype(self) -> tf.DType:
        """The dtype that the model declares for its inputs."""
        return self._predict.dtype

    @property
    def input_names(self) -> set[str]:
        """The keys under which a dict may hold the inputs."""
        return self._predict.names

    @property
    def unit(self) -> "Classifier":
        """The same classifier with two numbers as bounds: this one, or one on the unit cube.

        Attacks run on it, so a step is a fraction of each feature's own range. `to_unit` and
        `from_unit` convert inputs.
        """
        return self._unit

    def to_unit(self, x: Any) -> Any:
        """Convert inputs within the bounds to inputs of `unit`. Graph code.

        Args:
            x: Inputs, float32, (batch, *input_shape).

        Returns:
            Inputs of `unit`. They equal `x` if the bounds are two numbers.
        """
        if self._unit is self:
            return x
        return tf.clip_by_value((x - self.bounds[0]) / self.range, 0.0, 1.0)

    def from_unit(self, u: Any) -> Any:
        """Convert inputs of `unit` back to inputs within the bounds. Graph code.

        Args:
            u: Inputs of `unit`, float32, (batch, *input_shape).

        Returns:
            Inputs. They equal `u` if the bounds are two numbers.
        """
        if self._unit is self:
            return u
        return tf.clip_by_value(self.bounds[0] + u * self.range, *self.bounds)

    def predictions(self, x: tf.Tensor) -> Any:
        """Compute what `model.predict` returns. Graph code.

        Args:
            x: Inputs of the user's dtype, (batch, *input_shape).

        Returns:
            The model's own outputs.
        """
        return self._predict(x)

    def predictions_spec(self, x: keras.KerasTensor) -> Any:
        """Describe what `predictions` returns, without computing it.

        Args:
            x: A symbolic batch of inputs.

        Returns:
            `KerasTensor`s in the structure of the model's outputs.
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

    def shared_logits(self, x: tf.Tensor) -> tf.Tensor:
        """Compute the logits by a graph that was traced once. Graph code.

        A graph with several passes is traced faster so, and runs the same. But it shows the pass
        as one operation, in which no layer can be found.

        Args:
            x: Inputs, float32, (batch, *input_shape).

        Returns:
            Logits, float32, (batch, classes).
        """
        logits: tf.Tensor = self._function(x)
        return logits

    def vjp(self, x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        """Compute the logits, and a function that maps a direction at the logits to the inputs.

        Args:
            x: Inputs, float32, (batch, *input_shape).

        Returns:
            The logits, float32, (batch, classes), and a function. It takes a direction of the
            same shape and dtype, and returns the vector-Jacobian product, a tensor like `x`. The
            product is finite: NaN becomes 0, and an infinity becomes the largest finite value of
            its input.
        """
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(x)
            logits = self.logits(x)
        return logits, functools.partial(self._pull_back, tape, logits, x)

    def one_pass(self, x: tf.Tensor) -> "Pass | None":
        """Compute the predictions, the logits and their `vjp` in one pass. Graph code.

        Args:
            x: Inputs of the user's dtype, (batch, *input_shape).

        Returns:
            The `Pass`; or None if predictions and logits come from two computations, as below
            float32, with ranges per feature, or if the model preprocesses whole numbers.
        """
        plain = self._predict.is_plain and self._predict.dtype == tf.float32
        if not plain or self.precision != "float32" or self._unit is not self:
            return None
        images = tf.cast(x, tf.float32)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(images)
            predictions = self._predict(images)
            logits = self._to_logits(single_output(predictions, self.model))
        return Pass(predictions, logits, functools.partial(self._pull_back, tape, logits, images))

    def trusted(self, outputs: tf.Tensor) -> tf.Tensor:
        """Find the predictions that can be used. Graph code.

        Args:
            outputs: Logits or the model's own outputs, float, (batch, classes).

        Returns:
            Whether each row has no NaN and a finite maximum, bool, (batch,). A masked class may
            have a logit of -inf.
        """
        clear = ~tf.reduce_any(tf.math.is_nan(outputs), axis=-1)
        return clear & tf.math.is_finite(tf.reduce_max(outputs, axis=-1))

    def random_inputs(self, count: int) -> tf.Tensor:
        """Make inputs of uniform noise, the same at every call. Open sides get 32 pixels.

        Args:
            count: The number of inputs.

        Returns:
            Inputs within the bounds, float32, (count, *input_shape).
        """
        shape = [count, *(size or _PROBE_SIZE for size in self.input_shape)]
        if _are_scalars(self.bounds):
            return tf.random.stateless_uniform(shape, (0, 0), *self.bounds)
        return self.bounds[0] + self.range * tf.random.stateless_uniform(shape, (0, 0))

    def as_foolbox(self) -> Any:
        """Hand the classifier to Foolbox, whose attacks then see the true logits.

        Returns:
            A `foolbox.TensorFlowModel` with the classifier's bounds. It returns the logits of
            the classes, two for a single unit.

        Raises:
            ImportError: If Foolbox is not installed.
            ValueError: If the bounds differ by feature.

        Examples:
            >>> import foolbox  # doctest: +SKIP
            >>> attack = foolbox.attacks.LinfPGD()  # doctest: +SKIP
            >>> attack(Classifier(model).as_foolbox(), x, labels, epsilons=0.1)  # doctest: +SKIP
        """
        return peers.foolbox_model(self)

    def as_art(self) -> Any:
        """Hand the classifier to the Adversarial Robustness Toolbox, ART.

        Returns:
            An `art.estimators.classification.TensorFlowV2Classifier` with the classifier's
            bounds. Its `predict` returns the logits of the classes, two for a single unit.

        Raises:
            ImportError: If ART is not installed.

        Examples:
            >>> from art.attacks.evasion import ProjectedGradientDescent  # doctest: +SKIP
            >>> attack = ProjectedGradientDescent(Classifier(model).as_art())  # doctest: +SKIP
            >>> adversarial = attack.generate(x)  # doctest: +SKIP
        """
        return peers.art_classifier(self)

    def weights_hash(self) -> int:
        """Hash the bits of the model's weights, and a precision below float32, on the host.

        The hash covers the weights that the model would save, so LoRA's weights are merged into
        the kernels.

        Returns:
            The first 64 bits of their SHA-256, as a signed integer. Equal weights and precision
            have the same hash on every machine, also after the model was saved and loaded.
        """
        return hash_weights(self.model, "" if self.precision == "float32" else self.precision)

    def structure_changed(self) -> bool:
        """Return whether the model has changed since it was read. Values of weights do not count.

        Returns:
            Whether a layer, a variable, a setting or a constant differs.
        """
        return self._structure != Structure(self.model)

    def refresh(self) -> None:
        """Read the model again if it no longer is the function that was traced.

        This is so if a layer, variable or setting differs (LoRA enabled, quantized, another
        activation), or if the logits differ on 8 seeded inputs. Training alone changes only the
        values of variables, which graphs share.

        Raises:
            ValueError: If the class does not take the model any more.
        """
        if not self.structure_changed() and not self._answers_otherwise():
            return
        self._trace()
        self.version += 1

    def decide(self, precision: str) -> None:
        """Set the precision that `precision="auto"` stands for, for good.

        Args:
            precision: `"float32"` or `"bfloat16"`.
        """
        self.undecided = False
        if precision != self.precision:
            self.precision = precision
            self._trace()
            self.version += 1

    def in_precision(self, precision: str) -> "Classifier":
        """Return another classifier of the same model, in a precision.

        Args:
            precision: As for the class.

        Returns:
            The other `Classifier`.

        Raises:
            ValueError: If the machine or the model does not support it.
        """
        return Classifier(self.model, **{**self.get_config(), "precision": precision})

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, except the model, as plain values.

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
            "precision": AUTO if self.undecided else self.precision,
        }

    def _pull_back(
        self, tape: tf.GradientTape, logits: tf.Tensor, x: tf.Tensor, direction: tf.Tensor
    ) -> tf.Tensor:
        gradient = tape.gradient(logits, x, output_gradients=direction)
        if gradient is None:
            raise ValueError(
                "A gradient attack needs a classifier that is differentiable in its input; "
                "use DBA, which needs labels only, or LSA, which needs probabilities. "
                f"Received: {describe(self.model)}"
            )
        return _finite(gradient)

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
        self.is_coarse = reading.source(logits).dtype != tf.float32
        if self.precision != "float32" and self.is_coarse:
            self._warn_of_coarse_logits()
        self._structure = Structure(model)
        if not _are_scalars(self.bounds):
            self._unit = _UnitClassifier(self)

    def _answers_otherwise(self) -> bool:
        x = self.random_inputs(_PROBE_INPUTS)
        before, now = self._run(x), self._outputs(x)
        if before.shape != now.shape:
            return True
        if bool(tf.reduce_all((now >= 0) & (now <= 1))):  # a saturated softmax hides differences
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
                "A `threshold` is for a classifier of one unit; a larger classifier decides by its "
                f"largest output. Received: {self.threshold} for {outputs.shape} from "
                f"{describe(self.model)}"
            )
        shift = math.log(self.threshold / (1 - self.threshold))
        if self.from_logits is not True and reading.activation_op(outputs) is not None:
            self._require_exclusive(outputs)
            to_logits = reading.before_activation
        elif one_unit and self.from_logits is None:
            raise ValueError(
                "The classifier must have two classes or more, or one unit with a sigmoid; for "
                "any other single unit, set `from_logits`. "
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
                "The classifier has a layer of its own that mixes precisions, so it runs in "
                f'float32 only: use `precision="float32"`. Received: {self.precision!r} '
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
            "attacked. They underflow where the classifier is very sure, and an adversarial input "
            f"there is missed. Return logits instead. Received: {describe(self.model)}",
            stacklevel=5,
        )

    def _warn_of_coarse_logits(self) -> None:
        warnings.warn(
            "The layer that computes the logits is not the last layer of this classifier, so they "
            f"are computed in {self.precision}, and costs are coarse. Received: "
            f"{describe(self.model)}",
            stacklevel=4,
        )


class _UnitClassifier(Classifier):
    """A classifier with a range per feature, as a function on the unit cube.

    Args:
        original: The `Classifier` with bounds per feature.
    """

    def __init__(self, original: Classifier) -> None:
        self._original = original
        self.model, self.from_logits = original.model, original.from_logits
        self.threshold, self.precision = original.threshold, original.precision
        self.undecided, self.is_coarse = original.undecided, original.is_coarse
        self.input_shape, self.data_format = original.input_shape, original.data_format
        self.classes, self.version = original.classes, original.version
        self._predict = original._predict
        self._given = {"data_format": original._given["data_format"]}
        self.bounds = (0.0, 1.0)
        self._unit = self
        self._function = self._compile(self._logits)

    @property
    def takes_images(self) -> bool:
        """Whether an input has rows, columns and channels."""
        return len(self.input_shape) == 3

    @property
    def channels(self) -> int | None:
        """The number of channels of an image; None if it is open."""
        return self.input_shape[-1 if self.data_format == "channels_last" else 0]

    @property
    def dtype(self) -> tf.DType:
        """The dtype of inputs on the unit cube, independent of what the model declares."""
        return tf.float32

    def predictions(self, x: tf.Tensor) -> Any:
        """Scale inputs to the model's own ranges, and compute what `model.predict` returns."""
        return self._original.predictions(self._own_ranges(x))

    def structure_changed(self) -> bool:
        """Return whether the model has changed; see `Classifier.structure_changed`."""
        return self._original.structure_changed()

    def refresh(self) -> None:
        """Refuse, since only the `Classifier` itself can be refreshed."""
        raise TypeError("Refresh the classifier itself, and take its `unit` again.")

    def _outputs(self, x: tf.Tensor) -> tf.Tensor:
        return self._original._outputs(self._own_ranges(x))

    def _logits(self, x: tf.Tensor) -> tf.Tensor:
        return self._original._logits(self._own_ranges(x))

    def _own_ranges(self, x: tf.Tensor) -> tf.Tensor:
        low, _ = self._original.bounds
        return low + x * self._original.range


def _are_scalars(bounds: Any) -> bool:
    return isinstance(bounds[0], float)


def _finite(gradient: tf.Tensor) -> tf.Tensor:
    """Replace values that are not finite, and keep the others."""
    # The sum shows whether all are finite, in less time than replacing takes. If it overflows,
    # the values are replaced without need, which changes none of them.
    all_finite = tf.math.is_finite(tf.reduce_sum(gradient))
    return tf.cond(all_finite, lambda: gradient, lambda: _replaced(gradient))


def _replaced(gradient: tf.Tensor) -> tf.Tensor:
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
        "The classifier looks its inputs up in a table, like tokens in an embedding, and attacks "
        "change continuous values: guard the part of the model that follows the embedding, on "
        f"embedded inputs. Received: {describe(model)}"
    )


def _labels_of_their_own(outputs: tf.Tensor, model: keras.Model) -> str:
    return (
        "The outputs of this classifier do not sum to one, like those of several sigmoid units, "
        "so each is a label of its own: guard one label, with a model of that one unit; or, if "
        "they are exclusive classes, set `from_logits`. "
        f"Received: {outputs.shape[-1]} units of {describe(model)}"
    )
