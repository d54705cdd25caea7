"""Selective PGD: fool the classifier first, then the detector."""

import dataclasses
from typing import Any, ClassVar

import tensorflow as tf

from a2d_keras.attacks.engine.margins import margin
from a2d_keras.redteam.pgd import Aim, ProjectedDescent, finite

LEAD = 0.05  # of the target, in logits, from which on the detector is the goal


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelectivePGD(ProjectedDescent):
    """Selective PGD (Bryniarski et al. 2021): each step follows one loss, never their sum.

    While the target does not lead by 0.05 in logits, a step raises its lead; else it lowers the
    loss of the detector.

    Args:
        eps: As for all descents, as are the others.
        step_length: As for all descents.
        max_iterations: As for all descents.
        targets: As for all descents.
        restarts: As for all descents.
        seed: As for all descents.

    Examples:
        >>> SelectivePGD(eps=0.1, max_iterations=1000).name
        'selective_pgd'
    """

    needs_gradient: ClassVar[bool] = True

    def aim(self, classifier: Any, x: tf.Tensor, labels: tf.Tensor) -> Aim:
        """Follow the one loss that is not yet low enough."""
        with tf.GradientTape() as tape:
            tape.watch(x)
            look = classifier.look(x)
            leads = margin(look.logits, labels)
            goal = tf.where(leads < LEAD, -leads, look.loss)
        step = -tf.sign(finite(tape.gradient(goal, x), x))
        return Aim(leads > 0, look.accepted, look.loss, step)
