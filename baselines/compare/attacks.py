"""The attacks and the defences that a comparison offers by name, in the sizes of a classifier."""

from a2d_keras import BIM, BIM2, DBA, FGSM, JSMA, DeepFool, PairJSMA
from baselines.compare.sizes import rounded
from models.parameters import CARLINI_WAGNER

_SLOW = ("JSMA", "C&W")  # not for large inputs, unless named
DEFAULT_DEFENCES = ("BIM_d",)  # unless others are named: each takes as long as all attacks


def attacks(sizes):
    """Make the attacks that craft.

    Args:
        sizes: The `baselines.compare.sizes.Sizes`.

    Returns:
        A dict by name.
    """
    eps = sizes.eps
    few_pixels = JSMA(theta=0.1) if sizes.large else PairJSMA(theta=1.0, gamma=0.1)
    return {
        "FGSM": FGSM(eps=eps),
        "BIM-a": BIM(eps=eps, eps_iter=rounded(eps / 30), max_iterations=50),
        "PGD": BIM(eps=eps, eps_iter=rounded(eps / 10), max_iterations=40, stop_at_success=False),
        "DeepFool": DeepFool(),
        "JSMA": few_pixels,
        "C&W": CARLINI_WAGNER,
    }


def default_attacks(sizes):
    """List the names of the attacks that run unless others are named.

    Args:
        sizes: The `baselines.compare.sizes.Sizes`.

    Returns:
        A list of names.
    """
    return [name for name in attacks(sizes) if not (sizes.large and name in _SLOW)]


def defences(sizes):
    """Make the attacks whose cost detects.

    Args:
        sizes: The `baselines.compare.sizes.Sizes`.

    Returns:
        A dict by name.
    """
    root_mean_square = rounded(sizes.step / 3)  # as the paper's steps of BIM and BIM2
    return {
        "JSMA_d": JSMA(),
        "BIM_d": BIM(eps=1.0, eps_iter=sizes.step),
        "BIM2_d": BIM2(eps=1.0, eps_iter=root_mean_square),
        "DBA_d": DBA(distance=rounded(2.5 * sizes.distance**2)),
    }
