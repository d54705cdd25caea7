"""Bounds: the range of values of an input, one for all features or one per feature."""

from typing import Any

import numpy as np

_MAX = float(np.finfo("float32").max)

Bounds = tuple[float, float] | tuple[np.ndarray, np.ndarray]


def parse(bounds: Any, input_shape: tuple[int | None, ...]) -> Bounds:
    """Read a user's bounds.

    Args:
        bounds: Two increasing finite numbers, or two arrays of them, one range per feature.
        input_shape: Shape of one input, to which arrays must broadcast.

    Returns:
        Two floats, or two float32 arrays of the shape of one input (1 for sides left open).

    Raises:
        ValueError: If they are neither, or if a feature's range is empty in float32.
    """
    try:
        low, high = bounds
        if np.ndim(low) == np.ndim(high) == 0:
            return _scalars(low, high, bounds)
        low, high = (np.asarray(bound, "float64") for bound in (low, high))
    except (TypeError, ValueError):
        raise _no_bounds(bounds) from None
    return _arrays(low, high, tuple(side or 1 for side in input_shape))


def _scalars(low: Any, high: Any, bounds: Any) -> tuple[float, float]:
    low, high = float(low), float(high)
    within = -_MAX <= low < high <= _MAX and high - low <= _MAX
    if not within or not np.float32(low) < np.float32(high):
        raise _no_bounds(bounds)
    return low, high


def _no_bounds(bounds: Any) -> ValueError:
    return ValueError(f"`bounds` must be two increasing finite numbers. Received: {bounds}")


def _arrays(
    low: np.ndarray, high: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    try:
        wide = [np.broadcast_to(bound, shape) for bound in (low, high)]
    except ValueError:
        raise ValueError(
            f"`bounds` per feature must broadcast to the shape of one input, {shape}. "
            f"Received: shapes {low.shape} and {high.shape}"
        ) from None
    low, high = wide
    finite = np.isfinite(low) & np.isfinite(high) & (np.abs(high - low) <= _MAX)
    finite &= (np.abs(low) <= _MAX) & (np.abs(high) <= _MAX)
    if not finite.all():
        raise ValueError(
            "`bounds` per feature must be finite numbers in float32. "
            f"Received: {np.sum(~finite)} of {finite.size} features with other values"
        )
    low, high = low.astype("float32"), high.astype("float32")
    equal, falling = np.sum(low == high), np.sum(low > high)
    if equal or falling:
        raise ValueError(
            "Every feature's lower bound must be less than its upper one in float32; widen the "
            "range of a feature that never varies, or leave the feature out of the model's inputs. "
            f"Received: {equal} of {low.size} features with equal bounds, {falling} with "
            "decreasing ones"
        )
    return low, high
