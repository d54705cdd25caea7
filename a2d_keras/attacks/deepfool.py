"""DeepFool: step to the nearest boundary of a linearised classifier."""

import dataclasses
import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.attacks.base import StepAttack
from a2d_keras.attacks.engine.shapes import column
from a2d_keras.attacks.engine.slots import Slots
from a2d_keras.classifier import Classifier
from a2d_keras.validation import require_positive, require_whole

_MIN_MOVE = 1e-4  # shortest move that leaves a boundary, as a fraction of the input range


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepFool(StepAttack):
    """DeepFool (Moosavi-Dezfooli et al. 2016, Algorithm 2 and Section 3.3), L2 or L-inf.

    Each step linearises the classifier and moves to the nearest boundary between the label and
    another class, by the shortest way in the norm. The iterate is the input plus the sum of the
    moves, overshot a little in order to cross, and clipped to the bounds. No move is shorter than
    1e-4 of the input range, since an input on a boundary, or one that clipping holds back, would
    never cross it. An input cannot move, and resists, if no gap between logits has a gradient.

    Args:
        norm: The norm to keep small: 2 or `np.inf`. Defaults to 2.
        overshoot: Share by which the sum of the moves is overshot. Defaults to 0.02.
        candidates: The number of classes to consider, the most likely ones for the input, with the
            label. If there are fewer, all are considered. A step runs a backward pass for each
            class except the label. Defaults to 10.
        max_iterations: Steps after which an input counts as resisting. Defaults to 50.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> DeepFool()(Classifier(model), np.full((2, 4), 0.5)).adversarial.shape
        (2, 4)
    """

    traced = ("overshoot", "max_iterations")

    norm: float = 2.0
    overshoot: float = 0.02
    candidates: int = 10
    max_iterations: int = 50
    targeted: bool = dataclasses.field(default=False, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in (2, np.inf):
            raise ValueError(f"`norm` must be 2 or np.inf. Received: {self.norm}")
        object.__setattr__(self, "norm", float(self.norm))
        require_positive("overshoot", self.overshoot)
        require_whole("candidates", self.candidates, minimum=2)

    def start(self, classifier: Classifier, inputs: tf.Tensor) -> Any:
        """Begin with no moves, and with zeros for the classes that the first step finds."""
        others = tf.zeros([tf.shape(inputs)[0], self.candidates - 1], tf.int64)
        return {"total": tf.zeros_like(inputs), "others": others}

    def step(self, classifier: Classifier, slots: Slots) -> tuple[Slots, tf.Tensor]:
        """Take one step in every slot; see `StepAttack.step`."""
        logits, pullback = classifier.vjp(slots.x)
        predicted, first = tf.argmax(logits, axis=-1), slots.steps == 0
        labels = tf.where(first, predicted, slots.labels)
        count = min(self.candidates, classifier.classes)
        likely = tf.cast(tf.math.top_k(logits, count).indices[:, 1:], tf.int64)
        likely = tf.pad(likely, [[0, 0], [0, self.candidates - count]])
        others = tf.where(first[:, None], likely, slots.state["others"])

        def boundary(other: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            sides = tf.one_hot(labels, classifier.classes) - tf.one_hot(other, classifier.classes)
            return self._boundary(tf.reduce_sum(sides * logits, axis=-1), pullback(sides))

        boundaries = [boundary(other) for other in tf.unstack(others, axis=1)[: count - 1]]
        distance, direction = functools.reduce(_nearer, boundaries)
        reachable = tf.math.is_finite(distance)
        length = tf.maximum(distance, _MIN_MOVE * classifier.range)
        move = column(tf.where(reachable, length, 0.0), direction) * direction
        total = slots.state["total"] + move
        x = slots.inputs + tf.cast(1 + self.overshoot, tf.float32) * total
        after = slots._replace(
            x=tf.clip_by_value(x, *classifier.bounds),
            labels=labels,
            steps=slots.steps + 1,
            queries=slots.queries + 1,
            gradient_evaluations=slots.gradient_evaluations + len(boundaries),
            exhausted=~reachable,
            state={"total": total, "others": others},
        )
        return after, predicted != labels

    def _boundary(self, gap: tf.Tensor, gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Find where a gap between two logits would close if it were linear.

        Args:
            gap: The gap, (slots,).
            gradient: Its gradient, (slots, *input_shape).

        Returns:
            The distance, (slots,), infinite if the gradient is zero; and the direction, of length
            one in the norm, like `gradient`.
        """
        axes = list(range(1, len(gradient.shape)))
        largest = tf.reduce_max(tf.abs(gradient), axes, keepdims=True)
        unit = tf.math.divide_no_nan(gradient, largest)  # so that no square underflows
        if self.norm == 2:
            size = tf.sqrt(tf.reduce_sum(unit**2, axes, keepdims=True))
            direction = tf.math.divide_no_nan(unit, size)
        else:
            size = tf.reduce_sum(tf.abs(unit), axes, keepdims=True)
            direction = tf.sign(unit)
        slope = tf.reshape(largest * size, tf.shape(gap))
        distance = tf.where(slope > 0, tf.math.divide_no_nan(gap, slope), np.inf)
        return distance, -direction


def _nearer(
    one: tuple[tf.Tensor, tf.Tensor], other: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Choose, for every slot, the nearer of two boundaries, given as distance and direction."""
    swap = other[0] < one[0]
    return tf.where(swap, other[0], one[0]), tf.where(column(swap, one[1]), other[1], one[1])
