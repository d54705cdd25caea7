"""`DetectorLayer`: verdicts on inputs, inside any Keras model."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import inputs, progress
from a2d_keras.attacks.base import StepAttack
from a2d_keras.classifier import Classifier
from a2d_keras.detection import legacy, precision_choice, report, rules
from a2d_keras.detection.cascade import Cascade
from a2d_keras.detection.drift import Snapshot, TracedVersion, complain
from a2d_keras.detection.rules import Column, CostRule, Rule
from a2d_keras.detection.scorer import Scorer
from a2d_keras.detection.state import Learned, all_or_nothing, values
from a2d_keras.options import GuardOptions, inputs_per_pass
from a2d_keras.statistics.attack_cost import AttackCost
from a2d_keras.statistics.base import Statistic
from a2d_keras.statistics.defaults import default_statistics
from a2d_keras.statistics.fingerprints import column_names
from a2d_keras.validation import require

_OPTIONS = {field.name for field in dataclasses.fields(GuardOptions)}


@keras.saving.register_keras_serializable(package="a2d_keras")
class DetectorLayer(keras.layers.Layer):
    """Detect adversarial inputs inside any Keras model.

    The layer runs the classifier, and measures how each input lies among benign ones. Call `adapt`
    with benign inputs first.

    Args:
        model: The trained classifier: a built `keras.Model` whose inputs lie between 0 and 1, or
            a `Classifier`. It is not changed.
        statistics: What is measured of an input, one `Statistic` or more. By default a few that
            take few passes and see attacks from different sides, one set for images and one for
            other inputs (`a2d_keras.statistics.defaults`); or `[AttackCost()]` for a rule that
            judges costs.
        rule: How the statistics become a verdict: `"fisher"`, which judges any; `"zscore"`, which
            judges the costs of attacks as the paper does; `"knn"`, the vote of the costs of the
            nearest benign and adversarial inputs; or a `Rule`. Defaults to `"zscore"` if all
            statistics are attack costs, and to `"fisher"` if not.
        false_positive_rate: The rate of benign inputs that may be flagged. `"knn"` uses it only
            to choose the step. Defaults to 0.05.
        **options: The fields of `GuardOptions`, and the arguments of any Keras layer.

    Call arguments:
        x: Inputs, (n, *input_shape).

    Returns:
        A dict: `predictions`, the model's own; `is_adversarial`, bool, (n,); `score`, float32,
        (n,), higher is more adversarial; and `cost`, int64, (n, statistics), the steps that each
        attack took, or the queries of another statistic beside the prediction. With `"fisher"`
        also `p_value`, float32, (n,): the probability of such a score among benign inputs, and 0
        for an input that cannot be judged; and `statistics`, float32, (n, statistics). With the
        other rules also `exact`, bool, (n,), whether all attacks ran to the end. If not, score and
        cost are bounds: an attack stops as soon as the verdict is settled, and costs 0 if it was
        not needed. Nearly all benign inputs then share one score, the bound; a ROC curve needs
        `AttackCost(exact=True)`.

    Raises:
        ValueError: If an argument is out of range, the classifier does not take an input, the
            classifier has changed since `adapt`, or `adapt` was not called. In a graph,
            `tf.errors.InvalidArgumentError`.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> layer = DetectorLayer(model)
        >>> layer.adapt(np.random.default_rng(0).uniform(size=(100, 4)), verbose=0)
        >>> sorted(layer(np.full((2, 4), 0.5)))
        ['cost', 'is_adversarial', 'p_value', 'predictions', 'score', 'statistics']
    """

    def __init__(
        self,
        model: keras.Model | Classifier,
        *,
        statistics: Sequence[Statistic] | None = None,
        rule: str | Rule | None = None,
        false_positive_rate: float = 0.05,
        **options: Any,
    ) -> None:
        own = {name: options.pop(name) for name in _OPTIONS & options.keys()}
        super().__init__(**{**options, "dtype": "float32", "autocast": False})
        self.supports_jit = False  # XLA, which Keras would use, cannot compile dynamic shapes
        self.options = GuardOptions(**own)
        self.classifier = model if isinstance(model, Classifier) else Classifier(model)
        self.model = self.classifier.model
        self.statistics, self.rule = _chosen(statistics, rule, self.classifier)
        columns = [_column(statistic) for statistic in self.statistics]
        self.rule.prepare(columns, false_positive_rate)
        self._adapted = self._state("adapted", np.zeros((), "bool"))
        self._weights_hash = self._state("weights_hash", np.zeros((), "int64"))
        self._learned = [Learned(s, self._room_for(i, s)) for i, s in enumerate(self.statistics)]
        self._adapted_version = self.classifier.version
        self._traced = TracedVersion(self.classifier.version)
        self._judge = self._make_judge()
        self.built = True

    @property
    def false_positive_rate(self) -> float:
        """The rate of benign inputs that may be flagged. `promise` changes it."""
        return self.rule.false_positive_rate

    @property
    def learned(self) -> tuple[Learned[Statistic], ...]:
        """The statistics, each with the weights that hold what `adapt` has learned."""
        return tuple(self._learned)

    @property
    def attacks(self) -> tuple[StepAttack, ...]:
        """The attacks whose costs are measured, with the parameters that `adapt` has learned."""
        pairs = ((each.statistic, each.state) for each in self._learned)
        return tuple(s.fitted(state) for s, state in pairs if isinstance(s, AttackCost))

    @property
    def slot_counts(self) -> tuple[int, ...]:
        """How many inputs each attack has under attack at once. `"auto"` is calibrated now."""
        return self._judge.slot_counts()

    @property
    def batch_size(self) -> int:
        """The number of inputs in a batch, when arrays are judged."""
        return self._judge.batch_size

    @property
    def thresholds(self) -> np.ndarray:
        """Where the verdict turns.

        With the rule `"fisher"`, it is the score above which inputs are flagged; float32, (1,).
        With a rule that judges costs, it is the number of steps that settles each attack's vote;
        int64, (attacks,). With `"zscore"`, that is the smallest cost that counts as benign.
        """
        return self.rule.thresholds

    @property
    def benign_costs(self) -> np.ndarray:
        """How many benign inputs of `adapt` had each cost, from 0 up; int64, (attacks, costs).

        The rule `"fisher"` has none.
        """
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

        That is its prediction, and the passes of every statistic. For an attack that is its
        budget: the number of steps that settles the verdict, or all steps if costs are exact or
        `adapt` was not called.
        """
        return 1 + self._judge.max_queries(settled=self.is_adapted)

    def adapt(self, benign: Any, adversarial: Any = None, verbose: int = 1) -> None:
        """Learn from benign inputs how they are distributed.

        If the classifier has `precision="auto"`, the first call also decides on its precision. It
        judges some of the inputs in float32 and in bfloat16 by turns. Only if bfloat16 saves a
        tenth of the time, it stays, and the layer learns again.

        Args:
            benign: Benign inputs that the classifier was not trained on: an array or tensor
                (n, *input_shape), or a `tf.data.Dataset` or `keras.utils.PyDataset` of batches
                of them, alone or as the first of a tuple.
            adversarial: Adversarial inputs, like `benign`; for the rule `"knn"` only.
            verbose: 1 shows what was learned, and at a terminal or in a notebook the progress; 0
                is silent. Defaults to 1.

        Raises:
            ValueError: If the classifier does not take the inputs, if they are too few for the
                false positive rate, or if adversarial ones are missing or unwanted. After any
                error, and after Ctrl-C, the layer is as it was before.
        """
        self.rule.require_kinds(adversarial is not None)
        self.classifier.refresh()
        benign = inputs.readable(benign, self.classifier)
        adversarial = inputs.readable(adversarial, self.classifier)
        self._learn(benign, adversarial, verbose)
        if self.classifier.undecided and self._decide_precision(benign):
            self._learn(benign, adversarial, verbose)
        self._judge.tell(benign, verbose)

    def _decide_precision(self, benign: Any) -> bool:
        """Give the classifier the faster precision; return whether that is below float32."""
        low = precision_choice.lower(self.classifier)
        if low is None:
            self.classifier.decide("float32")
            return False
        x = tf.constant(inputs.first(benign, self.classifier, inputs_per_pass(self.options.slots)))
        faster = precision_choice.is_clearly_faster(
            self._on(low)._verdicts_on(x), self._verdicts_on(x)
        )
        self.classifier.decide(precision_choice.LOW if faster else "float32")
        return faster

    def _on(self, classifier: Classifier) -> "DetectorLayer":
        """Return a layer that has learned the same, on another classifier."""
        other = self._made(classifier, self.get_config())
        for theirs, own in zip(other._learned_weights(), self._learned_weights(), strict=True):
            theirs.assign(own)
        return other

    def _verdicts_on(self, x: tf.Tensor) -> Callable[[], object]:
        """Return a function that judges inputs, and waits for the verdicts."""
        judge = tf.function(self.judge, autograph=False)
        return lambda: judge(x, tf.zeros(len(x), tf.bool))["is_adversarial"].numpy()

    def _learn(self, benign: Any, adversarial: Any, verbose: int) -> None:
        self._follow_classifier()  # first, since a judge learns with its graphs
        weights_hash = self.classifier.weights_hash()
        with all_or_nothing(self._learned_weights()), progress.showing(verbose):
            states = self._judge.learn(benign, adversarial)
            for each, state in zip(self._learned, states, strict=True):
                each.learn(state)
            self._weights_hash.assign(weights_hash)
            self._adapted.assign(True)
        self._adapted_version = self.classifier.version

    def promise(self, false_positive_rate: float) -> None:
        """Promise another false positive rate, without another `adapt`; for the rule `"fisher"`.

        Args:
            false_positive_rate: The rate α of benign inputs that may be flagged.

        Raises:
            ValueError: If α does not lie between 0 and 1, is too small for the number of benign
                inputs, or the rule learns for one rate only.
        """
        self.rule.promise(false_positive_rate)

    def describe(self) -> dict[str, str]:
        """Describe the statistics, and what each has learned.

        Returns:
            A dict by the statistics' names in tables, such as `boundary_distance_0`.
        """
        names = column_names(self.statistics)
        said = (each.statistic.describe(self.classifier, each.state) for each in self._learned)
        return dict(zip(names, said, strict=True))

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns of `columns`, in their order."""
        nothing = {name: np.zeros(0) for name in self._judge.output_spec(None)}
        return tuple(self.columns(nothing))

    def columns(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        """Split verdicts into columns, such as for a table.

        Args:
            outputs: The outputs of a call or of `predict`, or some of them.

        Returns:
            A dict of arrays (n,), whatever the rule: each output with one number per input, and
            then a column for each statistic, such as `boundary_distance_0` or `cost_bim_0`. The
            predictions are left out.
        """
        spec, names = self._judge.output_spec(None), column_names(self.statistics)
        if "statistics" in spec:
            del spec["cost"]  # a constant, or one of the statistics
        columns, of_statistics = {}, {}
        for name in [name for name in spec if name in outputs]:
            values = np.asarray(outputs[name], spec[name].dtype)
            if len(spec[name].shape) == 1:
                columns[name] = values.reshape(-1)
            else:
                of_statistics = dict(zip(names, values.reshape(-1, len(names)).T, strict=True))
        return columns | of_statistics

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
        """Refuse to judge by what was learned of another classifier. Not graph code.

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
        found = None if tf.executing_eagerly() else self.classifier.one_pass(x)
        predictions = self.classifier.predictions(x) if found is None else found.predictions
        invalid |= ~self._trusted(predictions, invalid)
        images = tf.cast(x, tf.float32)
        return {"predictions": predictions, **self._judge(found, images, invalid)}

    def require_judgeable(self, x: Any) -> None:
        """Refuse inputs as a call would, without a verdict.

        Args:
            x: Inputs, (n, *input_shape).

        Raises:
            ValueError: As for `check`; and, unless `on_invalid="flag"`, if the classifier gives no
                finite prediction for an input.
        """
        checked = self.check(x)
        self._trusted(self.classifier.predictions(checked.x), checked.invalid)

    def compute_output_spec(self, x: Any) -> dict[str, Any]:
        """Describe the outputs without computing them."""
        predictions = self.classifier.predictions_spec(x)
        return {"predictions": predictions, **self._judge.output_spec(x.shape[0])}

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
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls._made(Classifier(model, **config["classifier"]), config)

    @classmethod
    def _made(cls, classifier: Classifier, config: dict[str, Any]) -> "DetectorLayer":
        """Make a layer from a configuration, on a classifier of any origin."""
        made = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("statistics", "rule")
        }
        settings = {name: value for name, value in config.items() if name != "classifier"}
        return cls(**{**settings, **made, "model": classifier})

    def load_own_variables(self, store: Any) -> None:
        """Load variables from a file of this version or of 0.1; see `keras.layers.Layer`."""
        saved = legacy.own_variables(store)
        if not saved:
            super().load_own_variables(store)
            return
        self._adapted.assign(saved["adapted"])
        self._weights_hash.assign(saved["weights_hash"])
        for each in self._learned:
            each.learn({name: saved[name] for name in each.weights.keys() & saved.keys()})

    def _trusted(self, predictions: Any, invalid: tf.Tensor) -> tf.Tensor:
        """Return which predictions are finite; refuse the others by choice."""
        (outputs,) = tf.nest.flatten(predictions)
        trusted = self.classifier.trusted(tf.cast(outputs, tf.float32))
        if self.options.on_invalid == "raise":
            report.require_trusted(trusted | invalid)
        return trusted

    def _state(self, name: str, value: np.ndarray) -> keras.Variable:
        # The oldest Keras cannot fill a bool weight with a constant.
        initial = keras.initializers.Constant(value) if value.any() else "zeros"
        return self.add_weight(
            name=name, shape=value.shape, dtype=value.dtype, initializer=initial, trainable=False
        )

    def _room_for(self, index: int, statistic: Statistic) -> dict[str, keras.Variable]:
        initial = statistic.initial_state(self.classifier)
        return {name: self._state(f"{name}_{index}", value) for name, value in initial.items()}

    def _learned_weights(self) -> list[keras.Variable]:
        of_statistics = [weight for each in self._learned for weight in each.weights.values()]
        return [*self.rule.weights, *of_statistics, self._weights_hash, self._adapted]

    def _follow_classifier(self) -> None:
        """Drop the graphs of the old classifier."""
        if self._traced.follow(self.classifier.version):
            self._judge = self._make_judge()

    def _make_judge(self) -> Cascade | Scorer:
        if isinstance(self.rule, CostRule):
            costs = cast("list[Learned[AttackCost]]", self._learned)
            return Cascade(self.classifier, costs, self.rule, self.options.slots)
        return Scorer(self.classifier, self._learned, self.rule, self.options.slots)

    def _require_adapted(self) -> None:
        require(
            tf.convert_to_tensor(self._adapted),
            "The detector is not adapted: call `adapt` with benign inputs first. "
            f"Received: {self.name!r}",
        )


def _column(statistic: Statistic) -> Column:
    limit = statistic.max_iterations if isinstance(statistic, AttackCost) else None
    return Column(statistic.tail, limit)


def _chosen(
    statistics: Sequence[Statistic] | None, rule: str | Rule | None, classifier: Classifier
) -> tuple[tuple[Statistic, ...], Rule]:
    """Choose what is not given, and refuse what does not fit the classifier."""
    if rule is not None:
        rule = rules.get(rule)
    if statistics is None:
        costs = isinstance(rule, CostRule)
        statistics = (AttackCost(),) if costs else default_statistics(classifier)
    is_list = isinstance(statistics, Sequence) and len(statistics) > 0
    if not is_list or not all(isinstance(statistic, Statistic) for statistic in statistics):
        raise ValueError(f"`statistics` must hold one Statistic or more. Received: {statistics}")
    for statistic in statistics:
        statistic.require(classifier)
    costs = all(isinstance(statistic, AttackCost) for statistic in statistics)
    return tuple(statistics), rule or rules.get("zscore" if costs else "fisher")
