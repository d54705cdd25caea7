"""The statistics of an input, and the verdict of a rule on all of them."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.attacks.engine.shapes import column
from a2d_keras.classifier import Classifier
from a2d_keras.classifier.classifier import Pass
from a2d_keras.detection import report
from a2d_keras.detection.rules import Fisher
from a2d_keras.detection.state import Learned
from a2d_keras.options import inputs_per_pass
from a2d_keras.progress import stage
from a2d_keras.statistics.attack_cost import AttackCost
from a2d_keras.statistics.base import State, Statistic, Tensors
from a2d_keras.statistics.fingerprints import measure
from a2d_keras.statistics.view import View

_MAX_FITTED = 10_000  # benign inputs that statistics learn from


class Scorer:
    """Measure every statistic of an input, and judge all of them at once.

    Args:
        classifier: The `Classifier`.
        learned: The statistics, and what they have learned.
        rule: The rule, a `Fisher`.
        slots: Inputs in a pass; see `RunOptions`.
    """

    def __init__(
        self,
        classifier: Classifier,
        learned: Sequence[Learned[Statistic]],
        rule: Fisher,
        slots: int | str,
    ) -> None:
        self._classifier = classifier
        self._learned = learned
        self._rule = rule
        self._slots = slots
        x = tf.TensorSpec((None, *classifier.input_shape), tf.float32)
        self._compiled_judge = tf.function(
            lambda images, invalid: self._judge(None, images, invalid),
            input_signature=[x, tf.TensorSpec((None,), tf.bool)],
            autograph=False,
        )
        self._compiled_measure = tf.function(
            self._measure_with,
            input_signature=[x, [each.specs() for each in learned]],
            autograph=False,
        )

    def __call__(
        self, found: Pass | None, images: tf.Tensor, invalid: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Judge inputs, in the caller's graph or in an own one.

        Args:
            found: The classifier's pass over the images; None if the predictions come from another
                computation.
            images: Inputs, float32, (n, *input_shape).
            invalid: Which of them cannot be judged and are flagged, bool, (n,).

        Returns:
            `is_adversarial`, `score`, `cost`, `p_value` and `statistics`; see `DetectorLayer`.
        """
        if not tf.executing_eagerly():
            return self._judge(found, images, invalid)
        verdicts: dict[str, tf.Tensor] = self._compiled_judge(images, invalid)
        return verdicts

    def learn(self, benign: Any, adversarial: None) -> list[State]:
        """Learn from benign inputs: the statistics and the ranks from half, the rest from half.

        Args:
            benign: Benign inputs, an array or a dataset. Every other one is for the first half.
            adversarial: None: the rule learns from benign inputs only.

        Returns:
            The state of each statistic, not yet stored.

        Raises:
            ValueError: If there are too few inputs for the false positive rate.
        """
        report.require_learnable(self._classifier, benign, self._rule)
        states = self._fit(inputs.every_other(benign, self._classifier, _MAX_FITTED))
        values = self._values(benign, states)
        self._rule.learn(values[::2], values[1::2])
        return states

    @property
    def batch_size(self) -> int:
        """The number of inputs in a batch of arrays."""
        return inputs_per_pass(self._slots)

    def tell(self, benign: Any, verbose: int) -> None:
        """Print what was learned, and warn of what makes verdicts useless.

        Args:
            benign: The benign inputs.
            verbose: 1 prints, 0 only warns.
        """
        if verbose:
            print(f"{self._rule.name} adapted: {self._rule.count} benign inputs calibrate p-values")
            for each in self._learned:
                print(f"  {each.statistic.describe(self._classifier, each.state)}")
        report.warn_of_randomness(self._classifier, benign)
        if any(each.statistic.needs_gradient for each in self._learned):
            report.warn_of_no_gradient(self._classifier, benign)

    def slot_counts(self) -> tuple[int, ...]:
        """Return how many inputs each attack has under attack at once.

        Returns:
            A number for each `AttackCost`. `"auto"` is calibrated now.
        """
        costs = [e.statistic for e in self._learned if isinstance(e.statistic, AttackCost)]
        return tuple(c.base_attack.count_slots(self._classifier, self._slots) for c in costs)

    def max_queries(self, settled: bool) -> int:
        """Return the largest number of queries that an input can take, beside its prediction.

        Args:
            settled: Ignored: no statistic ends early.

        Returns:
            The number of queries.
        """
        return sum(each.statistic.passes(self._classifier).queries for each in self._learned)

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
            "cost": keras.KerasTensor((batch, len(self._learned)), "int64"),
            "p_value": keras.KerasTensor((batch,), "float32"),
            "statistics": keras.KerasTensor((batch, len(self._learned)), "float32"),
        }

    def _judge(
        self, found: Pass | None, images: tf.Tensor, invalid: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        low, high = self._classifier.bounds
        images = tf.clip_by_value(tf.where(column(invalid, images), low, images), low, high)
        if found is None:
            view = View.of(self._classifier, images, slots=self._slots)
        else:
            view = View(self._classifier, images, found, slots=self._slots)
        values = self._measure(view, [each.tensors() for each in self._learned])
        flagged, score, p_value = self._rule(values)
        return {
            "is_adversarial": flagged | invalid,
            "score": tf.where(invalid, np.nan, score),
            "cost": tf.where(invalid[:, None], tf.constant(0, tf.int64), self._costs(values)),
            "p_value": tf.where(invalid, 0.0, p_value),
            "statistics": tf.where(invalid[:, None], np.nan, values),
        }

    def _costs(self, values: tf.Tensor) -> tf.Tensor:
        """Return the steps that attacks took, and the queries of the other statistics."""
        columns = [
            values[:, place]
            if isinstance(each.statistic, AttackCost)
            else tf.fill(tf.shape(values)[:1], each.statistic.passes(self._classifier).queries)
            for place, each in enumerate(self._learned)
        ]
        return tf.stack([tf.cast(column, tf.int64) for column in columns], axis=-1)

    def _measure_with(self, x: tf.Tensor, states: list[Tensors]) -> tf.Tensor:
        return self._measure(View.of(self._classifier, x, slots=self._slots), states)

    def _measure(self, view: View, states: list[Tensors]) -> tf.Tensor:
        return measure([each.statistic for each in self._learned], view, states)

    def _fit(self, x: np.ndarray) -> list[State]:
        """Let all statistics learn."""
        states, count = [], len(self._learned)
        with stage("learning statistics", count, unit="statistic") as update:
            for number, each in enumerate(self._learned, 1):
                rate = self._rule.false_positive_rate
                states.append(each.statistic.fit(self._classifier, x, rate, self._slots))
                update(number)
        return states

    def _values(self, x: Any, states: list[State]) -> np.ndarray:
        """Measure all statistics of all inputs."""
        parts, done = [], 0
        with stage("measuring statistics", inputs.count(x)) as update:
            for batch in inputs.batches(x, self._classifier, self.batch_size):
                parts.append(self._compiled_measure(batch, states).numpy())
                done += len(batch)
                update(done)
        return np.concatenate(parts)
