"""`Row`: one comparison with its target. `Measured`: its result."""

from typing import NamedTuple

import numpy as np


class Measured(NamedTuple):
    """A figure with its spread over repeats.

    Attributes:
        median: The median.
        low: The smallest.
        high: The largest. All three are equal if there is nothing to repeat, as for a count.
    """

    median: float
    low: float
    high: float


class Row(NamedTuple):
    """One comparison.

    Attributes:
        what: What is compared: a ratio, unless it names a unit.
        measured: The `Measured`. None if it could not be measured; the note says why.
        at_most: The target if less is better, or None.
        at_least: The target if more is better, or None.
        note: What a reader must know to judge it.
    """

    what: str
    measured: Measured | None
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def met(self):
        """Whether the median meets the target; None if either is missing.

        Examples:
            >>> Row("loop", Measured(1.05, 1.0, 1.2), at_most=1.08).met
            True
        """
        if self.measured is None or (self.at_most is None and self.at_least is None):
            return None
        high = np.inf if self.at_most is None else self.at_most
        low = -np.inf if self.at_least is None else self.at_least
        return bool(low <= self.measured.median <= high)


def spread(values):
    """Summarize the results of repeats.

    Args:
        values: A sequence of floats.

    Returns:
        The `Measured`.

    Examples:
        >>> spread([1.0, 4.0, 2.0]).median
        2.0
    """
    return Measured(float(np.median(values)), float(np.min(values)), float(np.max(values)))


def exactly(value):
    """Make a `Measured` of a value without spread: a count, or a ratio of counts.

    Args:
        value: The value.

    Returns:
        The `Measured`.
    """
    return spread([value])
