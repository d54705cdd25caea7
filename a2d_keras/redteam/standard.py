"""The standard set of adversaries: fixed, so that figures can be compared."""

from collections.abc import Sequence

from a2d_keras.redteam import ADVERSARIES
from a2d_keras.redteam.adversary import Adversary
from a2d_keras.redteam.decision_based import DecisionBased
from a2d_keras.redteam.interpolation import Interpolation
from a2d_keras.redteam.kappa_sweep import KappaSweep
from a2d_keras.redteam.logit_matching import LogitMatching
from a2d_keras.redteam.noise import Noise
from a2d_keras.redteam.orthogonal import OrthogonalPGD
from a2d_keras.redteam.pgd import PGD
from a2d_keras.redteam.reencoding import JPEG, EightBits
from a2d_keras.redteam.selective import SelectivePGD

VERSION = "standard 1"  # another set is another version

STANDARD: tuple[Adversary, ...] = (
    Noise(),
    PGD(max_iterations=100),
    SelectivePGD(max_iterations=200),
    OrthogonalPGD(max_iterations=200),
    LogitMatching(max_iterations=100),
    Interpolation(max_iterations=100),
    DecisionBased(max_iterations=250),
    KappaSweep(search_iterations=400),
    EightBits(),
    JPEG(quality=90),
)


def choose(attacks: str | Sequence[Adversary | str]) -> tuple[Adversary, ...]:
    """Return the adversaries that are named.

    Args:
        attacks: `"standard"`, or adversaries and names of their classes.

    Returns:
        The adversaries, in their order.

    Raises:
        ValueError: If there is none, a name is unknown, or two have the same name.

    Examples:
        >>> [each.name for each in choose(["SelectivePGD", Noise(draws=3)])]
        ['selective_pgd', 'noise']
    """
    if isinstance(attacks, str) and attacks == "standard":
        return STANDARD
    known = not isinstance(attacks, str) and all(
        isinstance(each, Adversary) or each in ADVERSARIES for each in attacks
    )
    if not known or not attacks:
        raise ValueError(
            f'`attacks` must be "standard", or hold adversaries or names among '
            f"{', '.join(ADVERSARIES)}. Received: {attacks}"
        )
    chosen = tuple(a if isinstance(a, Adversary) else ADVERSARIES[a]() for a in attacks)
    names = [each.name for each in chosen]
    if len(set(names)) < len(names):
        raise ValueError(f"Adversaries must have different names. Received: {names}")
    return chosen
