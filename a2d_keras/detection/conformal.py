"""Conformal thresholds: ranks of benign scores that guarantee a false positive rate."""

import math


def rows_needed(false_positive_rate: float, attacks: int = 1) -> int:
    """Return the smallest number of benign inputs that lets a detector flag anything.

    Args:
        false_positive_rate: The rate α of benign inputs that may be flagged.
        attacks: The number of attacks. With several, half of the inputs fit their transforms.

    Returns:
        The number of inputs.
    """
    rows = max(1, math.ceil(1 / false_positive_rate - 1 - 1e-9))
    return rows if attacks == 1 else 2 * rows - 1


def conformal_rank(rows: int, false_positive_rate: float) -> int:
    """Return the rank of the score that is the conformal threshold.

    Args:
        rows: The number m of benign scores.
        false_positive_rate: The rate α of benign inputs that may be flagged.

    Returns:
        ⌊α(m+1)⌋, counted from the smallest score, which has rank 1. It is 0 if m is too small.
    """
    return math.floor(false_positive_rate * (rows + 1) + 1e-9)  # in floats, 0.29 * 100 < 29
