"""Parameters that several data sets share (Zhao et al. 2021, Table 5), and stronger attacks."""

from a2d_keras import BIM, BIM2, DBA, JSMA, Attack, CarliniWagner, DeepFool
from a2d_keras.redteam import KappaSweep

# At a rate of 0.01, 200 iterations are too few: 3 % of MNIST's inputs never flip.
CARLINI_WAGNER = CarliniWagner(
    initial_c=0.02, learning_rate=0.02, binary_search_steps=5, search_iterations=200
)
DEFENCES = {"JSMA_d": JSMA(), "BIM_d": BIM(), "BIM2_d": BIM2(), "DBA_d": DBA()}

CONFIDENCES = (5, 10, 15, 20)


def confident(confidence: float) -> CarliniWagner:
    """Make C&W with confidence.

    Args:
        confidence: The lead in logits of the wrong class, κ.

    Returns:
        The attack.
    """
    return KappaSweep(search_iterations=300).attack(confidence)


# These go further beyond the boundary than benign inputs lie from it.
CONFIDENT = {f"C&W κ{confidence}": confident(confidence) for confidence in CONFIDENCES}


def strong(eps: float, eps_iter: float) -> dict[str, Attack]:
    """List attacks that the paper does not compare on.

    Args:
        eps: The largest change of a pixel by PGD, as a fraction of the input range.
        eps_iter: The length of its steps, as a fraction of the input range.

    Returns:
        A dict by name: PGD of 40 steps, whose last iterate counts; C&W with confidence; DeepFool.
    """
    pgd = BIM(eps=eps, eps_iter=eps_iter, max_iterations=40, stop_at_success=False)
    return {"PGD": pgd, **CONFIDENT, "DeepFool": DeepFool()}
