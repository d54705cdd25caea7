"""Conformal thresholds: ranks of benign scores, which promise a false positive rate."""

import math


def rows_needed(false_positive_rate: float, attacks: int = 1) -> int:
    """Count the benign inputs below which a detector could flag nothing.

    Args:
        false_positive_rate: The rate α of benign inputs that may be flagged.
        attacks: The number of attacks; with several, half of the inputs fit their transforms.

    Returns:
        The smallest number of inputs that sets a threshold.
    """
    rows = max(1, math.ceil(1 / false_positive_rate - 1 - 1e-9))
    return rows if attacks == 1 else 2 * rows - 1


def conformal_rank(rows: int, false_positive_rate: float) -> int:
    """Choose the order statistic that is the conformal threshold.

    Args:
        rows: The number m of benign scores.
        false_positive_rate: The rate α of benign inputs that may be flagged.

    Returns:
        ⌊α(m+1)⌋, the rank from below, from 1; 0 where m is too small.
    """
    return math.floor(false_positive_rate * (rows + 1) + 1e-9)  # 0.29 * 100 is below 29
