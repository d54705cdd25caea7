"""Which precision `precision="auto"` stands for: what is measured, and how it is judged."""

import time
import warnings
from collections.abc import Callable

import numpy as np

from a2d_keras.classifier import Classifier

LOW = "bfloat16"

_CLEARLY = 0.9  # the largest share of float32's time that is worth another rounding
_TURNS = 7
_MIN_TURNS = 3
_SECONDS = 10.0  # no further turn begins after these

Run = Callable[[], object]


def lower(classifier: Classifier) -> Classifier | None:
    """Return the same classifier in bfloat16, where that could be of use.

    Args:
        classifier: The `Classifier` in float32.

    Returns:
        The other `Classifier`. None if the machine or the model does not support bfloat16, or if
        the logits themselves would be rounded to it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is measured next, or was said in float32
            low = classifier.in_precision(LOW)
    except ValueError:
        return None
    return None if low.is_coarse else low


def is_clearly_faster(low: Run, exact: Run) -> bool:
    """Measure whether one function is faster than another, by a tenth at least.

    Both take turns, so that a slow moment affects both, and the median turn counts.

    Args:
        low: The function that must be faster. Called once before, so that it is compiled.
        exact: The other.

    Returns:
        Whether it is.
    """
    for run in (low, exact):
        run()
    return bool(np.median(turns(low, exact)) <= _CLEARLY)


def turns(low: Run, exact: Run) -> list[float]:
    """Time two functions, turn by turn.

    Args:
        low: A function.
        exact: Another.

    Returns:
        The time of the first over that of the second, for every turn.
    """
    ratios: list[float] = []
    started = time.perf_counter()
    while len(ratios) < _TURNS:
        ratios.append(_seconds(low) / _seconds(exact))
        if len(ratios) >= _MIN_TURNS and time.perf_counter() - started > _SECONDS:
            break
    return ratios


def _seconds(run: Run) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
