"""`DetectorLayer`: verdicts on inputs, inside any Keras model."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.attacks.base import StepAttack
from a2d_keras.attacks.engine.shapes import column
from a2d_keras.attacks.engine.slots import SlotLoop, Task
from a2d_keras.classifier import Classifier
from a2d_keras.detection import legacy, report, rules
from a2d_keras.detection.drift import Snapshot, complain
from a2d_keras.detection.rules import Rule
from a2d_keras.options import GuardOptions, RunOptions
from a2d_keras.statistics.attack_cost import AttackCost, measure
from a2d_keras.validation import require

_OPTIONS = {field.name for field in dataclasses.fields(GuardOptions)}
_GRADIENT_INPUTS = 128


@keras.saving.register_keras_serializable(package="a2d_keras")
class DetectorLayer(keras.layers.Layer):
    """Tell for every input whether it is adversarial, inside any Keras model.

    The layer runs the classifier, attacks each input, and judges by how many steps that takes.
    Call `adapt` with benign inputs first. A verdict takes only as many steps as settle it.

    Args:
        model: The trained classifier: a built `keras.Model` whose inputs lie between 0 and 1, or
            a `Classifier`. It is left as it is.
        statistics: What is measured of an input: one `AttackCost` or more. Defaults to
            `[AttackCost()]`.
        rule: What makes a verdict of it: `"zscore"`, which learns from benign inputs alone,
            `"knn"`, the nearest of benign and adversarial inputs, or a `Rule`. Defaults to
            `"zscore"`.
        false_positive_rate: The rate of benign inputs that may be flagged; `"knn"` only chooses
            the step by it. Defaults to 0.05.
        **options: As `GuardOptions` describes, and as any Keras layer takes.

    Call arguments:
        x: Inputs, (n, *input_shape).

    Returns:
        A dict: `predictions`, the model's own; `is_adversarial`, bool, (n,); `score`, float32,
        (n,), higher is more adversarial; `cost`, int64, (n, attacks), 0 for an attack that was
        not needed; `exact`, bool, (n,), whether all attacks ran to the end: where not, score and
        cost are bounds.

    Raises:
        ValueError: If an argument is out of its range, an input is not what the classifier takes,
            the classifier has changed since `adapt`, or the layer has not been adapted; inside a
            graph `tf.errors.InvalidArgumentError`.

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
        self.supports_jit = False  # Keras would compile dynamic shapes and checks with XLA unasked
        self.options = GuardOptions(**own)
        self.classifier = model if isinstance(model, Classifier) else Classifier(model)
        self.model = self.classifier.model
        self.false_positive_rate = false_positive_rate
        self.statistics = _usable(statistics, self.classifier)
        self.rule = rules.get(rule)
        self.rule.prepare([s.max_iterations for s in self.statistics], false_positive_rate)
        self._adapted = self._state("adapted", np.zeros((), "bool"))
        self._weights_hash = self._state("weights_hash", np.zeros((), "int64"))
        self._graph_version = self._state("graph_version", np.zeros((), "int64"))
        self._learned = [
            {name: self._state(f"{name}_{index}", value) for name, value in initial.items()}
            for index, initial in enumerate(
                s.initial_state(self.classifier) for s in self.statistics
            )
        ]
        self._seen_version = self.classifier.version
        self._compile()
        self.built = True

    @property
    def attacks(self) -> tuple[StepAttack, ...]:
        """The attacks, with what `adapt` has learned of them."""
        return tuple(
            statistic.fitted({n: keras.ops.convert_to_numpy(w) for n, w in learned.items()})
            for statistic, learned in zip(self.statistics, self._learned, strict=True)
        )

    @property
    def slot_counts(self) -> tuple[int, ...]:
        """How many inputs each attack has under attack at once; `"auto"` is found when asked."""
        slots, classifier = self.options.slots, self.classifier.unit
        return tuple(s.base_attack.count_slots(classifier, slots) for s in self.statistics)

    @property
    def thresholds(self) -> np.ndarray:
        """The steps after which each attack has said all it can; int64, (attacks,).

        With the rule `"zscore"`: the smallest cost that counts as benign.
        """
        return _values(self.rule.budgets)

    @property
    def benign_costs(self) -> np.ndarray:
        """How many of the inputs adapted on had each cost, from 0 up; int64, (attacks, costs)."""
        return _values(self.rule.benign_costs)

    @property
    def is_adapted(self) -> bool:
        """Whether `adapt` was called."""
        return bool(_values(self._adapted))

    @property
    def up_to_date(self) -> bool:
        """Whether the layer is adapted, and to the classifier as it is now."""
        adapted_to = Snapshot(int(_values(self._weights_hash)), self._seen_version)
        return self.is_adapted and adapted_to.matches(self.classifier)

    @property
    def max_queries_per_input(self) -> int:
        """The most queries that one input can take, whatever it holds; int.

        That is its prediction, and every attack to the end of what it may spend: until the verdict
        is settled, or all steps where costs are exact or `adapt` was not called.
        """
        total, settled = 1, self.is_adapted
        spent = zip(self.statistics, self.attacks, self.thresholds, strict=True)
        for statistic, attack, threshold in spent:
            exact = statistic.exact or not settled
            budget = attack.max_iterations if exact else int(threshold)
            total += attack.max_queries(self.classifier, budget)
        return total

    def adapt(self, benign: Any, adversarial: Any = None, verbose: int = 1) -> None:
        """Learn what attacks cost on benign inputs.

        Args:
            benign: Benign inputs that the classifier was not trained on: an array or tensor
                (n, *input_shape), or a `tf.data.Dataset` of batches of them, alone or as the
                first of a tuple.
            adversarial: Adversarial inputs, likewise; for the rule `"knn"` only.
            verbose: 1 shows progress and what was learned, 0 is silent. Defaults to 1.

        Raises:
            ValueError: If inputs are not what the classifier takes, if they are too few for the
                false positive rate, or if adversarial ones are missing or not wanted. After any
                error, and after Ctrl-C, the layer is as it was.
        """
        self.rule.require_kinds(adversarial is not None)
        classifier, slots = self.classifier, self.options.slots
        classifier.refresh()
        weights_hash = classifier.weights_hash()
        learned = [
            statistic.fit(classifier, benign, self.false_positive_rate, slots)
            for statistic in self.statistics
        ]
        attacks = [s.fitted(state) for s, state in zip(self.statistics, learned, strict=True)]
        options = RunOptions(slots=slots)
        found = measure(classifier, attacks, benign, options=options, verbose=verbose)
        others = None
        if adversarial is not None:
            others = measure(
                classifier, attacks, adversarial, options=options, verbose=verbose
            ).costs
        with self._all_or_nothing():
            passes = found.queries + found.gradient_evaluations
            self.rule.learn(found.costs, others, passes)
            for weights, state in zip(self._learned, learned, strict=True):
                for name, value in state.items():
                    weights[name].assign(value)
            self._weights_hash.assign(weights_hash)
            self._adapted.assign(True)
        self._follow_classifier()
        self._report(benign, bool(found.gradient_evaluations.any()), verbose)

    def check(self, x: Any) -> inputs.Checked:
        """Refuse inputs that cannot be judged.

        Args:
            x: Inputs, (n, *input_shape).

        Returns:
            The inputs, and which rows are invalid: always none where `on_invalid` is `"raise"`.

        Raises:
            ValueError: If `adapt` was not called, or the inputs are not what the classifier takes;
                inside a graph `tf.errors.InvalidArgumentError`.
        """
        x = inputs.as_inputs(x, self.classifier)
        self._require_adapted()
        raises = self.options.on_invalid == "raise"
        return inputs.Checked(x, ~inputs.validate(x, self.classifier, refuse=raises))

    def check_weights(self) -> None:
        """Refuse to judge by costs that belong to another classifier; not graph code.

        `predict` and `predict_on_batch` of a guarded model check, as does a call of the layer
        outside a graph. Inside another model's graph nothing can look at all weights between
        calls: there the layer checks when the graph is traced, and a graph that was traced before
        `adapt` found other layers refuses to answer. The weights of an exported model are frozen.

        Raises:
            ValueError: If the layer is adapted, and the classifier has changed since; with
                `on_changed_weights="warn"` it warns instead.
        """
        if self.is_adapted and not self.up_to_date:
            complain(self.classifier, self.options.on_changed_weights)

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
            As the class returns.
        """
        self._require_graph_of_now()
        predictions = self.classifier.predictions(x)
        trusted = self.classifier.trusted(tf.nest.flatten(predictions)[0])
        if self.options.on_invalid == "raise":
            self._require_trusted(trusted | invalid)
        detect = self._detect_compiled if tf.executing_eagerly() else self._detect
        images = tf.cast(x, tf.float32)
        return {"predictions": predictions, **detect(images, invalid | ~trusted)}

    def compute_output_spec(self, x: Any) -> dict[str, Any]:
        """Describe the outputs without running an attack."""
        batch = x.shape[0]
        return {
            "predictions": self.model.compute_output_spec(x),
            "is_adversarial": keras.KerasTensor((batch,), "bool"),
            "score": keras.KerasTensor((batch,), "float32"),
            "cost": keras.KerasTensor((batch, len(self.statistics)), "int64"),
            "exact": keras.KerasTensor((batch,), "bool"),
        }

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as Keras's serialization asks."""
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
            layer.verdict = legacy.LegacyRule(layer.rule)  # the name that its weights have
            return layer
        made = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("model", "statistics", "rule")
        }
        settings = {name: value for name, value in config.items() if name != "classifier"}
        model = Classifier(made.pop("model"), **config["classifier"])
        return cls(**{**settings, **made, "model": model})

    def load_own_variables(self, store: Any) -> None:
        """Take what a file holds, of this version or of 0.1; see `keras.layers.Layer`."""
        if not hasattr(self, "verdict"):
            super().load_own_variables(store)
            return
        eps_iter, adapted, weights_hash = (store[str(index)][()] for index in range(3))
        self._adapted.assign(adapted)
        self._weights_hash.assign(weights_hash)
        for learned in self._learned:
            if "eps_iter" in learned:
                learned["eps_iter"].assign(eps_iter)

    def _state(self, name: str, value: np.ndarray) -> keras.Variable:
        initial = keras.initializers.Constant(value)
        return self.add_weight(
            name=name, shape=value.shape, dtype=value.dtype, initializer=initial, trainable=False
        )

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Give the weights that `adapt` sets their old values back where it does not finish."""
        learned = [*self.rule.weights, self._weights_hash, self._adapted]
        learned += [weight for weights in self._learned for weight in weights.values()]
        before = [_values(weight).copy() for weight in learned]
        try:
            yield
        except BaseException:  # and Ctrl-C
            for weight, value in zip(learned, before, strict=True):
                weight.assign(value)
            raise

    def _follow_classifier(self) -> None:
        """Drop the graphs of a classifier that is no more."""
        if self._seen_version != self.classifier.version:
            self._seen_version = self.classifier.version
            self._graph_version.assign_add(1)
            self._compile()

    def _compile(self) -> None:
        compiled = tf.function(self._detect, autograph=False)
        self._detect_compiled = lambda *args: compiled(*args)  # export() would follow a function

    def _report(self, benign: Any, uses_gradient: bool, verbose: int) -> None:
        attacks, thresholds = self.attacks, self.thresholds
        if verbose:
            report.print_thresholds(self.rule.name, attacks, thresholds)
        report.warn_of_thresholds(attacks, thresholds)
        if uses_gradient:
            first = inputs.first(benign, self.classifier, _GRADIENT_INPUTS)
            report.warn_of_no_gradient(self.classifier, first)

    def _require_adapted(self) -> None:
        require(
            tf.convert_to_tensor(self._adapted),
            "The detector does not know yet what attacks cost: call `adapt` with benign inputs "
            f"first. Received: {self.name!r}, not adapted",
        )

    def _require_graph_of_now(self) -> None:
        """Refuse to answer by a graph of layers that the classifier no longer has."""
        if tf.executing_eagerly():
            return
        with tf.init_scope():
            traced = int(_values(self._graph_version))
        require(
            tf.convert_to_tensor(self._graph_version) == traced,
            "The classifier's layers have changed since this graph was traced: compile the model "
            f"around the detector again. Received: {self.name!r}, adapted to other layers since",
        )

    def _require_trusted(self, trusted: tf.Tensor) -> None:
        wrong = tf.math.count_nonzero(~trusted)
        require(
            wrong == 0,
            tf.strings.format(
                "The classifier gives no finite prediction, so nothing can be said of these "
                'inputs; `on_invalid="flag"` flags them. Received: {} of {} inputs',
                (wrong, tf.size(trusted)),
            ),
        )

    def _detect(self, images: tf.Tensor, invalid: tf.Tensor) -> dict[str, tf.Tensor]:
        """Attack the valid inputs, the cheapest attack first, while that can change a verdict."""
        low, high = self.classifier.bounds
        images = tf.clip_by_value(tf.where(column(invalid, images), low, images), low, high)
        images = self.classifier.to_unit(images)
        exact = tf.constant([statistic.exact for statistic in self.statistics])
        count = len(self.statistics)
        costs = tf.zeros([tf.shape(images)[0], count], tf.int64)

        def attack_next(place: int, costs: tf.Tensor, ended: tf.Tensor) -> tuple[Any, ...]:
            index = tf.gather(tf.convert_to_tensor(self.rule.order), place)
            going = ~invalid & (tf.gather(exact, index) | self.rule.undecided(costs))
            runs = [functools.partial(self._attack, i, images, going) for i in range(count)]
            cost, this_ended = tf.switch_case(tf.cast(index, tf.int32), runs)
            costs += cost[:, None] * tf.one_hot(index, count, dtype=tf.int64)
            return place + 1, costs, ended & this_ended

        _, costs, ended = tf.while_loop(
            lambda place, *_: place < count, attack_next, (0, costs, ~invalid)
        )
        flagged, score = self.rule(costs)
        return {
            "is_adversarial": flagged | invalid,
            "score": tf.where(invalid, np.nan, score),
            "cost": costs,
            "exact": ended,
        }

    def _attack(
        self, index: int, images: tf.Tensor, going: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Run one attack on some of the inputs; the others cost 0 and have not ended."""
        statistic = self.statistics[index]
        limit = tf.constant(statistic.max_iterations, tf.int64)
        learned = {n: tf.convert_to_tensor(w) for n, w in self._learned[index].items()}
        rows = tf.where(going)
        task = Task(
            x=tf.gather(images, rows[:, 0]),
            targets=tf.zeros_like(rows[:, 0]),
            budget=limit if statistic.exact else self.rule.budgets[index],
            max_iterations=limit,
            parameters=statistic.parameters(self.classifier, learned),
        )
        attack, slots = statistic.base_attack, self.slot_counts[index]
        result = SlotLoop(attack, self.classifier.unit, slots, images=False).run(task)
        ended = result.success | (result.cost >= limit)
        size = tf.shape(going, tf.int64)
        return tf.scatter_nd(rows, result.cost, size), tf.scatter_nd(rows, ended, size)


def _values(weight: Any) -> Any:
    return keras.ops.convert_to_numpy(weight)


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
