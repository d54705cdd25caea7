"""How far statistics lie outside the intervals in which benign inputs are accepted."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_OUTER = (0.05, 0.95)  # quantiles whose distance is the spread of a statistic
_SMALLEST_SPREAD = 1e-6  # of the largest benign value
_NOT_FINITE = 1e3  # the distance of a statistic that is not finite


class Hinges:
    """The distance of statistics to intervals, in units of their benign spread.

    There is an interval for each statistic and for each of several levels, from the detector's own
    threshold to a stricter one. So the distance goes on falling after an input is accepted, until
    it would be accepted at the strictest level too.

    Args:
        intervals: The intervals, float64, (levels, statistics, 2); infinite on a side that is not
            suspicious.
        benign: Benign values of each statistic, or their quantiles, (n, statistics).

    Examples:
        >>> hinges = Hinges(np.array([[[1.0, np.inf]], [[2.0, np.inf]]]), np.array([[0.0], [4.0]]))
        >>> hinges(tf.constant([[0.0], [1.5], [3.0]])).numpy().round(2)
        array([[0.28, 0.56],
               [0.  , 0.14],
               [0.  , 0.  ]], dtype=float32)
    """

    def __init__(self, intervals: np.ndarray, benign: np.ndarray) -> None:
        self.intervals = intervals
        low, high = np.quantile(benign, _OUTER, axis=0)
        smallest = _SMALLEST_SPREAD * np.maximum(np.abs(benign).max(axis=0), 1.0)
        self.spreads = np.maximum(high - low, smallest)

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Compute the distances. Graph code.

        Args:
            values: The statistics, float32, (n, statistics).

        Returns:
            The sum over the statistics, float32, (n, levels). Zero means within all intervals.
        """
        lows, highs = tf.unstack(tf.constant(self.intervals, tf.float32), axis=-1)
        finite = tf.math.is_finite(values)[:, None]
        values = tf.where(finite, values[:, None], 0.0)
        outside = tf.maximum(tf.maximum(lows - values, values - highs), 0.0)
        scaled = outside / tf.constant(self.spreads, tf.float32)
        return tf.reduce_sum(tf.where(finite, scaled, _NOT_FINITE), axis=-1)


def between_quantiles(values: np.ndarray, tail: str, shares: Sequence[float]) -> np.ndarray:
    """Find the intervals that hold all but a share of benign values.

    Args:
        values: Benign values of a statistic, (n,).
        tail: Which values are suspicious: `"low"`, `"high"` or `"both"`.
        shares: The share that lies outside each interval.

    Returns:
        The intervals, float64, (shares, 2).

    Examples:
        >>> between_quantiles(np.arange(101.0), "low", [0.05, 0.5])
        array([[ 5., inf],
               [50., inf]])
    """
    found = np.full((len(shares), 2), [-np.inf, np.inf])
    parts = np.asarray(shares) / (2 if tail == "both" else 1)
    if tail in ("low", "both"):
        found[:, 0] = np.quantile(values, parts)
    if tail in ("high", "both"):
        found[:, 1] = np.quantile(values, 1 - parts)
    return found
