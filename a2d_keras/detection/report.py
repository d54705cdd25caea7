"""Messages of a detector."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.attacks.base import StepAttack
from a2d_keras.attacks.engine.shapes import flat
from a2d_keras.attacks.gradient_sign import cross_entropy_direction
from a2d_keras.classifier import Classifier
from a2d_keras.detection.rules import Rule
from a2d_keras.progress import stage
from a2d_keras.validation import require
from a2d_keras.warn import warn

_MIN_THRESHOLD = 3
_TRIED_INPUTS = 16  # an eager gradient holds all activations
_FLAT_SHARE = 0.5
_RANDOM_SHARE = 0.5
_SAME = 0.01  # of the range of an input's logits; more than rounding changes
_BATCH = 128
_MIN_SHARE = 1 / 32  # of the range between the bounds, that inputs should take up


def tell(rule: str, attacks: Sequence[StepAttack], thresholds: np.ndarray, verbose: int) -> None:
    """Print how many steps of each attack settle a verdict, and warn if they are too few.

    Args:
        rule: The rule's name.
        attacks: The attacks.
        thresholds: The steps of each, int64, (attacks,).
        verbose: 1 prints them, 0 only warns.
    """
    if verbose:
        for attack, threshold in zip(attacks, thresholds, strict=True):
            print(f"{rule} adapted: {threshold} steps settle a verdict of {attack}")
    if (thresholds < _MIN_THRESHOLD).any():
        warn(
            "Benign inputs withstand so few steps that nearly nothing can be flagged; use smaller "
            "steps (`eps_iter`), or let `attacks=None` choose them. "
            f"Received: thresholds {thresholds} for {attacks}"
        )


def warn_of_no_gradient(classifier: Classifier, benign: Any) -> None:
    """Warn if the gradient is zero, so that attacks cannot follow it.

    Args:
        classifier: The `Classifier`.
        benign: Benign inputs, an array or a dataset.
    """
    x = inputs.first(benign, classifier, _TRIED_INPUTS)
    logits, pullback = classifier.unit.vjp(classifier.to_unit(tf.constant(x)))
    gradient = pullback(cross_entropy_direction(logits, tf.argmax(logits, axis=-1)))
    flat_rows = int(np.count_nonzero(tf.reduce_all(flat(gradient) == 0, axis=-1)))
    if flat_rows > _FLAT_SHARE * len(x):
        warn(
            "The classifier's gradient is zero, so attacks that follow it find nothing and every "
            "input looks robust: guard it with an attack that needs labels only, "
            f"`attacks=[a2d_keras.DBA()]`. Received: {classifier.model.name!r}, with a gradient "
            f"of zero on {flat_rows} of {len(x)} benign inputs"
        )


def warn_of_randomness(classifier: Classifier, benign: Any) -> None:
    """Warn if the classifier answers the same inputs differently.

    Args:
        classifier: The `Classifier`.
        benign: Benign inputs, an array or a dataset.
    """
    x = tf.constant(inputs.first(benign, classifier, _TRIED_INPUTS))
    once, again = classifier.logits(x).numpy(), classifier.logits(x).numpy()
    differs = np.abs(once - again).max(axis=1) > _SAME * np.ptp(once, axis=1)
    if np.count_nonzero(differs) > _RANDOM_SHARE * len(x):
        warn(
            "The classifier answers the same input differently, so it is too fragile to guard "
            "well: switch off what is random in it, such as dropout with `training=True`. "
            f"Received: {classifier.model.name!r}, with other logits in a second call for "
            f"{np.count_nonzero(differs)} of {len(x)} benign inputs"
        )


def require_trusted(trusted: tf.Tensor) -> None:
    """Refuse inputs for which the classifier has no finite prediction. Graph code.

    Args:
        trusted: Whether the prediction for each input is finite, bool, (n,).

    Raises:
        ValueError: If a prediction is not finite. In a graph, `tf.errors.InvalidArgumentError`.
    """
    wrong = tf.math.count_nonzero(~trusted)
    require(
        wrong == 0,
        tf.strings.format(
            "The classifier gives no finite prediction, so these inputs cannot be judged; "
            '`on_invalid="flag"` flags them. Received: {} of {} inputs',
            (wrong, tf.size(trusted)),
        ),
    )


def require_learnable(classifier: Classifier, x: Any, rule: Rule | None) -> None:
    """Refuse inputs that nothing can be learned from, before any work is done.

    It counts the inputs, and warns if they take up little of the range between the bounds.

    Args:
        classifier: The `Classifier`.
        x: Inputs, an array or a dataset.
        rule: The rule that learns from them; None for adversarial inputs.

    Raises:
        ValueError: If they are too few, or the logits of an input are not finite.
    """
    count = wrong = 0
    low, high = np.inf, -np.inf
    known = inputs.count(inputs.as_inputs(x, classifier))
    if rule is not None and known is not None and not inputs.is_dataset(x):  # which may have grown
        rule.require_enough(known)
    with stage("checking inputs", known) as update:
        for batch in inputs.batches(x, classifier, _BATCH):
            trusted = classifier.trusted(classifier.logits(batch))
            count, wrong = count + len(batch), wrong + int(np.count_nonzero(~trusted))
            if len(batch):
                low, high = min(low, np.min(batch)), max(high, np.max(batch))
            update(count)
    inputs.remember_count(x, count)
    if rule is not None:
        rule.require_enough(count)
        _warn_of_scale(classifier, low, high)
    if wrong:
        raise ValueError(
            "The classifier gives no finite prediction, so nothing can be learned from these "
            f"inputs: leave them out. Received: {wrong} of {count} inputs"
        )


def _warn_of_scale(classifier: Classifier, low: float, high: float) -> None:
    """Warn if inputs take up little of the range, such as 0 to 1 of 0 to 255."""
    bounds = classifier.bounds
    if isinstance(bounds[1], float) and high - low < _MIN_SHARE * (bounds[1] - bounds[0]):
        warn(
            "Benign inputs take up little of the range between the bounds, which is the scale of "
            "every step and distance: set `bounds` to the range that the classifier was trained "
            f"on. Received: inputs from {low:.4g} to {high:.4g}, and bounds={bounds}"
        )
