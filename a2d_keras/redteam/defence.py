"""`Defence`: what an attacker faces, a classifier and the detector in front of it."""

import abc
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.classifier import Classifier
from a2d_keras.detection.conformal import conformal_rank
from a2d_keras.detection.guarded_model import GuardedModel
from a2d_keras.detection.rules import CostRule
from a2d_keras.redteam.hinges import Hinges, between_quantiles
from a2d_keras.statistics.base import Passes, Statistic
from a2d_keras.statistics.boundary_distance import BoundaryDistance
from a2d_keras.statistics.fingerprints import measure
from a2d_keras.statistics.view import View

STRICT = 0.5  # the false positive rate of the strictest level that an attack aims at
_DRAWS = 4  # of random views, whose mean an attack follows
_BATCH = 256
_OF_DEFENCE = ("look", "flagged", "passes")


class Verdicts(NamedTuple):
    """Honest verdicts on n inputs.

    Attributes:
        labels: The predicted classes, int64, (n,).
        flagged: Whether the detector flags each, bool, (n,).
        score: The detector's scores, float64, (n,); higher is more adversarial.
    """

    labels: np.ndarray
    flagged: np.ndarray
    score: np.ndarray


class Look(NamedTuple):
    """What an attack sees of its iterates; tensors.

    Attributes:
        logits: The logits, float32, (n, classes).
        loss: The detector's loss, float32, (n,). Zero means accepted, at the strictest level too.
        accepted: Whether the detector accepts each, as far as one look shows, bool, (n,).
    """

    logits: tf.Tensor
    loss: tf.Tensor
    accepted: tf.Tensor


