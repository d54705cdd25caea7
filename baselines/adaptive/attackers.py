"""`break_guards`: what attackers who know a guard get through it."""

import functools
from typing import NamedTuple

import numpy as np

from a2d_keras.redteam.adversary import Case
from a2d_keras.redteam.guard_defence import GuardDefence
from baselines.adaptive.guards import benign_inputs, of_the_red_team
from baselines.comparison.labels import predicted
from baselines.digests import digest

POOL = "all examples"  # those against other guards too


class Outcome(NamedTuple):
    """What one attack made of n inputs, for one guard.

    Attributes:
        wrong: Whether each is misclassified, bool, (n,).
        flagged: Whether the guard flags each, bool, (n,).
    """

    wrong: np.ndarray
    flagged: np.ndarray


class Broken(NamedTuple):
    """What the red team has done to one classifier.

    Attributes:
        inputs: The number of test inputs, those that the classifier gets wrong among them.
        outcomes: A dict from the guard to a dict from the attack to its `Outcome`, of the inputs
            that the classifier gets right. The last attack, `POOL`, has for each input an example
            that gets through, if any attack on any guard made one.
        alarms: A dict from the guard to whether it flags each of these inputs without an attack,
            bool, (n,).
    """

    inputs: int
    outcomes: dict
    alarms: dict


def break_guards(work, scene, data, sizes, *, defence):
    """Let the red team attack every guard of a classifier.

    Args:
        work: The `baselines.comparison.measurements.Work`.
        scene: The `baselines.adaptive.settings.Scene`.
        data: The `models.record.Dataset`.
        sizes: The `baselines.adaptive.settings.Sizes`.
        defence: BIM_d.

    Returns:
        What was `Broken`.
    """
    x, y = data.x_test[: sizes.limit], data.y_test[: sizes.limit]
    right = predicted(work.classifier, x) == y
    x, y = x[right], y[right]
    benign = benign_inputs(work.classifier, scene, data, sizes.benign)
    adversaries = scene.adversaries(sizes.steps)
    faced, made = {}, {}
    for name, guarded in of_the_red_team(work.classifier, scene, defence, benign):
        faced[name] = GuardDefence(guarded, x)
        made[name] = _attacks(work, name, Case(faced[name], x, y, x), adversaries)
    pool = np.stack([each["x"] for by_attack in made.values() for each in by_attack.values()])
    outcomes, alarms = {}, {}
    for name, by_attack in made.items():
        own = {a: Outcome(each["labels"] != y, each["flagged"]) for a, each in by_attack.items()}
        alarms[name] = _judge_all(work, f"{name} alarms", faced[name], x[None])["flagged"][0]
        pooled = _judge_all(work, f"{name} pool", faced[name], pool)
        outcomes[name] = {**own, POOL: worst(pooled["labels"] != y, pooled["flagged"])}
    return Broken(len(right), outcomes, alarms)


def worst(wrong, flagged):
    """Choose for each input the example that is worst for a guard.

    Args:
        wrong: Whether each example is misclassified, bool, (examples, n).
        flagged: Whether the guard flags it, bool, (examples, n).

    Returns:
        The `Outcome`: wrong where any example is; flagged where all wrong ones are.

    Examples:
        >>> worst(np.array([[True, True], [True, False]]), np.array([[True, True], [False, False]]))
        Outcome(wrong=array([ True,  True]), flagged=array([False,  True]))
    """
    through = (wrong & ~flagged).any(axis=0)
    return Outcome(wrong.any(axis=0), wrong.any(axis=0) & ~through)


def _attacks(work, name, case, adversaries):
    """Run every adversary that suits, and keep what each made."""
    made = {}
    for adversary in adversaries:
        if adversary.suits(case):
            origin = work.basis | {
                "guard": repr(case.defence.identity()),
                "adversary": repr(adversary),
                "inputs": digest(case.x, case.y),
            }
            compute = functools.partial(_crafted, adversary, case)
            title = f"{work.classifier.model.name} {name} {adversary.name}"
            made[adversary.name] = work.checkpoints.get(title, origin, compute)
    return made


def _crafted(adversary, case):
    x, verdicts, queries, gradients = adversary.craft(case)
    passes = {"queries": queries, "gradient_evaluations": gradients}
    return {"x": x, **verdicts._asdict(), **passes}


def _judge_all(work, title, faced, examples):
    """Judge examples, float32, (examples, n, *input shape)."""

    def compute():
        verdicts = faced.judge(examples.reshape(-1, *examples.shape[2:]))
        return {
            key: values.reshape(examples.shape[:2])
            for key, values in verdicts._asdict().items()
            if key != "score"
        }

    origin = work.basis | {"guard": repr(faced.identity()), "examples": digest(examples)}
    return work.checkpoints.get(f"{work.classifier.model.name} {title}", origin, compute)
