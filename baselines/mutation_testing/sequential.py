"""The sequential probability ratio test of BL3: is a label change rate above a threshold?

Wang et al. 2019, after Wald 1945. Mutants vote one after the other until the votes are clear.
"""

import math
from typing import NamedTuple

import numpy as np

ERROR = 0.05  # of each kind that the test may make
_WIDTH = 2.58  # standard errors in half of a 99 % interval, as the authors round it


class Verdicts(NamedTuple):
    """What the test says of n inputs.

    Attributes:
        is_adversarial: Whether each input is adversarial, bool, (n,).
        used: The mutants that each verdict took, int64, (n,).
    """

    is_adversarial: np.ndarray
    used: np.ndarray


def benign_rate(rates):
    """Bound the mean label change rate of benign inputs: the mean, and half its 99 % interval.

    Args:
        rates: Label change rates of benign inputs, float, (n,); two or more.

    Returns:
        The bound, a float.

    Examples:
        >>> round(benign_rate(np.array([0.0, 0.1, 0.0, 0.1])), 4)
        0.1245
    """
    return float(np.mean(rates) + _WIDTH * np.std(rates, ddof=1) / math.sqrt(len(rates)))


def sequential_test(changed, threshold, *, relax_scale=0.1, as_coded=False):
    """Decide by the votes of mutants, in their order, whether inputs are adversarial.

    After n votes, c of them for a changed label, the logarithm of the likelihood ratio is
    R = c log(p₁ / p₀) + (n − c) log((1 − p₁) / (1 − p₀)), for rates p₁ and p₀ just above and below
    the threshold. R ≥ log 19 means adversarial, and R ≤ −log 19 benign. An input without a verdict
    after the last vote counts as benign.

    The authors' code differs in two ways. It looks at R only when a mutant changes the label; and
    when it looks, that mutant is in n but not yet in c. So an input whose label never changes
    takes all mutants, and is reported with one more.

    Args:
        changed: Whether each mutant changes the label of each input, bool, (n, mutants).
        threshold: The label change rate h above which an input is adversarial. The authors take
            `benign_rate`, times a scale that is 1 by default.
        relax_scale: Half the width of the region of indifference, as a share of the threshold: p₁
            and p₀ are h ± relax_scale · h. In (0, 1); defaults to 0.1.
        as_coded: Whether to judge as the authors' code does. Defaults to False.

    Returns:
        The `Verdicts`.

    Raises:
        ValueError: If p₀ and p₁ are no rates that lie between 0 and 1.

    Examples:
        >>> never, always = np.zeros(500, bool), np.ones(500, bool)
        >>> sequential_test(np.stack([never, always]), 0.0441)
        Verdicts(is_adversarial=array([False,  True]), used=array([320,  15]))
        >>> sequential_test(np.stack([never, always]), 0.0441, as_coded=True).used
        array([501,  16])
    """
    low, high = threshold * (1 - relax_scale), threshold * (1 + relax_scale)
    if not 0 < low < high < 1:
        raise ValueError(
            "`threshold` must lie between 0 and 1, with room for `relax_scale`. "
            f"Received: {threshold} and {relax_scale}"
        )
    mutants = changed.shape[1]
    counted = np.cumsum(changed, axis=1) - (changed if as_coded else 0)
    kept = np.arange(1, mutants + 1) - counted
    ratios = counted * math.log(high / low) + kept * math.log((1 - high) / (1 - low))
    bound = math.log((1 - ERROR) / ERROR)
    decided = (abs(ratios) >= bound) & (changed if as_coded else True)
    first, found = decided.argmax(axis=1), decided.any(axis=1)
    positive = ratios[np.arange(len(ratios)), first] > 0
    return Verdicts(found & positive, np.where(found, first + 1, mutants + as_coded))
