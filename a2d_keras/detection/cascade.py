"""The attacks on an input, one after another, until its verdict is settled."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.attacks.base import StepAttack
from a2d_keras.attacks.engine.shapes import column
from a2d_keras.classifier import Classifier
from a2d_keras.classifier.classifier import Pass
from a2d_keras.detection import report
from a2d_keras.detection.rules import CostRule
from a2d_keras.detection.state import Learned
from a2d_keras.options import RunOptions
from a2d_keras.statistics.attack_cost import AttackCost, Measured, measure
from a2d_keras.statistics.base import State
from a2d_keras.statistics.view import View

_BATCH_IN_SLOTS = 8  # inputs in a batch of arrays, as a multiple of the slots


class Cascade:
    """Attack the valid inputs, the cheapest attack first, while that can change a verdict.

    Args:
        classifier: The `Classifier`.
        costs: The `AttackCost`s, and what they have learned.
        rule: The rule, a `CostRule`, which has the order of the attacks.
        slots: Inputs under attack at once; see `RunOptions`.
    """

    def __init__(
        self,
        classifier: Classifier,
        costs: Sequence[Learned[AttackCost]],
        rule: CostRule,
        slots: int | str,
    ) -> None:
        self._classifier = classifier
        self._costs = costs
        self._rule = rule
        self._slots = slots
        self._follows_gradient = False
        signature = [
            tf.TensorSpec((None, *classifier.input_shape), tf.float32),
            tf.TensorSpec((None,), tf.bool),
        ]
        self._compiled = tf.function(self._run, input_signature=signature, autograph=False)

    def __call__(
        self, found: Pass | None, images: tf.Tensor, invalid: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Judge inputs, in the caller's graph or in an own one.

        Args:
            found: Ignored: an attack makes its own passes.
            images: Inputs, float32, (n, *input_shape).
            invalid: Which of them cannot be attacked and are flagged, bool, (n,).

        Returns:
            `is_adversarial`, `score`, `cost` and `exact`; see `DetectorLayer`.
        """
        run = self._compiled if tf.executing_eagerly() else self._run
        verdicts: dict[str, tf.Tensor] = run(images, invalid)
        return verdicts

    @property
    def attacks(self) -> tuple[StepAttack, ...]:
        """The attacks, with the parameters that they have learned."""
        return tuple(cost.statistic.fitted(cost.state) for cost in self._costs)

    def learn(self, benign: Any, adversarial: Any) -> list[State]:
        """Learn what attacks cost on benign inputs.

        Args:
            benign: Benign inputs, an array or a dataset.
            adversarial: Adversarial inputs, for a rule that needs them; else None.

        Returns:
            The state of each statistic, not yet stored.

        Raises:
            ValueError: If there are too few inputs for the false positive rate.
        """
        for x in (benign, adversarial):
            if x is not None:
                report.require_learnable(self._classifier, x, self._rule if x is benign else None)
        rate, statistics = self._rule.false_positive_rate, [cost.statistic for cost in self._costs]
        states = [s.fit(self._classifier, benign, rate, self._slots) for s in statistics]
        attacks = [s.fitted(state) for s, state in zip(statistics, states, strict=True)]
        found = self._measure(attacks, benign)
        others = None if adversarial is None else self._measure(attacks, adversarial)
        self._follows_gradient = bool(found.gradient_evaluations.any())
        passes = found.queries + found.gradient_evaluations
        self._rule.learn(found.costs, None if others is None else others.costs, passes)
        return states

    @property
    def batch_size(self) -> int:
        """The number of inputs in a batch of arrays."""
        return _BATCH_IN_SLOTS * max(self.slot_counts())

    def output_spec(self, batch: int | None) -> dict[str, keras.KerasTensor]:
        """Describe the outputs of a call.

        Args:
            batch: The number of inputs, or None.

        Returns:
            A dict of `KerasTensor`.
        """
        return {
            "is_adversarial": keras.KerasTensor((batch,), "bool"),
            "score": keras.KerasTensor((batch,), "float32"),
            "cost": keras.KerasTensor((batch, len(self._costs)), "int64"),
            "exact": keras.KerasTensor((batch,), "bool"),
        }

    def tell(self, benign: Any, verbose: int) -> None:
        """Print what was learned, and warn of what makes verdicts useless.

        Args:
            benign: The benign inputs.
            verbose: 1 prints, 0 only warns.
        """
        report.tell(self._rule.name, self.attacks, self._rule.thresholds, verbose)
        report.warn_of_randomness(self._classifier, benign)
        if self._follows_gradient:
            report.warn_of_no_gradient(self._classifier, benign)

    def slot_counts(self) -> tuple[int, ...]:
        """Return how many inputs each attack has under attack at once.

        Returns:
            A number for each attack. `"auto"` is calibrated now.
        """
        attacks = (cost.statistic.base_attack for cost in self._costs)
        return tuple(attack.count_slots(self._classifier, self._slots) for attack in attacks)

    def max_queries(self, settled: bool) -> int:
        """Return the largest number of queries that the attacks on one input can take.

        Args:
            settled: Whether attacks stop once the rule has settled the verdict.

        Returns:
            The number of queries.
        """
        total = 0
        for cost, threshold in zip(self._costs, self._rule.thresholds, strict=True):
            attack, early = cost.statistic.fitted(cost.state), settled and not cost.statistic.exact
            budget = int(threshold) if early else attack.max_iterations
            total += attack.max_queries(self._classifier, budget)
        return total

    def _run(self, images: tf.Tensor, invalid: tf.Tensor) -> dict[str, tf.Tensor]:
        low, high = self._classifier.bounds
        images = tf.clip_by_value(tf.where(column(invalid, images), low, images), low, high)
        images = self._classifier.to_unit(images)
        exact = tf.constant([cost.statistic.exact for cost in self._costs])
        count = len(self._costs)
        costs = tf.zeros([tf.shape(images)[0], count], tf.int64)

        def attack_next(place: int, costs: tf.Tensor, ended: tf.Tensor) -> tuple[Any, ...]:
            index = tf.gather(tf.convert_to_tensor(self._rule.order), place)
            going = ~invalid & (tf.gather(exact, index) | self._rule.undecided(costs))
            runs = [functools.partial(self._attack, i, images, going) for i in range(count)]
            cost, this_ended = tf.switch_case(tf.cast(index, tf.int32), runs)
            costs += cost[:, None] * tf.one_hot(index, count, dtype=tf.int64)
            return place + 1, costs, ended & this_ended

        _, costs, ended = tf.while_loop(
            lambda place, *_: place < count, attack_next, (0, costs, ~invalid)
        )
        flagged, score = self._rule(costs)
        return {
            "is_adversarial": flagged | invalid,
            "score": tf.where(invalid, np.nan, score),
            "cost": costs,
            "exact": ended,
        }

    def _attack(
        self, index: int, images: tf.Tensor, going: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Run one attack on some of the inputs. The others have cost 0 and have not ended."""
        cost = self._costs[index].statistic
        limit = tf.constant(cost.max_iterations, tf.int64)
        rows = tf.where(going)
        view = View(self._classifier, tf.gather(images, rows[:, 0]), slots=self._slots)
        budget = limit if cost.exact else self._rule.budgets[index]
        result = cost.run(view, self._costs[index].tensors(), budget)
        ended = result.success | (result.cost >= limit)
        size = tf.shape(going, tf.int64)
        return tf.scatter_nd(rows, result.cost, size), tf.scatter_nd(rows, ended, size)

    def _measure(self, attacks: Sequence[StepAttack], x: Any) -> Measured:
        return measure(self._classifier, attacks, x, options=RunOptions(slots=self._slots))
