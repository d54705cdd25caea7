"""Interpolation: between an input and a confident example, where statistics look benign."""

import dataclasses

import numpy as np

from a2d_keras.redteam.adversary import Adversary, Case, Crafted, Kept
from a2d_keras.redteam.pgd import PGD
from a2d_keras.validation import require_fraction, require_whole

_SHARES = 4  # tried at once, between the ends of an interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interpolation(Adversary):
    """Search the line from an input to a confident example for the point with the lowest score.

    The example comes from `PGD` on the classifier. The search needs only scores of the detector:
    each round tries four points, and narrows to the neighbours of the best.

    Args:
        eps: The largest change of a value, as a fraction of the input range. Defaults to 8/255.
        rounds: The number of rounds. Defaults to 6.
        max_iterations: The steps of `PGD`. Defaults to 200.

    Examples:
        >>> Interpolation(eps=0.1).name
        'interpolation'
    """

    eps: float = 8 / 255
    rounds: int = 6
    max_iterations: int = 200

    def __post_init__(self) -> None:
        require_fraction("eps", self.eps)
        require_whole("rounds", self.rounds)
        require_whole("max_iterations", self.max_iterations)

    @property
    def effort(self) -> int:
        """The steps that find the far ends, and the points between."""
        return PGD(max_iterations=self.max_iterations).effort + self.rounds * _SHARES

    def craft(self, case: Case) -> Crafted:
        """Find confident examples, and search; see `Adversary.craft`."""
        far = PGD(eps=self.eps, max_iterations=self.max_iterations).craft(case)
        kept, rows = Kept(case), np.arange(len(case.x))
        kept.count(rows, far.queries, far.gradient_evaluations)
        kept.offer(rows, far.x)
        low, high = np.zeros(len(rows)), np.ones(len(rows))
        for _ in range(self.rounds):
            shares = np.linspace(low, high, _SHARES + 2)
            worth = []
            for share in shares[1:-1]:
                x = _between(case.x, far.x, share)
                verdicts = kept.offer(rows, x)
                worth.append(np.where(verdicts.labels != case.y, verdicts.score, np.inf))
            kept.count(rows, _SHARES * case.defence.verdict_queries, 0)
            # Without a misclassified point, all of them are too near to the input.
            best = np.where(np.isinf(worth).all(axis=0), _SHARES, 1 + np.argmin(worth, axis=0))
            low, high = shares[best - 1, rows], shares[best + 1, rows]
        return kept.crafted()


def _between(x: np.ndarray, far: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share.reshape(-1, *[1] * (x.ndim - 1)).astype("float32")
    return np.asarray(np.clip(x + share * (far - x), np.minimum(x, far), np.maximum(x, far)))
