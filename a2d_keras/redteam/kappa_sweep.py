"""C&W with rising confidence, the adaptive attack of the paper."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from a2d_keras.attacks.carlini_wagner import CarliniWagner
from a2d_keras.redteam.adversary import Adversary, Case, Crafted, Kept
from a2d_keras.validation import require_whole

_SEARCHES = 4  # for the weight c of the distance


@dataclasses.dataclass(frozen=True, kw_only=True)
class KappaSweep(Adversary):
    """C&W with several confidences κ (Zhao et al. 2021, Section 6), and the best of them.

    It knows nothing of the detector. It bets that an example farther beyond the boundary costs as
    many steps as a benign input. Its distance has no limit.

    Args:
        confidences: The confidences κ, in logits, the smallest first. Defaults to
            (0, 5, 10, 15, 20).
        search_iterations: Steps for each weight of the margin; see `CarliniWagner`. Defaults
            to 1000.

    Examples:
        >>> KappaSweep(confidences=(0, 20)).name
        'kappa_sweep'
    """

    limited: ClassVar[bool] = False

    confidences: Sequence[float] = (0, 5, 10, 15, 20)
    search_iterations: int = 1000

    def __post_init__(self) -> None:
        require_whole("search_iterations", self.search_iterations)
        object.__setattr__(self, "confidences", tuple(self.confidences))  # the dataclass is frozen

    @property
    def effort(self) -> int:
        """The steps of all searches."""
        return len(self.confidences) * _SEARCHES * self.search_iterations

    def craft(self, case: Case) -> Crafted:
        """Attack with each confidence while an input resists; see `Adversary.craft`."""
        kept = Kept(case)
        for confidence in self.confidences:
            rows = kept.open
            if len(rows):
                result = self.attack(confidence)(case.defence.classifier, case.x[rows])
                kept.count(rows, result.queries, result.gradient_evaluations)
                kept.offer(rows, np.asarray(result.adversarial))
        return kept.crafted()

    def attack(self, confidence: float) -> CarliniWagner:
        """Make the attack, with the parameters of the authors of MagNet's adaptive attack.

        Args:
            confidence: The confidence κ.

        Returns:
            The attack.
        """
        return CarliniWagner(
            confidence=float(confidence),
            initial_c=1.0,
            learning_rate=0.01,
            binary_search_steps=_SEARCHES,
            search_iterations=self.search_iterations,
        )
