"""The attacks on an input, one after another, until its verdict is settled."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from a2d_keras.attacks.engine.shapes import column
from a2d_keras.attacks.engine.slots import SlotLoop, Task
from a2d_keras.classifier import Classifier
from a2d_keras.detection.rules import Rule
from a2d_keras.detection.state import LearnedCost, values


class Cascade:
    """Attack the valid inputs, the cheapest attack first, while that can change a verdict.

    Args:
        classifier: The `Classifier`.
        costs: The learned attack costs.
        rule: The `Rule`, which has the order of the attacks.
        slots: Inputs under attack at once; see `RunOptions`.
    """

    def __init__(
        self, classifier: Classifier, costs: Sequence[LearnedCost], rule: Rule, slots: int | str
    ) -> None:
        self._classifier = classifier
        self._costs = costs
        self._rule = rule
        self._slots = slots
        signature = [
            tf.TensorSpec((None, *classifier.input_shape), tf.float32),
            tf.TensorSpec((None,), tf.bool),
        ]
        self._compiled = tf.function(self._run, input_signature=signature, autograph=False)

    def __call__(self, images: tf.Tensor, invalid: tf.Tensor) -> dict[str, tf.Tensor]:
        """Judge inputs, in the caller's graph or in an own one.

        Args:
            images: Inputs, float32, (n, *input_shape).
            invalid: Which of them cannot be attacked and are flagged, bool, (n,).

        Returns:
            `is_adversarial`, `score`, `cost` and `exact`; see `DetectorLayer`.
        """
        run = self._compiled if tf.executing_eagerly() else self._run
        verdicts: dict[str, tf.Tensor] = run(images, invalid)
        return verdicts

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
        for cost, threshold in zip(self._costs, values(self._rule.budgets), strict=True):
            attack, early = cost.attack, settled and not cost.statistic.exact
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
        cost = self._costs[index]
        attack = cost.statistic.base_attack
        limit = tf.constant(attack.max_iterations, tf.int64)
        rows = tf.where(going)
        task = Task(
            x=tf.gather(images, rows[:, 0]),
            targets=tf.zeros_like(rows[:, 0]),
            budget=limit if cost.statistic.exact else self._rule.budgets[index],
            max_iterations=limit,
            parameters=cost.parameters(self._classifier),
        )
        slots = self.slot_counts()[index]
        result = SlotLoop(attack, self._classifier.unit, slots, images=False).run(task)
        ended = result.success | (result.cost >= limit)
        size = tf.shape(going, tf.int64)
        return tf.scatter_nd(rows, result.cost, size), tf.scatter_nd(rows, ended, size)
