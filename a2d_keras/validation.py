"""Checks of arguments. Each refuses with one sentence that ends with what was received."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_SMALLEST = float(np.finfo("float32").tiny)


def require_whole(name: str, value: Any, minimum: int = 1) -> None:
    """Refuse a parameter that is not a whole number.

    Args:
        name: The parameter's name.
        value: Its value.
        minimum: The smallest valid value. Defaults to 1.

    Raises:
        ValueError: If `value` is not a whole number, or is less than `minimum`.
    """
    if not isinstance(value, numbers.Integral) or value < minimum:
        raise ValueError(f"`{name}` must be a whole number, at least {minimum}. Received: {value}")


def require_slots(slots: Any) -> None:
    """Refuse an invalid number of slots.

    Args:
        slots: A whole number, at least 1, or `"auto"`.

    Raises:
        ValueError: If `slots` is neither.
    """
    auto = isinstance(slots, str) and slots == "auto"
    if not auto and (not isinstance(slots, numbers.Integral) or slots < 1):
        raise ValueError(
            f'`slots` must be a whole number, at least 1, or "auto". Received: {slots}'
        )


def require_positive(name: str, value: Any) -> None:
    """Refuse a parameter that is not a positive finite number.

    Args:
        name: The parameter's name.
        value: Its value.

    Raises:
        ValueError: If `value` is not a positive finite number.
    """
    if not isinstance(value, numbers.Real) or not 0 < float(value) < math.inf:
        raise ValueError(f"`{name}` must be a positive number. Received: {value}")


def require_fraction(name: str, value: Any) -> None:
    """Refuse a parameter that is not a positive fraction of the input range.

    Args:
        name: The parameter's name.
        value: Its value, a fraction of the input range.

    Raises:
        ValueError: If `value` is not a positive finite number, or rounds to zero in float32.
    """
    if not isinstance(value, numbers.Real) or not _SMALLEST <= float(value) < math.inf:
        raise ValueError(
            f"`{name}` must be a positive number, a fraction of the input range. Received: {value}"
        )


def require_rate(false_positive_rate: float) -> None:
    """Refuse a false positive rate that does not lie between 0 and 1.

    Args:
        false_positive_rate: The rate α of benign inputs that may be flagged.

    Raises:
        ValueError: If α is 0 or less, 1 or more, or not a number.
    """
    is_number = isinstance(false_positive_rate, numbers.Real)
    if not is_number or not 0 < false_positive_rate < 1:
        raise ValueError(
            f"`false_positive_rate` must lie between 0 and 1. Received: {false_positive_rate}"
        )


def require_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a parameter that is not one of the given choices.

    Args:
        name: The parameter's name.
        value: Its value.
        choices: The valid values.

    Raises:
        ValueError: If `value` is not one of them.
    """
    if not isinstance(value, str) or value not in choices:
        words = " or ".join(f'"{choice}"' for choice in choices)
        raise ValueError(f"`{name}` must be {words}. Received: {value!r}")


def require(condition: tf.Tensor, sentence: Any) -> None:
    """Refuse with one sentence unless a condition holds.

    Args:
        condition: The condition, bool.
        sentence: The sentence, a string.

    Raises:
        ValueError: If the condition does not hold. In a graph,
            `tf.errors.InvalidArgumentError` when it runs.
    """
    if not tf.executing_eagerly():
        tf.debugging.Assert(condition, [sentence])
    elif not condition:
        raise ValueError(tf.constant(sentence).numpy().decode())
