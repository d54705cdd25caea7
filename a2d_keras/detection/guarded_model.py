"""`guard`, and the `GuardedModel` that it returns."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.attacks.base import StepAttack
from a2d_keras.classifier import Classifier
from a2d_keras.detection.layer import DetectorLayer
from a2d_keras.detection.rules import Rule
from a2d_keras.files import replace_atomically
from a2d_keras.statistics.attack_cost import AttackCost
from a2d_keras.statistics.base import Statistic
from a2d_keras.validation import require_whole


@keras.saving.register_keras_serializable(package="a2d_keras")
class GuardedModel(keras.Model):
    """A classifier whose every prediction comes with a verdict: is the input adversarial?

    `guard` makes it. It predicts and can be saved, loaded and exported like any Keras model, and
    the detector travels with it. It cannot be trained: train the classifier, then adapt.

    Args:
        detector: The `DetectorLayer`, which holds the classifier.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> GuardedModel(DetectorLayer(model)).detector.rule.name
        'fisher'
    """

    def __init__(self, detector: DetectorLayer, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.detector = detector
        self._compile()
        self(keras.KerasTensor((None, *detector.classifier.input_shape), "float32"))

    @property
    def max_queries_per_input(self) -> int:
        """The largest number of queries that any input can take; see `DetectorLayer`."""
        return self.detector.max_queries_per_input

    def summary(
        self,
        line_length: int | None = None,
        positions: list[float] | None = None,
        print_fn: Callable[[str], None] | None = None,
        **kwargs: Any,
    ) -> None:
        """Print the summary of the model, and the maximum number of queries per input.

        Args:
            line_length: As in `keras.Model.summary`.
            positions: As in `keras.Model.summary`.
            print_fn: As in `keras.Model.summary`. Defaults to `print`.
            **kwargs: As in `keras.Model.summary`.
        """
        super().summary(line_length, positions, print_fn, **kwargs)
        (print_fn or print)(f" Maximum queries per input: {self.max_queries_per_input:,}")

    def adapt(self, benign: Any, adversarial: Any = None, verbose: int = 1) -> None:
        """Learn from benign inputs; see `DetectorLayer.adapt`."""
        self.detector.adapt(benign, adversarial, verbose)

    def call(self, x: Any) -> dict[str, Any]:
        """Predict, and judge; see `DetectorLayer`."""
        outputs: dict[str, Any] = self.detector(x)
        return outputs

    def compute_output_spec(self, x: Any) -> dict[str, Any]:
        """Describe the outputs without computing them."""
        return self.detector.compute_output_spec(x)

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: Any = "auto", **kwargs: Any
    ) -> dict[str, np.ndarray]:
        """Predict, and judge every input.

        Args:
            x: Inputs, (n, *input_shape), or anything else that `keras.Model.predict` takes.
            batch_size: Inputs in a batch. Defaults to the detector's `batch_size`, for arrays.
            verbose: As in `keras.Model.predict`, whose bar counts batches: smaller ones, such as
                of 128 where attacks judge up to 1,024 together, show more of it, and take longer.
            **kwargs: As in `keras.Model.predict`.

        Returns:
            The outputs of `DetectorLayer`, as NumPy arrays.

        Raises:
            ValueError: If the classifier does not take the array, `batch_size` is less than 1,
                `adapt` was not called, or the classifier's weights have changed since; see
                `DetectorLayer.check_weights`.
            tf.errors.InvalidArgumentError: For the same reasons, if `x` is a dataset.
        """
        self._require_current()
        if inputs.is_dataset(x):
            inputs.require_dataset(x, self.detector.classifier)
            if x.cardinality() == 0:
                return self._predict_nothing()
        elif x is None or isinstance(x, (list, tuple, dict)) or hasattr(x, "__array__"):
            checked = self.detector.check(x)
            if len(checked.x) == 0:
                return self._predict_nothing()
            if batch_size is None:
                batch_size = self.detector.batch_size
            require_whole("batch_size", batch_size)
            x, batch_size = inputs.to_dataset(checked, batch_size), None
        outputs: dict[str, np.ndarray] = super().predict(x, batch_size, verbose, **kwargs)
        return outputs

    def predict_on_batch(self, x: Any) -> dict[str, np.ndarray]:
        """Predict, and judge one batch.

        Args:
            x: Inputs, (n, *input_shape).

        Returns:
            The outputs of `DetectorLayer`, as NumPy arrays.

        Raises:
            ValueError: As for `predict`.
        """
        self._require_current()
        checked = self.detector.check(x)
        return {name: np.asarray(rows) for name, rows in self._judge(*checked).items()}

    def predict_step(self, data: Any) -> dict[str, Any]:
        """Predict a batch through one graph for any batch size. Keras would trace each size."""
        if isinstance(data, inputs.Checked):
            outputs: dict[str, Any] = self._judge(*data)
            return outputs
        if tf.executing_eagerly():
            self._require_current()
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        outputs = self._check_and_judge(x)
        return outputs

    def _require_current(self) -> None:
        """Refuse a classifier that has changed, and drop its old graphs."""
        self.detector.check_weights()
        if self._seen_version != self.detector.classifier.version:
            self._compile()

    def _compile(self) -> None:
        self._seen_version = self.detector.classifier.version
        self.predict_function = None
        self._judge = _for_any_size(self.detector.judge)
        self._check_and_judge = _for_any_size(self.call)

    def _predict_nothing(self) -> dict[str, np.ndarray]:
        """Return empty outputs: Keras does not predict for no inputs, and convolutions may fail."""
        classifier = self.detector.classifier
        outputs = self(tf.cast(classifier.random_inputs(1), classifier.dtype))
        return {name: np.asarray(values)[:0] for name, values in outputs.items()}

    def save(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Save like any Keras model. A `.keras` file replaces an old one once it is complete.

        Args:
            filepath: A path that ends in `.keras`, or anything else that `keras.Model.save` takes.
            overwrite: Whether to replace an older file without asking. Defaults to True.
            **kwargs: As in `keras.Model.save`.

        Raises:
            ValueError: If the folder is missing or cannot be written to.
            OSError: If the file cannot be written, such as to a full disk. An older file stays.
        """
        path = str(filepath)
        if not overwrite or "://" in path or not path.endswith(".keras"):
            super().save(filepath, overwrite, **kwargs)
            return
        with replace_atomically(path) as temporary:
            super().save(temporary, **kwargs)

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Export like any Keras model; see `keras.Model.export`.

        Raises:
            ValueError: If the classifier has changed since `adapt`.
        """
        self._require_current()
        super().export(filepath, *args, **kwargs)

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: a guarded model is not trained."""
        raise TypeError(_untrained("fit", self))

    def train_on_batch(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: a guarded model is not trained."""
        raise TypeError(_untrained("train_on_batch", self))

    def evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: a guarded model has no loss."""
        raise TypeError(_untrained("evaluate", self))

    def test_on_batch(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: a guarded model has no loss."""
        raise TypeError(_untrained("test_on_batch", self))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, for Keras's serialization."""
        return {
            "name": self.name,
            "detector": keras.saving.serialize_keras_object(self.detector),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "GuardedModel":
        """Make a model from what `get_config` returned."""
        detector = keras.saving.deserialize_keras_object(config["detector"], custom_objects)
        return cls(detector, name=config["name"])


def guard(
    model: keras.Model | Classifier,
    *,
    bounds: Any = None,
    attacks: Sequence[StepAttack] | None = None,
    statistics: Sequence[Statistic] | None = None,
    rule: str | Rule | None = None,
    false_positive_rate: float = 0.05,
    **options: Any,
) -> GuardedModel:
    """Guard a trained classifier: every prediction then comes with a verdict.

    Args:
        model: The trained classifier, a built `keras.Model` or a `Classifier`. It is not changed.
        bounds: The smallest and the largest value of an input; see `Classifier`. Only for a
            `keras.Model`. Defaults to (0.0, 1.0).
        attacks: Attacks whose costs are the statistics: short for
            `statistics=[AttackCost(attack) for attack in attacks]`.
        statistics: See `DetectorLayer`, also for the default.
        rule: See `DetectorLayer`, also for the default.
        false_positive_rate: The rate of benign inputs that may be flagged. Defaults to 0.05.
        **options: The fields of `GuardOptions`, such as `on_invalid="flag"`.

    Returns:
        A `GuardedModel`. Call its `adapt` next.

    Raises:
        ValueError: If `DetectorLayer` does not take the model or an argument.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> guarded = guard(model)
        >>> guarded.adapt(np.random.default_rng(0).uniform(size=(100, 4)), verbose=0)
        >>> guarded.predict(np.full((2, 4), 0.5), verbose=0)["is_adversarial"].shape
        (2,)
    """
    if bounds is not None and isinstance(model, Classifier):
        raise ValueError(
            f"A Classifier has its own bounds; leave `bounds` out. Received: bounds={bounds}"
        )
    if attacks is not None:
        statistics = _costs(attacks, statistics)
    layer = DetectorLayer(
        model
        if isinstance(model, Classifier)
        else Classifier(model, bounds=(0.0, 1.0) if bounds is None else bounds),
        statistics=statistics,
        rule=rule,
        false_positive_rate=false_positive_rate,
        **options,
    )
    return GuardedModel(layer)


def _costs(attacks: Any, statistics: Any) -> list[AttackCost]:
    if statistics is not None:
        raise ValueError(
            "`attacks` is short for `statistics`: give only one of them. "
            f"Received: {attacks} and {statistics}"
        )
    chosen = list(attacks) if isinstance(attacks, Iterable) else []
    if not chosen or None in chosen:
        raise ValueError(
            f"`attacks` must hold one attack or more; None chooses one. Received: {attacks}"
        )
    return [AttackCost(attack) for attack in chosen]


def _for_any_size(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that takes batches, once for all batch sizes."""
    compiled = tf.function(function, autograph=False)

    def call(*batches: Any) -> Any:
        batches = keras.tree.map_structure(tf.convert_to_tensor, batches)
        specs = keras.tree.map_structure(
            lambda rows: tf.TensorSpec([None, *rows.shape[1:]], rows.dtype), batches
        )
        return compiled.get_concrete_function(*specs)(*batches)

    return call


def _untrained(method: str, model: keras.Model) -> str:
    return (
        f"A guarded model cannot `{method}`: use the classifier, `guarded.detector.model`, then "
        f"`adapt`. Received: {model.name!r}"
    )