class Defence(abc.ABC):
    """A classifier, and the detector that an attacker has to pass.

    It takes the place of the `Classifier` in attacks of the red team, and has its attributes.
    Beside them, `judge` gives honest verdicts, and `look` shows an attack what it can follow.

    Args:
        classifier: The `Classifier`.

    Attributes:
        classifier: As given.
        unit: What the slot loop attacks: the same on the unit cube; see `Classifier.unit`.
        passes: The `Passes` of one `look`.
        verdict_queries: The largest number of forward passes of one verdict.
        differentiable: Whether `look` works, so that attacks can follow a gradient.
        false_positive_rate: The rate of benign inputs that the detector may flag.
        benign_scores: Scores of benign inputs, float64, (n,).
    """

    differentiable = True
    passes = Passes(1, 1)
    verdict_queries = 1
    false_positive_rate: float
    benign_scores: np.ndarray

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.unit: Any = self if classifier.unit is classifier else _OnUnit(self)

    def __getattr__(self, name: str) -> Any:
        if name == "classifier":  # not set yet
            raise AttributeError(name)
        return getattr(self.classifier, name)

    @abc.abstractmethod
    def judge(self, x: np.ndarray) -> Verdicts:
        """Judge inputs as the defence really does.

        Args:
            x: Inputs within the bounds, float32, (n, *input_shape).

        Returns:
            The `Verdicts`.
        """

    @abc.abstractmethod
    def look(self, x: tf.Tensor) -> Look:
        """Show an attack what it can follow. Graph code, differentiable in `x`.

        Args:
            x: Inputs of `unit`, float32, (n, *input_shape).

        Returns:
            The `Look`.
        """

    @abc.abstractmethod
    def flagged(self, x: tf.Tensor) -> tf.Tensor:
        """Return whether the detector flags inputs. Graph code.

        Args:
            x: Inputs of `unit`, float32, (n, *input_shape).

        Returns:
            Its verdicts, bool, (n,).
        """

    def flags(self, score: np.ndarray, false_positive_rate: float) -> np.ndarray:
        """Return which scores would be flagged at another false positive rate.

        Args:
            score: Scores, (n,).
            false_positive_rate: The rate of benign inputs that may be flagged.

        Returns:
            Whether each exceeds the conformal threshold of the benign scores, bool, (n,).
        """
        rank = conformal_rank(len(self.benign_scores), false_positive_rate)
        threshold = np.sort(self.benign_scores)[-rank] if rank else np.inf
        return np.asarray(score > threshold)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Compute the logits of any number of inputs; see `predict` of this module."""
        return predict(self.classifier, x)

    def distances(self, x: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """Return how far inputs were moved.

        Args:
            x: Inputs within the bounds, float32, (n, *input_shape).
            moved: What became of them, like `x`.

        Returns:
            The L2 and the L-inf distances, as fractions of the input range, float64, (2, n).
        """
        before, after = (np.asarray(self.classifier.to_unit(each)) for each in (x, moved))
        change = (after - before).reshape(len(x), -1).astype("float64")
        change /= self.classifier.unit.range
        return np.stack([np.linalg.norm(change, axis=1), np.abs(change).max(axis=1)])


class GuardDefence(Defence):
    """The defence of a guarded model.

    With the rule `"fisher"`, the loss is the distance of each statistic to the interval in which
    an input is accepted whatever the other statistics are, up to the same share of the threshold.
    So it is not zero wherever an input is flagged. A statistic without a gradient, such as the
    cost of an attack, has a surrogate: the boundary distance, which ranks benign inputs as costs
    do. The verdict takes the cost and the gradient takes the surrogate (BPDA; Athalye, Carlini,
    Wagner 2018). With other rules, the surrogate alone is the loss.

    Args:
        guarded: The `GuardedModel`, adapted.
        benign: Benign inputs, which show where surrogates lie, (n, *input_shape).

    Examples:
        >>> import keras
        >>> import a2d_keras as a2d
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> x = np.random.default_rng(0).uniform(size=(100, 4)).astype("float32")
        >>> guarded = a2d.guard(model)
        >>> guarded.adapt(x, verbose=0)
        >>> GuardDefence(guarded, x).judge(x[:2]).flagged.shape
        (2,)
    """

    def __init__(self, guarded: GuardedModel, benign: np.ndarray) -> None:
        detector = guarded.detector
        super().__init__(detector.classifier)
        self._guarded, self._rule = guarded, detector.rule
        self._by_costs = isinstance(self._rule, CostRule)
        self.false_positive_rate = detector.false_positive_rate
        self._statistics = _followed(detector, self._by_costs)
        self._exact = not self._by_costs and all(
            mine is each.statistic
            for (mine, _), each in zip(self._statistics, detector.learned, strict=True)
        )
        self._draws = (
            _DRAWS if any(s.is_random(self.classifier) for s, _ in self._statistics) else 1
        )
        self._hinges = self._make_hinges(benign)
        self.passes = _passes([s for s, _ in self._statistics], self.classifier, self._draws)
        self.verdict_queries = guarded.max_queries_per_input
        scores = self.judge(benign).score if self._by_costs else self._rule.benign_scores
        self.benign_scores = np.asarray(scores, "float64")

    def judge(self, x: np.ndarray) -> Verdicts:
        """Judge inputs by the `predict` of the guarded model; see `Defence.judge`."""
        out = self._guarded.predict(x, verbose=0)
        score = self._exact_scores(x) if self._by_costs else out["score"]
        labels = self.predict(x).argmax(axis=-1)
        return Verdicts(labels, out["is_adversarial"], np.asarray(score, "float64"))

    def flagged(self, x: tf.Tensor) -> tf.Tensor:
        """Judge in the caller's graph; see `Defence.flagged`."""
        x = self.classifier.from_unit(x)
        invalid = tf.zeros(tf.shape(x)[:1], tf.bool)
        return self._guarded.detector.judge(x, invalid)["is_adversarial"]

    def flags(self, score: np.ndarray, false_positive_rate: float) -> np.ndarray:
        """Judge scores as the rule does; see `Defence.flags`."""
        if self._by_costs:
            return super().flags(score, false_positive_rate)
        return np.asarray(self._rule.judge(tf.cast(score, tf.float32), false_positive_rate)[0])

    def look(self, x: tf.Tensor) -> Look:
        """Measure the statistics, and their distance to the benign intervals."""
        views = [View(self.classifier, x, seed=seed) for seed in range(self._draws)]
        values = [self._values(view) for view in views]
        distances = tf.add_n([self._hinges(each) for each in values]) / self._draws
        accepted = ~self._rule(values[0])[0] if self._exact else distances[:, 0] <= 0
        return Look(views[0].logits, tf.reduce_sum(distances, axis=-1), accepted)

    def _values(self, view: View) -> tf.Tensor:
        statistics, states = zip(*self._statistics, strict=True)
        return measure(statistics, view, [tensors() for tensors in states])

    def _make_hinges(self, benign: np.ndarray) -> Hinges:
        rates = (self.false_positive_rate, STRICT)
        tails = [s.tail for s, _ in self._statistics]
        if self._exact:
            return Hinges(self._acceptance(rates), self._rule.benign_quantiles.T)
        found = self._measure(benign)
        shares = rates if self._by_costs else np.exp(-self._surprises(rates))
        quantiles = [between_quantiles(v, t, shares) for v, t in zip(found.T, tails, strict=True)]
        return Hinges(np.stack(quantiles, axis=1), found)

    def _acceptance(self, rates: Sequence[float]) -> np.ndarray:
        return np.stack([self._rule.acceptance(each) for each in self._surprises(rates)])

    def _surprises(self, rates: Sequence[float]) -> np.ndarray:
        """Return the equal share of each statistic in the threshold at each rate."""
        scores = self._rule.benign_scores
        thresholds = [scores[-max(conformal_rank(len(scores), rate), 1)] for rate in rates]
        return np.asarray(thresholds, "float64") / len(self._statistics)

    def _measure(self, x: np.ndarray) -> np.ndarray:
        compiled = tf.function(
            lambda batch: self._values(View.of(self.classifier, batch)), autograph=False
        )
        parts = [compiled(b).numpy() for b in inputs.batches(x, self.classifier, _BATCH)]
        return np.concatenate(parts).astype("float64")

    def _exact_scores(self, x: np.ndarray) -> np.ndarray:
        """Score the costs of attacks that run to their end; in a verdict they need not."""
        parts = [
            self._score_costs(self.classifier.to_unit(tf.constant(b))).numpy()
            for b in inputs.batches(x, self.classifier, _BATCH)
        ]
        return np.concatenate(parts)

    @functools.cached_property
    def _score_costs(self) -> Callable[[tf.Tensor], tf.Tensor]:
        learned = self._guarded.detector.learned

        def score(x: tf.Tensor) -> tf.Tensor:
            view = View(self.classifier, x)
            costs = [each.statistic.measure(view, each.tensors()) for each in learned]
            return self._rule(tf.cast(tf.stack(costs, axis=-1), tf.int64))[1]

        x = tf.TensorSpec((None, *self.classifier.input_shape), tf.float32)
        compiled: Callable[[tf.Tensor], tf.Tensor] = tf.function(
            score, input_signature=[x], autograph=False
        )
        return compiled


