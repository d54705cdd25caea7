"""Find the step of BIM that suits a classifier, on benign inputs."""

import math

import numpy as np

from a2d_keras.attacks.gradient_sign import BIM
from a2d_keras.classifier import Classifier
from a2d_keras.progress import stage
from a2d_keras.warn import warn

FIRST_STEP = 0.0006  # of the input range; the paper's value for MNIST
MAX_INPUTS = 1000  # benign inputs to choose the step on

_ROOM = 20  # steps that all but a few benign inputs should withstand
_MAX_HALVINGS = 30
_MIN_ULPS = 4  # a step must stay this far above the resolution of float32


def choose_step(
    classifier: Classifier, benign: np.ndarray, false_positive_rate: float, slots: int | str
) -> BIM:
    """Halve BIM's step until nearly all benign inputs withstand 20 steps.

    Halving ends when float32's resolution would swallow a step in half of the values. If even
    that step is too long, there is a warning.

    Args:
        classifier: The `Classifier`.
        benign: Benign inputs, float32, (n, *input_shape).
        false_positive_rate: The share of them that may flip in fewer than 20 steps.
        slots: Inputs under attack at once; see `RunOptions`.

    Returns:
        The attack.
    """
    weak, allowed = benign, math.floor(false_positive_rate * (len(benign) - 1))
    with stage("choosing a step that inputs withstand", len(benign) - allowed) as update:
        for halvings in range(_halvings(classifier, benign) + 1):
            attack = BIM(eps_iter=FIRST_STEP / 2**halvings)
            cost = attack(classifier, weak, budget=_ROOM, slots=slots, images=False).cost
            weak = weak[cost < _ROOM]  # an input that withstands large steps withstands small ones
            update(len(benign) - max(len(weak), allowed))
            if len(weak) <= allowed:
                return attack
    warn(
        f"Even steps of {attack.eps_iter:.1e} of the input range change the prediction on benign "
        f"inputs in fewer than {_ROOM}: this classifier is too fragile to guard well. "
        f"Received: {type(classifier.model).__name__} {classifier.model.name!r}"
    )
    return attack


def _halvings(classifier: Classifier, benign: np.ndarray) -> int:
    """Return how many halvings leave a step that is long enough to change most values."""
    if benign.size == 0:
        return 0
    values = np.asarray(classifier.to_unit(benign))
    resolution = float(np.median(np.spacing(np.abs(values, dtype="float32"))))
    longest = FIRST_STEP * classifier.unit.range
    return int(np.clip(math.log2(longest / (_MIN_ULPS * resolution)), 0, _MAX_HALVINGS))
