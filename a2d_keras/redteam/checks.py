"""Checks that an attack is no weaker than it looks (Carlini et al. 2019, On Evaluating)."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from a2d_keras.redteam.adversary import Adversary, Case
from a2d_keras.redteam.noise import Noise
from a2d_keras.redteam.pgd import PGD, ProjectedDescent, finite
from a2d_keras.redteam.selective import SelectivePGD

_INPUTS = 20
_STEPS = 100
_EVERYTHING = 1.0  # the whole input range
_SLACK = 1.5  # inputs: a rate may fall by one of them
_MIN_GRADIENTS = 0.95


class Check(NamedTuple):
    """One check.

    Attributes:
        name: What is checked.
        passed: Whether it holds.
        finding: The figures.
    """

    name: str
    passed: bool
    finding: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.passed else 'WEAK'}  {self.name}: {self.finding}"


def check(case: Case, eps: float, smallest: float | None = None) -> list[Check]:
    """Check the attack along the detector's gradient, or what stands in for it.

    Args:
        case: The `Case`; its first 20 inputs count.
        eps: The largest change of a value, as a fraction of the input range.
        smallest: The smallest distance at which any attack got through, if any did.

    Returns:
        The `Check`s.
    """
    case = Case(case.defence, *(rows[:_INPUTS] for rows in case[1:]))
    kind: type[ProjectedDescent] = SelectivePGD if case.defence.differentiable else PGD
    attack = kind(eps=eps, max_iterations=_STEPS, targets=1)
    rate = _remembered(case)
    checks = [
        _beats_noise(rate, attack),
        _rises_with_eps(rate, attack),
        _rises_with_steps(rate, attack),
    ]
    if smallest is not None:
        checks.append(_ends_below(rate, attack, smallest / 10))
    if case.defence.differentiable:
        checks.append(_has_gradients(case, attack))
    return checks


Rate = Callable[[Adversary], float]


def _remembered(case: Case) -> Rate:
    """Return a function of an attack that measures its success rate, once."""
    known: dict[Adversary, float] = {}

    def rate(attack: Adversary) -> float:
        if attack not in known:
            labels, flagged, _ = attack.craft(case).verdicts
            known[attack] = float(((labels != case.y) & ~flagged).mean())
        return known[attack]

    return rate


def _rises_with_eps(rate: Rate, attack: ProjectedDescent) -> Check:
    levels = (attack.eps / 4, attack.eps, _EVERYTHING)
    found = [rate(attack.within(level)) for level in levels]
    return Check(
        "success rises with eps, and is 100 % without a limit",
        _rises(found) and found[-1] == 1,
        ", ".join(f"{each:.0%} at {level:.3g}" for each, level in zip(found, levels, strict=True)),
    )


def _rises_with_steps(rate: Rate, attack: ProjectedDescent) -> Check:
    numbers = (max(attack.max_iterations // 10, 1), attack.max_iterations)
    found = [rate(dataclasses.replace(attack, max_iterations=number)) for number in numbers]
    shown = (f"{each:.0%} in {number}" for each, number in zip(found, numbers, strict=True))
    return Check("success rises with steps", _rises(found), ", ".join(shown))


def _ends_below(rate: Rate, attack: ProjectedDescent, eps: float) -> Check:
    found = rate(attack.within(eps))
    name = "nothing gets through at a tenth of the smallest distance"
    return Check(name, found == 0, f"{found:.0%} at {eps:.3g}")


def _beats_noise(rate: Rate, attack: ProjectedDescent) -> Check:
    ours, noise = rate(attack), rate(Noise(eps=attack.eps))
    better = ours > noise or ours == noise == 1
    return Check("success exceeds that of noise", better, f"{ours:.0%} against {noise:.0%}")


def _has_gradients(case: Case, attack: ProjectedDescent) -> Check:
    """Check that wherever the detector's loss is not zero, nor is its gradient."""
    far = PGD(eps=attack.eps, max_iterations=max(_STEPS // 10, 1)).craft(case).x

    def look(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = case.defence.look(x).loss
        gradient = finite(tape.gradient(loss, x), x)
        return loss, tf.reduce_any(gradient != 0, axis=list(range(1, len(x.shape))))

    compiled = tf.function(look, autograph=False, reduce_retracing=True)
    loss, moves = (v.numpy() for v in compiled(case.defence.classifier.to_unit(tf.constant(far))))
    share = float(moves[loss > 0].mean()) if (loss > 0).any() else 1.0
    return Check(
        "the detector's loss has a gradient",
        share >= _MIN_GRADIENTS,
        f"not zero on {share:.0%} of {np.count_nonzero(loss > 0)} examples with a loss",
    )


def _rises(rates: list[float]) -> bool:
    return all(b >= a - _SLACK / _INPUTS for a, b in itertools.pairwise(rates))
