"""PGD: projected gradient descent, of which the attacks along a detector's gradient are kinds."""

import abc
import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from a2d_keras.attacks.base import StepAttack
from a2d_keras.attacks.engine import randomness
from a2d_keras.attacks.engine.margins import margin
from a2d_keras.attacks.engine.shapes import column
from a2d_keras.attacks.engine.slots import Slots
from a2d_keras.classifier import Classifier
from a2d_keras.redteam.adversary import Adversary, Case, Crafted, Kept
from a2d_keras.statistics.base import Passes
from a2d_keras.validation import require_fraction, require_whole


class _Path(NamedTuple):
    """The progress of each slot; `slots.x` is the best iterate so far."""

    x: tf.Tensor  # the iterate, (slots, *input_shape)
    loss: tf.Tensor  # of the best iterate, (slots,); infinite until one is misclassified
    accepted: tf.Tensor  # whether the best iterate is accepted, (slots,)


class Aim(NamedTuple):
    """What an iterate is worth, and where to go from it.

    Attributes:
        fools: Whether the target leads, bool, (slots,).
        accepted: Whether the detector accepts it, bool, (slots,).
        loss: What to make small among iterates that fool; at zero the attack ends; (slots,).
        step: The step, of maximum norm 1 or of root mean square 1, (slots, *input_shape).
    """

    fools: tf.Tensor
    accepted: tf.Tensor
    loss: tf.Tensor
    step: tf.Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProjectedDescent(Adversary, StepAttack):
    """The base class of descents within an L-inf ball.

    Each input is attacked with several targets, those of the largest logits, from several starts:
    first the input itself, then random ones. Of the iterates that fool and are accepted, the one
    with the lowest loss is kept.

    Args:
        eps: The largest change of a value, as a fraction of the input range. Defaults to 8/255.
        step_length: The first step, as a fraction of `eps`; steps shrink to a tenth of it along
            a half cosine. Defaults to 0.1.
        max_iterations: The number of steps. Defaults to 200.
        targets: How many classes to try as the target. Defaults to 2.
        restarts: From how many starts. Defaults to 1.
        seed: The number of the first start; 0 is the input. Defaults to 0.
    """

    traced = ("eps", "step_length", "max_iterations", "seed")

    eps: float = 8 / 255
    step_length: float = 0.1
    max_iterations: int = 200
    targets: int = 2
    restarts: int = 1
    seed: int = 0
    targeted: bool = dataclasses.field(default=True, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fraction("eps", self.eps)
        require_fraction("step_length", self.step_length)
        require_whole("targets", self.targets)
        require_whole("restarts", self.restarts)
        require_whole("seed", self.seed, minimum=0)

    @abc.abstractmethod
    def aim(self, classifier: Any, x: tf.Tensor, labels: tf.Tensor) -> Aim:
        """Look at iterates. Graph code.

        Args:
            classifier: The `Defence`.
            x: The iterates, float32, (slots, *input_shape).
            labels: The targets, int64, (slots,).

        Returns:
            The `Aim`.
        """

    @property
    def effort(self) -> int:
        """The steps towards all targets from all starts."""
        return self.restarts * self.targets * self.max_iterations

    def craft(self, case: Case) -> Crafted:
        """Attack with each target from each start, while an input resists; see `Adversary`."""
        kept = Kept(case)
        for start in range(self.seed, self.seed + self.restarts):
            attack = dataclasses.replace(self, seed=start)
            for targets in likely_targets(case, self.targets):
                rows = kept.open
                if len(rows):
                    result = attack(case.attacked, case.x[rows], targets=targets[rows])
                    kept.count(rows, result.queries, result.gradient_evaluations)
                    kept.offer(rows, result.adversarial)
        return kept.crafted()

    def start(self, classifier: Classifier, inputs: tf.Tensor) -> Any:
        """Start at the input, or at a random point of the ball; see `StepAttack.start`."""
        keys = randomness.keys(inputs, self.seed)
        draws = randomness.uniform(keys, tf.zeros_like(keys), tf.unstack(tf.shape(inputs))[1:])
        reach = tf.where(self.seed > 0, self._reach(classifier), 0.0)
        x = tf.clip_by_value(inputs + reach * (2 * draws - 1), *classifier.bounds)
        nothing = tf.zeros(tf.shape(inputs)[:1])
        return _Path(x, nothing + math.inf, tf.cast(nothing, tf.bool))

    def step(self, classifier: Any, slots: Slots) -> tuple[Slots, tf.Tensor]:
        """Look at every iterate, keep it if it is the best, and step; see `StepAttack.step`."""
        path = slots.state
        aim = self.aim(classifier, path.x, slots.labels)
        first = aim.fools & ((aim.accepted & ~path.accepted) | tf.math.is_inf(path.loss))
        better = aim.fools & (aim.accepted == path.accepted) & (aim.loss < path.loss)
        taken = first | better
        done = path.accepted & ((path.loss <= 0) | (slots.steps >= self.max_iterations))
        reach = self._reach(classifier)
        moved = path.x + reach * column(self._length(slots.steps), path.x) * aim.step
        moved = tf.clip_by_value(moved, slots.inputs - reach, slots.inputs + reach)
        after = slots._replace(
            x=tf.where(column(taken | tf.math.is_inf(path.loss), path.x), path.x, slots.x),
            steps=slots.steps + 1,
            queries=slots.queries + self.looks(classifier).queries,
            gradient_evaluations=slots.gradient_evaluations
            + self.looks(classifier).gradient_evaluations,
            state=_Path(
                tf.clip_by_value(moved, *classifier.bounds),
                tf.where(taken, aim.loss, path.loss),
                path.accepted | (taken & aim.accepted),
            ),
        )
        return after, done

    def looks(self, classifier: Any) -> Passes:
        """Return the `Passes` of a step: by default those of one look at the defence."""
        passes: Passes = classifier.passes
        return passes

    def _reach(self, classifier: Any) -> tf.Tensor:
        return tf.cast(self.eps, tf.float32) * tf.cast(classifier.range, tf.float32)

    def _length(self, steps: tf.Tensor) -> tf.Tensor:
        """Return the length of a step, as a fraction of `eps`."""
        part = tf.cast(steps, tf.float32) / tf.cast(self.max_iterations, tf.float32)
        return tf.cast(self.step_length, tf.float32) * (
            0.1 + 0.9 * 0.5 * (1 + tf.cos(math.pi * tf.minimum(part, 1.0)))
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PGD(ProjectedDescent):
    """PGD on the classifier alone (Madry et al. 2018): what an attacker unaware of the guard does.

    It raises the lead of the target, as far as it can.

    Args:
        eps: As for all descents, as are the others.
        step_length: As for all descents.
        max_iterations: As for all descents.
        targets: As for all descents.
        restarts: As for all descents.
        seed: As for all descents.

    Examples:
        >>> PGD(eps=0.1).name
        'pgd'
    """

    def aim(self, classifier: Any, x: tf.Tensor, labels: tf.Tensor) -> Aim:
        """Raise the lead of the target."""
        with tf.GradientTape() as tape:
            tape.watch(x)
            leads = margin(classifier.logits(x), labels)
        fools = leads > 0
        step = tf.sign(finite(tape.gradient(leads, x), x))
        return Aim(fools, fools, tf.math.softplus(-leads), step)

    def looks(self, classifier: Any) -> Passes:
        """Return one pass of the classifier, and back."""
        return Passes(1, 1)


def likely_targets(case: Case, count: int) -> np.ndarray:
    """Choose the classes with the largest logits, apart from the true one.

    Args:
        case: The `Case`.
        count: How many classes at most.

    Returns:
        The classes, int64, (count, n), the likeliest first.
    """
    logits = case.defence.predict(case.x)
    logits[np.arange(len(logits)), case.y] = -np.inf
    ranked = np.argsort(-logits, axis=1, kind="stable")
    return ranked[:, : min(count, logits.shape[1] - 1)].T


def finite(gradient: tf.Tensor | None, x: tf.Tensor) -> tf.Tensor:
    """Replace what is not finite in a gradient by zero, and no gradient by zeros.

    Args:
        gradient: The gradient, like `x`, or None.
        x: The iterates.

    Returns:
        The gradient.
    """
    if gradient is None:
        return tf.zeros_like(x)
    return tf.where(tf.math.is_finite(gradient), gradient, 0.0)
