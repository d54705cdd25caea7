"""Orthogonal PGD: step for one goal without harm to the other."""

import dataclasses
from typing import Any, ClassVar

import tensorflow as tf

from a2d_keras.attacks.engine.margins import margin
from a2d_keras.attacks.engine.shapes import flat
from a2d_keras.redteam.pgd import Aim, ProjectedDescent, finite
from a2d_keras.redteam.selective import LEAD
from a2d_keras.statistics.base import Passes


@dataclasses.dataclass(frozen=True, kw_only=True)
class OrthogonalPGD(ProjectedDescent):
    """Orthogonal PGD (Bryniarski et al. 2021): each gradient, with the other projected out.

    It chooses between classifier and detector as `SelectivePGD` does. Then it takes away what the
    step would change, to first order, of the other loss. A step has a fixed L2 norm, since its
    sign would point elsewhere.

    Args:
        eps: As for all descents, as are the others.
        step_length: As for all descents; it is the root mean square of the first step.
        max_iterations: As for all descents.
        targets: As for all descents.
        restarts: As for all descents.
        seed: As for all descents.

    Examples:
        >>> OrthogonalPGD(restarts=2).name
        'orthogonal_pgd'
    """

    needs_gradient: ClassVar[bool] = True

    def aim(self, classifier: Any, x: tf.Tensor, labels: tf.Tensor) -> Aim:
        """Follow one loss, and leave the other as it is."""
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            look = classifier.look(x)
            loss, lag = look.loss, -margin(look.logits, labels)
        of_lag = _unit(finite(tape.gradient(lag, x), x))
        of_loss = _unit(finite(tape.gradient(loss, x), x))
        fools_not = (lag > -LEAD)[:, None]
        followed = tf.where(fools_not, of_lag, of_loss)
        other = tf.where(fools_not, of_loss, of_lag)
        along = tf.reduce_sum(followed * other, axis=-1, keepdims=True)
        along = tf.where(fools_not, 0.0, along)
        direction = tf.math.l2_normalize(followed - along * other, axis=-1)
        root = tf.sqrt(tf.cast(tf.shape(direction)[1], tf.float32))
        return Aim(lag < 0, look.accepted, loss, tf.reshape(-root * direction, tf.shape(x)))

    def looks(self, classifier: Any) -> Passes:
        """Count both gradients."""
        passes: Passes = classifier.passes
        return passes._replace(gradient_evaluations=2 * passes.gradient_evaluations)


def _unit(gradient: tf.Tensor) -> tf.Tensor:
    """Scale each gradient to length 1, or leave it 0, without underflow; (slots, values)."""
    values = flat(gradient)
    largest = tf.reduce_max(tf.abs(values), axis=-1, keepdims=True)
    return tf.math.l2_normalize(tf.math.divide_no_nan(values, largest), axis=-1)
