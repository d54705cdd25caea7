"""Noise, which every attack has to beat."""

import dataclasses

import numpy as np

from a2d_keras.redteam.adversary import Adversary, Case, Crafted, Kept
from a2d_keras.validation import require_fraction, require_whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise(Adversary):
    """Random signs at the full distance, several draws: no attack should do worse.

    Args:
        eps: The change of every value, as a fraction of the input range. Defaults to 8/255.
        draws: The number of draws. Defaults to 10.
        seed: Their seed. Defaults to 0.

    Examples:
        >>> Noise(draws=100).name
        'noise'
    """

    eps: float = 8 / 255
    draws: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        require_fraction("eps", self.eps)
        require_whole("draws", self.draws)
        require_whole("seed", self.seed, minimum=0)

    @property
    def effort(self) -> int:
        """The draws."""
        return self.draws

    def craft(self, case: Case) -> Crafted:
        """Draw, and keep the best; see `Adversary.craft`."""
        classifier, rng = case.defence.classifier, np.random.default_rng(self.seed)
        kept, rows = Kept(case), np.arange(len(case.x))
        reach = np.float32(self.eps * classifier.unit.range)
        unit = np.asarray(classifier.to_unit(case.x))
        for _ in range(self.draws):
            signs = rng.choice(np.array([-1, 1], "float32"), size=unit.shape)
            moved = np.clip(unit + reach * signs, *classifier.unit.bounds)
            kept.offer(rows, np.asarray(classifier.from_unit(moved)))
        kept.count(rows, self.draws * case.defence.verdict_queries, 0)
        return kept.crafted()
