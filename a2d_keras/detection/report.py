"""What `adapt` has to say of what it found."""

import warnings
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from a2d_keras.attacks.base import StepAttack
from a2d_keras.attacks.engine.shapes import flat
from a2d_keras.attacks.gradient_sign import cross_entropy_direction
from a2d_keras.classifier import Classifier

_MIN_THRESHOLD = 3
_FLAT_SHARE = 0.5


def print_thresholds(rule: str, attacks: Sequence[StepAttack], thresholds: Sequence[int]) -> None:
    """Print how many steps of each attack settle a verdict.

    Args:
        rule: The rule's name.
        attacks: The attacks.
        thresholds: The steps of each.
    """
    for attack, threshold in zip(attacks, thresholds, strict=True):
        print(f"{rule} adapted: {threshold} steps settle a verdict of {attack}")


def warn_of_thresholds(attacks: Sequence[StepAttack], thresholds: np.ndarray) -> None:
    """Warn where benign inputs withstand so few steps that nothing can be told.

    Args:
        attacks: The attacks.
        thresholds: The smallest benign cost of each, int64, (attacks,).
    """
    if (thresholds < _MIN_THRESHOLD).any():
        warnings.warn(
            "Benign inputs withstand so few steps that nearly nothing can be flagged; take smaller "
            "steps (`eps_iter`), or let `attacks=None` choose them. "
            f"Received: thresholds {thresholds} for {attacks}",
            stacklevel=4,
        )


def warn_of_no_gradient(classifier: Classifier, benign: np.ndarray) -> None:
    """Warn where attacks that follow the gradient find none to follow.

    Args:
        classifier: The `Classifier`.
        benign: Benign inputs, float32, (n, *input_shape).
    """
    logits, pullback = classifier.unit.vjp(classifier.to_unit(tf.constant(benign)))
    gradient = pullback(cross_entropy_direction(logits, tf.argmax(logits, axis=-1)))
    flat_rows = int(np.count_nonzero(tf.reduce_all(flat(gradient) == 0, axis=-1)))
    if flat_rows > _FLAT_SHARE * len(benign):
        warnings.warn(
            "The classifier's gradient is zero, so attacks that follow it find nothing and every "
            "input looks robust: guard it with an attack that needs labels alone, "
            f"`attacks=[a2d_keras.DBA()]`. Received: {classifier.model.name!r}, with a gradient "
            f"of zero on {flat_rows} of {len(benign)} benign inputs",
            stacklevel=4,
        )
