"""`DetectorLayer`: verdicts on inputs, inside any Keras model."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.attacks.base import StepAttack
from a2d_keras.classifier import Classifier
from a2d_keras.detection import legacy, report, rules
from a2d_keras.detection.cascade import Cascade
from a2d_keras.detection.drift import Snapshot, TracedVersion, complain
from a2d_keras.detection.rules import Rule
from a2d_keras.detection.state import LearnedCost, all_or_nothing, values
from a2d_keras.options import GuardOptions, RunOptions
from a2d_keras.statistics.attack_cost import AttackCost, Measured, measure
from a2d_keras.validation import require

_OPTIONS = {field.name for field in dataclasses.fields(GuardOptions)}


@keras.saving.register_keras_serializable(package="a2d_keras")
class DetectorLayer(keras.layers.Layer):
    """Detect adversarial inputs inside any Keras model.

    The layer runs the classifier, attacks each input, and judges by the number of steps.
    Call `adapt` with benign inputs first. A verdict takes only the steps that settle it.

    Args:
        model: The trained classifier: a built `keras.Model` whose inputs lie between 0 and 1, or
            a `Classifier`. It is not changed.
        statistics: The measurements on an input: one `AttackCost` or more. Defaults to
            `[AttackCost()]`.
        rule: How the measurements become a verdict: `"zscore"`, which learns from benign inputs
            only; `"knn"`, the vote of the nearest benign and adversarial inputs; or a `Rule`.
            Defaults to `"zscore"`.
        false_positive_rate: The rate of benign inputs that may be flagged. `"knn"` uses it only
            to choose the step. Defaults to 0.05.
        **options: The fields of `GuardOptions`, and the arguments of any Keras layer.

    Call arguments:
        x: Inputs, (n, *input_shape).

    Returns:
        A dict: `predictions`, the model's own; `is_adversarial`, bool, (n,); `score`, float32,
        (n,), higher is more adversarial; `cost`, int64, (n, attacks), 0 for an attack that was
        not needed; `exact`, bool, (n,), whether all attacks ran to the end. If not, score and
        cost are bounds.

    Raises:
        ValueError: If an argument is out of range, the classifier does not take an input, the
            classifier has changed since `adapt`, or `adapt` was not called. In a graph,
            `tf.errors.InvalidArgumentError`.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> layer = DetectorLayer(model)
        >>> layer.adapt(np.random.default_rng(0).uniform(size=(100, 4)), verbose=0)
        >>> sorted(layer(np.full((2, 4), 0.5)))
        ['cost', 'exact', 'is_adversarial', 'predictions', 'score']
    """

    def __init__(
        self,
        model: keras.Model | Classifier,
        *,
        statistics: Sequence[AttackCost] | None = None,
        rule: str | Rule = "zscore",
        false_positive_rate: float = 0.05,
        **options: Any,
    ) -> None:
        own = {name: options.pop(name) for name in _OPTIONS & options.keys()}
        super().__init__(**{**options, "dtype": "float32", "autocast": False})
        self.supports_jit = False  # XLA, which Keras would use, cannot compile dynamic shapes
        self.options = GuardOptions(**own)
        self.classifier = model if isinstance(model, Classifier) else Classifier(model)
        self.model = self.classifier.model
        self.false_positive_rate = false_positive_rate
        self.statistics = _usable(statistics, self.classifier)
        self.rule = rules.get(rule)
        self.rule.prepare([s.max_iterations for s in self.statistics], false_positive_rate)
        self._adapted = self._state("adapted", np.zeros((), "bool"))
        self._weights_hash = self._state("weights_hash", np.zeros((), "int64"))
        self._costs = [LearnedCost(s, self._room_for(i, s)) for i, s in enumerate(self.statistics)]
        self._adapted_version = self.classifier.version
        self._traced = TracedVersion(self.classifier.version)
        self._cascade = self._make_cascade()
        self.built = True

    @property
    def attacks(self) -> tuple[StepAttack, ...]:
        """The attacks, with the parameters that `adapt` has learned."""
        return tuple(cost.attack for cost in self._costs)

    @property
    def slot_counts(self) -> tuple[int, ...]:
        """How many inputs each attack has under attack at once. `"auto"` is calibrated now."""
        return self._cascade.slot_counts()

    @property
    def thresholds(self) -> np.ndarray:
        """The number of steps that settles each attack's vote; int64, (attacks,).

        With the rule `"zscore"`, it is the smallest cost that counts as benign.
        """
        return values(self.rule.budgets)

    @property
    def benign_costs(self) -> np.ndarray:
        """How many benign inputs of `adapt` had each cost, from 0 up; int64, (attacks, costs)."""
        return values(self.rule.benign_costs)

    @property
    def is_adapted(self) -> bool:
        """Whether `adapt` was called."""
        return bool(values(self._adapted))

    @property
    def up_to_date(self) -> bool:
        """Whether the layer is adapted, and to the classifier as it is now."""
        adapted_to = Snapshot(int(values(self._weights_hash)), self._adapted_version)
        return self.is_adapted and adapted_to.matches(self.classifier)

    @property
    def max_queries_per_input(self) -> int:
        """The largest number of queries that any input can take: an int.

        That is its prediction, and every attack until its budget is spent. The budget is the
        number of steps that settles the verdict, or all steps if costs are exact or `adapt` was
        not called.
        """
        return 1 + self._cascade.max_queries(settled=self.is_adapted)

    def adapt(self, benign: Any, adversarial: Any = None, verbose: int = 1) -> None:
        """Learn what attacks cost on benign inputs.

        Args:
            benign: Benign inputs that the classifier was not trained on: an array or tensor
                (n, *input_shape), or a `tf.data.Dataset` of batches of them, alone or as the
                first of a tuple.
            adversarial: Adversarial inputs, like `benign`; for the rule `"knn"` only.
            verbose: 1 shows progress and what was learned, 0 is silent. Defaults to 1.

        Raises:
            ValueError: If the classifier does not take the inputs, if they are too few for the
                false positive rate, or if adversarial ones are missing or unwanted. After any
                error, and after Ctrl-C, the layer is as it was before.
        """
        self.rule.require_kinds(adversarial is not None)
        self.classifier.refresh()
        weights_hash = self.classifier.weights_hash()
        states = [
            statistic.fit(self.classifier, benign, self.false_positive_rate, self.options.slots)
            for statistic in self.statistics
        ]
        attacks = [s.fitted(state) for s, state in zip(self.statistics, states, strict=True)]
        found = self._measure(attacks, benign, verbose)
        others = None if adversarial is None else self._measure(attacks, adversarial, verbose)
        with all_or_nothing(self._learned_weights()):
            passes = found.queries + found.gradient_evaluations
            self.rule.learn(found.costs, None if others is None else others.costs, passes)
            for cost, state in zip(self._costs, states, strict=True):
                cost.learn(state)
            self._weights_hash.assign(weights_hash)
            self._adapted.assign(True)
        self._adapted_version = self.classifier.version
        self._follow_classifier()
        report.tell(self.rule.name, self.attacks, self.thresholds, verbose)
        if found.gradient_evaluations.any():
            report.warn_of_no_gradient(self.classifier, benign)

    def check(self, x: Any) -> inputs.Checked:
        """Refuse inputs that cannot be judged.

        Args:
            x: Inputs, (n, *input_shape).

        Returns:
            The inputs, and which rows are invalid. With `on_invalid="raise"` none are.

        Raises:
            ValueError: If `adapt` was not called, or the classifier does not take the inputs. In
                a graph, `tf.errors.InvalidArgumentError`.
        """
        x = inputs.as_inputs(x, self.classifier)
        self._require_adapted()
        raises = self.options.on_invalid == "raise"
        return inputs.Checked(x, ~inputs.validate(x, self.classifier, refuse=raises))

    def check_weights(self) -> None:
        """Refuse to judge by costs that belong to another classifier. Not graph code.

        `predict` and `predict_on_batch` of a guarded model check, as does a call of the layer
        outside a graph. Inside another model's graph, nothing can check all weights between calls.
        There the layer checks when the graph is traced. A graph refuses to answer if `adapt` has
        found other layers since it was traced. The weights of an exported model are frozen.

        Raises:
            ValueError: If the layer is adapted, and the classifier has changed since. With
                `on_changed_weights="warn"` it warns instead.
        """
        if self.is_adapted and not self.up_to_date:
            complain(self.classifier, self.options.on_changed_weights)
            self.classifier.refresh()  # predict and attack with the current classifier
            self._follow_classifier()

    def call(self, x: Any) -> dict[str, Any]:
        """Predict, and judge; see the class."""
        with tf.init_scope():
            self.check_weights()
        return self.judge(*self.check(x))

    def judge(self, x: Any, invalid: tf.Tensor) -> dict[str, Any]:
        """Predict, and judge inputs that were checked. Graph code.

        Args:
            x: Inputs, (n, *input_shape).
            invalid: Which of them cannot be judged and are flagged, bool, (n,).

        Returns:
            The outputs of the layer; see the class.
        """
        self._traced.require_current(self.name)
        predictions, trusted = self._predict(x, invalid)
        images = tf.cast(x, tf.float32)
        return {"predictions": predictions, **self._cascade(images, invalid | ~trusted)}

    def require_judgeable(self, x: Any) -> None:
        """Refuse inputs as a call would, without an attack.

        Args:
            x: Inputs, (n, *input_shape).

        Raises:
            ValueError: As for `check`; and, unless `on_invalid="flag"`, if the classifier gives no
                finite prediction for an input.
        """
        self._predict(*self.check(x))

    def compute_output_spec(self, x: Any) -> dict[str, Any]:
        """Describe the outputs without running an attack."""
        batch = x.shape[0]
        return {
            "predictions": self.classifier.predictions_spec(x),
            "is_adversarial": keras.KerasTensor((batch,), "bool"),
            "score": keras.KerasTensor((batch,), "float32"),
            "cost": keras.KerasTensor((batch, len(self.statistics)), "int64"),
            "exact": keras.KerasTensor((batch,), "bool"),
        }

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, for Keras's serialization."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "model": serialize(self.model),
            "classifier": self.classifier.get_config(),
            "statistics": [serialize(statistic) for statistic in self.statistics],
            "rule": serialize(self.rule),
            "false_positive_rate": self.false_positive_rate,
            **dataclasses.asdict(self.options),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DetectorLayer":
        """Make a layer from what `get_config` returned, now or in version 0.1."""
        if legacy.is_legacy(config):
            layer = cls.from_config(legacy.converted(config))
            legacy.read_as_before(layer)
            return layer
        made = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("model", "statistics", "rule")
        }
        settings = {name: value for name, value in config.items() if name != "classifier"}
        model = Classifier(made.pop("model"), **config["classifier"])
        return cls(**{**settings, **made, "model": model})

    def load_own_variables(self, store: Any) -> None:
        """Load variables from a file of this version or of 0.1; see `keras.layers.Layer`."""
        saved = legacy.own_variables(store)
        if not saved:
            super().load_own_variables(store)
            return
        self._adapted.assign(saved["adapted"])
        self._weights_hash.assign(saved["weights_hash"])
        for cost in self._costs:
            cost.learn({name: saved[name] for name in cost.weights.keys() & saved.keys()})

    def _predict(self, x: Any, invalid: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """Predict, and tell which predictions are finite; refuse the others by choice."""
        predictions = self.classifier.predictions(x)
        (outputs,) = tf.nest.flatten(predictions)
        trusted = self.classifier.trusted(tf.cast(outputs, tf.float32))
        if self.options.on_invalid == "raise":
            report.require_trusted(trusted | invalid)
        return predictions, trusted

    def _state(self, name: str, value: np.ndarray) -> keras.Variable:
        # The oldest Keras cannot fill a bool weight with a constant.
        initial = keras.initializers.Constant(value) if value.any() else "zeros"
        return self.add_weight(
            name=name, shape=value.shape, dtype=value.dtype, initializer=initial, trainable=False
        )

    def _room_for(self, index: int, statistic: AttackCost) -> dict[str, keras.Variable]:
        initial = statistic.initial_state(self.classifier)
        return {name: self._state(f"{name}_{index}", value) for name, value in initial.items()}

    def _learned_weights(self) -> list[keras.Variable]:
        of_costs = [weight for cost in self._costs for weight in cost.weights.values()]
        return [*self.rule.weights, *of_costs, self._weights_hash, self._adapted]

    def _follow_classifier(self) -> None:
        """Drop the graphs of the old classifier."""
        if self._traced.follow(self.classifier.version):
            self._cascade = self._make_cascade()

    def _make_cascade(self) -> Cascade:
        return Cascade(self.classifier, self._costs, self.rule, self.options.slots)

    def _measure(self, attacks: Sequence[StepAttack], x: Any, verbose: int) -> Measured:
        report.require_learnable(self.classifier, x)
        options = RunOptions(slots=self.options.slots)
        return measure(self.classifier, attacks, x, options=options, verbose=verbose)

    def _require_adapted(self) -> None:
        require(
            tf.convert_to_tensor(self._adapted),
            "The detector is not adapted: call `adapt` with benign inputs first. "
            f"Received: {self.name!r}",
        )


def _usable(
    statistics: Sequence[AttackCost] | None, classifier: Classifier
) -> tuple[AttackCost, ...]:
    chosen = (AttackCost(),) if statistics is None else statistics
    is_list = isinstance(chosen, Sequence) and len(chosen) > 0
    if not is_list or not all(isinstance(statistic, AttackCost) for statistic in chosen):
        raise ValueError(f"`statistics` must hold one AttackCost or more. Received: {statistics}")
    for statistic in chosen:
        statistic.require(classifier)
    return tuple(chosen)
