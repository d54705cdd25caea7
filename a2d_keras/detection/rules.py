"""Fingerprints to verdicts inside a TensorFlow graph: what a detector learned, as weights.

A verdict knows for every attack how many steps settle its say (its budget), in which order attacks
settle the most for the least, and for an input that not all attacks have seen yet whether the rest
could still change the outcome.
"""

import abc
import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.attacks import StepAttack
from a2d_keras.detection.zscore import ZScoreDetector, rows_needed
from a2d_keras.validation import require_rate

_MOST_REFERENCES = 10_000


class Verdict(keras.layers.Layer, abc.ABC):
    """Fingerprints to verdicts: the face that `DetectorLayer` knows.

    Args:
        max_iterations: The most steps of each attack, a sequence of int.
        false_positive_rate: The rate of benign inputs that may be flagged.

    Attributes:
        budgets: Steps after which nothing more is to be learned, an int64 weight, (attacks,).
        order: The attacks from the first to run to the last, an int64 weight, (attacks,).
        benign_costs: How many benign inputs had each cost from 0 up, an int64 weight,
            (attacks, most + 1).
        needs_adversarial: Whether it learns from adversarial inputs beside benign ones.
    """

    needs_adversarial = False

    def __init__(self, max_iterations: Sequence[int], false_positive_rate: float) -> None:
        super().__init__(dtype="float32", autocast=False)
        require_rate(false_positive_rate)
        self.max_iterations = tuple(max_iterations)
        self.false_positive_rate = false_positive_rate
        attacks, most = len(self.max_iterations), max(self.max_iterations)
        self.budgets = self._state("budgets", (attacks,), "int64")
        self.order = self._state("order", (attacks,), "int64")
        self.benign_costs = self._state("benign_costs", (attacks, most + 1), "int64")
        self.built = True

    def require_kinds(self, adversarial: bool) -> None:
        """Refuse to learn from the wrong kinds of inputs, before their costs are measured.

        Args:
            adversarial: Whether adversarial inputs are given, beside benign ones.

        Raises:
            ValueError: If they are missing, or not wanted.
        """
        if adversarial != self.needs_adversarial:
            wanted = "benign and adversarial" if self.needs_adversarial else "only benign"
            given = "benign and adversarial" if adversarial else "only benign"
            raise ValueError(
                f"{type(self).__name__} learns from {wanted} inputs. Received: {given} inputs"
            )

    def learn(
        self,
        benign: np.ndarray,
        adversarial: np.ndarray | None = None,
        passes: np.ndarray | None = None,
    ) -> None:
        """Learn from fingerprints, and keep how often each benign cost came.

        Args:
            benign: Costs of benign inputs, int64, (n, attacks).
            adversarial: Costs of adversarial inputs, likewise. Defaults to None.
            passes: Passes through the classifier that each benign cost took, int64, likewise.
                Defaults to one a step.
        """
        self._learn(benign, adversarial)
        self.order.assign(self._cheapest_order(benign, benign if passes is None else passes))
        most = max(self.max_iterations)
        counts = [np.bincount(costs, minlength=most + 1) for costs in benign.T]
        self.benign_costs.assign(np.stack(counts))

    def _cheapest_order(self, costs: np.ndarray, passes: np.ndarray) -> tuple[int, ...]:
        """Find the order of attacks that settles the verdicts of these inputs in fewest passes."""
        seen_costs = np.minimum(costs, keras.ops.convert_to_numpy(self.budgets))
        passes = passes * seen_costs // costs
        attacks = range(costs.shape[1])

        @functools.cache
        def cheapest(seen: frozenset[int]) -> tuple[int, tuple[int, ...]]:
            """Go on from where some attacks have run: the passes to come, and the order."""
            known = np.where([attack in seen for attack in attacks], seen_costs, 0)
            going = self.undecided(tf.constant(known, tf.int64)).numpy()
            ways = []
            for attack in set(attacks) - seen:
                price, order = cheapest(seen | {attack})
                ways.append((price + int(passes[going, attack].sum()), (attack, *order)))
            return min(ways, default=(0, ()))

        return cheapest(frozenset())[1]

    @abc.abstractmethod
    def _learn(self, benign: np.ndarray, adversarial: np.ndarray | None) -> None:
        """Learn from fingerprints; see `learn`."""

    @abc.abstractmethod
    def undecided(self, costs: tf.Tensor) -> tf.Tensor:
        """Tell which verdicts an attack that has not started could still change.

        Args:
            costs: Costs, int64, (n, attacks); 0 for an attack that has not started.

        Returns:
            Whether to go on, bool, (n,).
        """

    @abc.abstractmethod
    def call(self, costs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Give the verdicts.

        Args:
            costs: Costs, int64, (n, attacks); 0 for an attack that was not needed.

        Returns:
            Whether each input is adversarial, bool, (n,), and its score, float32, (n,), higher
            is more adversarial.
        """

    def _state(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        return self.add_weight(
            name=name, shape=shape, dtype=dtype, initializer="zeros", trainable=False
        )


class ZScoreVerdict(Verdict):
    """The verdict of a `ZScoreDetector`, whose z-scores are tabled for every possible cost."""

    def __init__(self, max_iterations: Sequence[int], false_positive_rate: float) -> None:
        super().__init__(max_iterations, false_positive_rate)
        attacks, most = len(self.max_iterations), max(self.max_iterations)
        self._k = -(-attacks // 2)
        self._table = self._state("z_scores", (attacks, most + 1), "float64")
        self._h = self._state("h", (), "float64")

    def _learn(self, benign: np.ndarray, adversarial: np.ndarray | None) -> None:
        """Learn from benign fingerprints."""
        needed = rows_needed(self.false_positive_rate, benign.shape[1])
        if len(benign) < needed:
            raise ValueError(
                f"A false positive rate of {self.false_positive_rate} needs at least {needed} "
                f"benign inputs. Received: {len(benign)}"
            )
        detector = ZScoreDetector(false_positive_rate=self.false_positive_rate, k=self._k)
        detector.fit(benign)
        every_cost = np.arange(self._table.shape[1], dtype="float64")
        z_scores = detector.z_scores(np.stack([every_cost] * benign.shape[1], axis=1))
        self._table.assign(z_scores.T)
        self._h.assign(detector.offset_)
        says_benign = z_scores[1:] >= detector.offset_
        first = np.where(says_benign.any(axis=0), says_benign.argmax(axis=0) + 1, len(z_scores))
        self.budgets.assign(np.minimum(first, self.max_iterations))

    def undecided(self, costs: tf.Tensor) -> tf.Tensor:
        """Tell which verdicts an attack that has not started could still change."""
        low, high = self._score_bounds(costs)
        return (low < self._h) & (high >= self._h)

    def call(self, costs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Give the verdicts; the score is the k-th largest z-score, negated."""
        low, high = self._score_bounds(costs)
        flagged = high < self._h
        return flagged, tf.cast(-tf.where(flagged, high, low), tf.float32)

    def _score_bounds(self, costs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Bound the k-th largest z-score, whatever the attacks that have not started find."""
        table = tf.convert_to_tensor(self._table)
        z_scores = tf.transpose(tf.gather(table, tf.transpose(costs), batch_dims=1))
        return tuple(
            tf.sort(tf.where(costs > 0, z_scores, unknown), axis=-1)[:, -self._k]
            for unknown in (-np.inf, np.inf)
        )


class NeighborsVerdict(Verdict):
    """The verdict of the K nearest fingerprints (Zhao et al. 2021, Section 4.1), K = min(100, n).

    Costs are whole numbers and tie by the hundred. Neighbours nearer than the K-th distance count
    one each; those at the K-th distance share the places that are left, so that no vote depends
    on the order of rows. Where no tie crosses the K-th place it is scikit-learn's vote.
    """

    needs_adversarial = True

    def __init__(self, max_iterations: Sequence[int], false_positive_rate: float) -> None:
        super().__init__(max_iterations, false_positive_rate)
        attacks = len(self.max_iterations)
        self._references = self._state("references", (_MOST_REFERENCES, attacks), "int64")
        self._adversarial = self._state("adversarial", (_MOST_REFERENCES,), "int64")
        self._count = self._state("count", (), "int64")

    def _learn(self, benign: np.ndarray, adversarial: np.ndarray | None) -> None:
        """Keep the fingerprints of benign and adversarial inputs."""
        assert adversarial is not None
        references = np.concatenate([benign, adversarial])
        spare = _MOST_REFERENCES - len(references)
        if spare < 0:
            raise ValueError(
                f"A K-nearest-neighbours detector keeps at most {_MOST_REFERENCES} fingerprints; "
                f"adapt it on fewer inputs. Received: {len(references)}"
            )
        labels = np.arange(len(references)) >= len(benign)
        self._references.assign(np.pad(references, ((0, spare), (0, 0))))
        self._adversarial.assign(np.pad(labels, (0, spare)))
        self._count.assign(len(references))
        self.budgets.assign(self._settling_costs())

    def undecided(self, costs: tf.Tensor) -> tf.Tensor:
        """Tell which verdicts an attack that has not started could still change: all."""
        return tf.reduce_any(costs == 0, axis=-1)

    def call(self, costs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Give the verdicts; the score is the share of adversarial neighbours."""
        count = tf.convert_to_tensor(self._count)
        references, labels = self._references[:count], self._adversarial[:count]
        k = tf.minimum(count, 100)
        distances = _squared_distances(costs, references)
        kth = tf.sort(distances, axis=-1)[:, k - 1, None]
        nearer, level = distances < kth, distances == kth
        votes = tf.reduce_sum(tf.where(nearer, labels, 0), axis=-1)
        level_votes = tf.reduce_sum(tf.where(level, labels, 0), axis=-1)
        places = k - tf.math.count_nonzero(nearer, axis=-1)
        # In whole numbers, as an even vote must not hang on a rounding.
        share = votes * tf.math.count_nonzero(level, axis=-1) + places * level_votes
        whole = k * tf.math.count_nonzero(level, axis=-1)
        return 2 * share > whole, tf.cast(share / whole, tf.float32)

    def _settling_costs(self) -> np.ndarray:
        """Find the cost beyond which no vote changes; with several attacks there is none."""
        if len(self.max_iterations) > 1:
            return np.array(self.max_iterations)
        every_cost = np.arange(1, self.max_iterations[0] + 1)[:, None]
        flagged = self.call(tf.constant(every_cost, tf.int64))[0].numpy()
        changes = np.flatnonzero(flagged[1:] != flagged[:-1])
        return np.array([changes[-1] + 2 if len(changes) else 1])


def _squared_distances(costs: tf.Tensor, references: tf.Tensor) -> tf.Tensor:
    """Compute squared Euclidean distances, in float64, exact for whole numbers below 2**26."""
    a, b = tf.cast(costs, tf.float64), tf.cast(references, tf.float64)
    squares = tf.reduce_sum(a * a, axis=-1)[:, None] + tf.reduce_sum(b * b, axis=-1)
    return squares - 2 * tf.matmul(a, b, transpose_b=True)


VERDICTS = {"zscore": ZScoreVerdict, "knn": NeighborsVerdict}


def make_verdict(
    detector: str, attacks: Sequence[StepAttack], false_positive_rate: float
) -> Verdict:
    """Make the verdict of a detector that has learned nothing yet.

    Args:
        detector: `"zscore"` or `"knn"`.
        attacks: The attacks.
        false_positive_rate: The rate of benign inputs that may be flagged.

    Returns:
        The `Verdict`.

    Raises:
        ValueError: If `detector` is neither.
    """
    if detector not in tuple(VERDICTS):
        raise ValueError(f'`detector` must be "zscore" or "knn". Received: {detector!r}')
    return VERDICTS[detector]([attack.max_iterations for attack in attacks], false_positive_rate)
