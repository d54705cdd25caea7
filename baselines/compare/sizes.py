"""How large attacks should be on a classifier that nobody knows."""

import math
from typing import NamedTuple

import numpy as np

from a2d_keras import BoundaryDistance, Fingerprints

_MEASURED = 100  # inputs
_FOOLING = 2  # median distances: as Env1 on the digits, and less than on MNIST and CIFAR-10
_MAX_EPS = 0.5
_STEPS = 50  # that BIM_d takes from the median input to its boundary
_LARGE = 64 * 64 * 3  # values of an input
_LIMIT, _LARGE_LIMIT = 200, 100


class Sizes(NamedTuple):
    """The sizes of attacks.

    Attributes:
        distance: The median distance of benign inputs to their nearest boundary, by linearisation,
            as a fraction of the input range, to two digits.
        eps: The largest change of a value by an attack, as a fraction of the input range.
        step: The step of BIM_d, likewise.
        large: Whether inputs have so many values that slow attacks and detectors are left out.
    """

    distance: float
    eps: float
    step: float
    large: bool

    def text(self):
        """Say what was chosen, in one sentence."""
        return (
            f"ε = {self.eps:g} of the input range, {_FOOLING} times the median distance of benign "
            f"inputs to the boundary ({self.distance:g}); BIM_d steps by {self.step:g}"
        )


def sizes(classifier, x):
    """Choose sizes by the distances of benign inputs to the boundary.

    Args:
        classifier: The `a2d_keras.Classifier`.
        x: Benign inputs that it gets right, float32, (n, *input shape).

    Returns:
        The `Sizes`.

    Raises:
        ValueError: If no input has a gradient, so that there is no distance.

    Examples:
        >>> import keras
        >>> from a2d_keras import Classifier
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, "sigmoid")])
        >>> model.set_weights([np.array([[4.0]]), np.array([-2.0])])
        >>> sizes(Classifier(model), np.full((9, 1), 0.6, "float32")).eps
        0.2
    """
    fingerprints = Fingerprints(classifier, statistics=[BoundaryDistance()])
    distances = fingerprints.fit(x[:_MEASURED]).transform(x[:_MEASURED])[:, 0]
    distances = distances[distances > 0]
    if not len(distances):
        raise ValueError(
            "The classifier must have a gradient, or attacks that need one cannot run. "
            f"Received: none at {len(x[:_MEASURED])} inputs"
        )
    distance = rounded(np.median(distances))
    eps = rounded(min(_FOOLING * distance, _MAX_EPS))
    return Sizes(distance, eps, rounded(distance / _STEPS), is_large(x))


def is_large(x):
    """Tell whether inputs are as large as photographs, so that slow parts are left out.

    Args:
        x: Inputs, (n, *input shape).

    Returns:
        A bool.
    """
    return math.prod(x.shape[1:]) >= _LARGE


def default_limit(x):
    """Choose how many test inputs to judge.

    Args:
        x: The test inputs, (n, *input shape).

    Returns:
        100 for large ones, 200 for others.
    """
    return _LARGE_LIMIT if is_large(x) else _LIMIT


def rounded(value):
    """Round to two digits, so that a machine's last bits do not change an attack.

    Args:
        value: A number.

    Returns:
        A float.

    Examples:
        >>> rounded(0.012345)
        0.012
    """
    return float(f"{value:.1e}")