class ScoredDefence(Defence):
    """The defence of any detector that scores inputs, such as a baseline.

    Args:
        classifier: The `Classifier`.
        score: A function from inputs, float32, (n, *input_shape), to scores (n,); higher is more
            adversarial.
        benign: Benign inputs, whose scores give the threshold.
        false_positive_rate: The share of them that may be flagged. Defaults to 0.05.
        surrogate: A differentiable stand-in of the score: graph code from inputs of `unit` to a
            loss (n,) that is zero where an input is accepted. Without one, only attacks that need
            no gradient of the detector can run. Defaults to None.

    Examples:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> x = np.random.default_rng(0).uniform(size=(100, 4)).astype("float32")
        >>> bright = ScoredDefence(Classifier(model), lambda x: x.mean(axis=1), x)
        >>> float(bright.judge(x).flagged.mean())
        0.04
    """

    def __init__(
        self,
        classifier: Classifier,
        score: Callable[[np.ndarray], np.ndarray],
        benign: np.ndarray,
        *,
        false_positive_rate: float = 0.05,
        surrogate: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> None:
        super().__init__(classifier)
        self.false_positive_rate = false_positive_rate
        self.differentiable = surrogate is not None
        self._score, self._surrogate = score, surrogate
        self.benign_scores = np.asarray(score(benign), "float64")

    def judge(self, x: np.ndarray) -> Verdicts:
        """Score inputs, and compare with the threshold; see `Defence.judge`."""
        score = np.asarray(self._score(x), "float64")
        labels = self.predict(x).argmax(axis=-1)
        return Verdicts(labels, self.flags(score, self.false_positive_rate), score)

    def flagged(self, x: tf.Tensor) -> tf.Tensor:
        """Call the scorer from the graph; see `Defence.flagged`."""

        def judge(x: np.ndarray) -> np.ndarray:
            return self.flags(np.asarray(self._score(x)), self.false_positive_rate)

        flagged = tf.numpy_function(judge, [self.classifier.from_unit(x)], tf.bool)
        return tf.ensure_shape(flagged, [None])

    def look(self, x: tf.Tensor) -> Look:
        """Follow the surrogate; see `Defence.look`."""
        if self._surrogate is None:
            raise ValueError(
                "An attack along the detector's gradient needs a differentiable stand-in: give a "
                f"`surrogate`. Received: {self._score}"
            )
        loss = self._surrogate(x)
        return Look(self.classifier.unit.logits(x), loss, loss <= 0)


class _OnUnit:
    """A defence of a classifier with a range per feature, on the unit cube."""

    def __init__(self, defence: Defence) -> None:
        self._defence = defence

    def __getattr__(self, name: str) -> Any:
        of = self._defence if name in _OF_DEFENCE else self._defence.classifier.unit
        return getattr(of, name)


def predict(classifier: Classifier, x: np.ndarray) -> np.ndarray:
    """Compute the logits of any number of inputs.

    Args:
        classifier: The `Classifier`.
        x: Inputs within the bounds, float32, (n, *input_shape).

    Returns:
        The logits, float32, (n, classes).
    """
    return np.concatenate(
        [classifier.logits(part).numpy() for part in inputs.batches(x, classifier, _BATCH)]
    )


def _followed(detector: Any, by_costs: bool) -> list[tuple[Statistic, Callable[[], Any]]]:
    """Choose the statistics that an attack follows, each with what it has learned."""
    if by_costs:
        return [(BoundaryDistance(), dict)]
    return [
        (each.statistic, each.tensors)
        if each.statistic.differentiable
        else (BoundaryDistance(tail=each.statistic.tail), dict)
        for each in detector.learned
    ]


def _passes(statistics: Sequence[Statistic], classifier: Classifier, draws: int) -> Passes:
    """Count the passes of a look, each of which the gradient goes back through."""
    own = [statistic.passes(classifier) for statistic in statistics]
    queries = 1 + sum(each.queries for each in own)
    shared = any(statistic.needs_gradient for statistic in statistics)
    inner = shared + sum(each.gradient_evaluations for each in own)
    return Passes(draws * queries, draws * (queries + 2 * inner))
