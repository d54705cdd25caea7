"""The decision-based attack: it asks only whether an input is misclassified and not flagged."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from a2d_keras.attacks.decision_based import AT_ONCE
from a2d_keras.attacks.engine.slots import Slots
from a2d_keras.attacks.hop_skip_jump import HopSkipJump
from a2d_keras.redteam.adversary import Adversary, Case, Crafted, Kept
from a2d_keras.validation import require_fraction, require_whole

_STARTS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecisionBased(Adversary):
    """HopSkipJump on "misclassified and not flagged" (Chen, Jordan, Wainwright 2020).

    It needs decisions only, so no detector hides from it by a missing gradient. It starts at
    benign inputs of other classes, which nobody flags, and comes as near as it can: it ends within
    `eps`, and else reports the distance that it reached.

    Args:
        eps: The distance at which it ends, L-inf, as a fraction of the input range. Defaults to
            8/255.
        max_iterations: Its passes, of four decisions each. Defaults to 250.
        seed: Seed of the random numbers. Defaults to 0.

    Examples:
        >>> DecisionBased(max_iterations=1000).name
        'decision_based'
    """

    limited: ClassVar[bool] = False

    eps: float = 8 / 255
    max_iterations: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        require_fraction("eps", self.eps)
        require_whole("max_iterations", self.max_iterations)
        require_whole("seed", self.seed, minimum=0)

    @property
    def effort(self) -> int:
        """The steps of the walk."""
        return self.max_iterations

    def craft(self, case: Case) -> Crafted:
        """Attack all inputs; see `Adversary.craft`."""
        kept, rows = Kept(case), np.arange(len(case.x))
        attack = _Walk(
            norm=np.inf,
            distance=self.eps,
            max_iterations=self.max_iterations,
            seed=self.seed,
            starts=choose_starts(case),
        )
        result = attack(case.attacked, case.x)
        decisions = np.asarray(result.queries) * case.defence.verdict_queries
        kept.count(rows, decisions, 0)
        kept.offer(rows, np.asarray(result.adversarial))
        return kept.crafted()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Walk(HopSkipJump):
    """HopSkipJump that counts a flagged image as classified like the input."""

    max_noise: ClassVar[int] = AT_ONCE  # noise would be flagged

    def ask(self, classifier: Any, slots: Slots, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Ask for labels and verdicts; see `DecisionBasedAttack.ask`."""
        labels, adversarial = super().ask(classifier, slots, images)
        batch = tf.reshape(images, tf.concat([[-1], tf.shape(slots.x)[1:]], axis=0))
        batch = tf.ensure_shape(batch, [None, *slots.x.shape[1:]])
        return labels, adversarial & ~tf.reshape(classifier.flagged(batch), [-1, AT_ONCE])


def choose_starts(case: Case) -> np.ndarray:
    """Choose benign inputs that are not flagged, of as many classes as possible.

    Args:
        case: The `Case`.

    Returns:
        Inputs, float32, (at most 32, *input_shape).
    """
    flagged = case.defence.judge(case.x).flagged
    rows = np.flatnonzero(~flagged)
    places = np.array([np.count_nonzero(case.y[rows[:i]] == case.y[r]) for i, r in enumerate(rows)])
    order = np.lexsort((case.y[rows], places)) if len(rows) else rows
    return case.x[rows[order][:_STARTS]]
