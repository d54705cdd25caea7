"""`Row`: one comparison, with its target; and `Measured`, what was found."""

from typing import NamedTuple

import numpy as np


class Measured(NamedTuple):
    """A figure with its spread over repeats.

    Attributes:
        median: The median.
        low: The smallest.
        high: The largest; all three are equal where there is nothing to repeat, as in a count.
    """

    median: float
    low: float
    high: float


class Row(NamedTuple):
    """One comparison.

    Attributes:
        what: What is compared: a ratio, unless it names a unit.
        measured: The `Measured`, or None where it cannot be had, which the note explains.
        at_most: The target, where less is better, or None.
        at_least: The target, where more is better, or None.
        note: What else must be known to judge it.
    """

    what: str
    measured: Measured | None
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def met(self):
        """Whether the median meets the target; None where either is missing.

        Examples:
            >>> Row("loop", Measured(1.05, 1.0, 1.2), at_most=1.08).met
            True
        """
        if self.measured is None or (self.at_most is None and self.at_least is None):
            return None
        most = np.inf if self.at_most is None else self.at_most
        least = -np.inf if self.at_least is None else self.at_least
        return bool(least <= self.measured.median <= most)


def spread(values):
    """Summarize what repeats have found.

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
    """Make a `Measured` of what has no spread: a count, or a ratio of counts.

    Args:
        value: The value.

    Returns:
        The `Measured`.
    """
    return spread([value])
