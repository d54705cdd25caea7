"""`GuardDefence`: what an attacker of a guarded model faces."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.classifier import Classifier
from a2d_keras.classifier.structure import hash_weights
from a2d_keras.detection.conformal import conformal_rank
from a2d_keras.detection.guarded_model import GuardedModel
from a2d_keras.detection.rules import CostRule
from a2d_keras.redteam.defence import BATCH, STRICT, Defence, Look, Verdicts
from a2d_keras.redteam.hinges import Hinges, between_quantiles
from a2d_keras.statistics.base import Passes, Statistic
from a2d_keras.statistics.boundary_distance import BoundaryDistance
from a2d_keras.statistics.fingerprints import measure
from a2d_keras.statistics.view import View

_DRAWS = 4  # of random views, whose mean an attack follows


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
        self._guarded = guarded
        self._rule: Any = detector.rule
        self._by_costs = isinstance(self._rule, CostRule)
        self.false_positive_rate = detector.false_positive_rate
        self._statistics = _followed(detector, self._by_costs)
        self._followable = not self._by_costs and all(
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

    def identity(self) -> list[Any]:
        """Hash the weights, what was learned among them; see `Defence.identity`."""
        config = self._guarded.detector.get_config()
        chosen = [config[name] for name in ("statistics", "rule", "false_positive_rate")]
        return [hash_weights(self._guarded), chosen]

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
        view = View(self.classifier, x)
        values = [self._values(view.drawn(seed)) for seed in range(self._draws)]
        distances = tf.add_n([self._hinges(each) for each in values]) / self._draws
        accepted = ~self._rule(values[0])[0] if self._followable else distances[:, 0] <= 0
        return Look(view.logits, tf.reduce_sum(distances, axis=-1), accepted)

    def _values(self, view: View) -> tf.Tensor:
        statistics, states = zip(*self._statistics, strict=True)
        return measure(statistics, view, [tensors() for tensors in states])

    def _make_hinges(self, benign: np.ndarray) -> Hinges:
        rates = (self.false_positive_rate, STRICT)
        tails = [s.tail for s, _ in self._statistics]
        if self._followable:
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
        parts = [compiled(b).numpy() for b in inputs.batches(x, self.classifier, BATCH)]
        return np.concatenate(parts).astype("float64")

    def _exact_scores(self, x: np.ndarray) -> np.ndarray:
        """Score the costs of attacks that run to their end; in a verdict they need not."""
        parts = [
            self._score_costs(self.classifier.to_unit(tf.constant(b))).numpy()
            for b in inputs.batches(x, self.classifier, BATCH)
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
    queries = 1 + draws * sum(each.queries for each in own)
    shared = draws * any(statistic.needs_gradient for statistic in statistics)
    inner = shared + draws * sum(each.gradient_evaluations for each in own)
    return Passes(queries, queries + 2 * inner)
