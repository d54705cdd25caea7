"""`redteam`: let the red team attack a guard, and say what gets through."""

import dataclasses
import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from a2d_keras import inputs
from a2d_keras.detection.guarded_model import GuardedModel
from a2d_keras.progress import duration, showing
from a2d_keras.redteam.adversary import Adversary, Case, Crafted
from a2d_keras.redteam.checkpoints import Arrays, Checkpoints
from a2d_keras.redteam.checks import Check, check
from a2d_keras.redteam.defence import Defence, Verdicts, predict
from a2d_keras.redteam.guard_defence import GuardDefence
from a2d_keras.redteam.result import RedTeamResult, within
from a2d_keras.redteam.standard import STANDARD, VERSION, choose
from a2d_keras.validation import require_fraction


def redteam(
    guarded: GuardedModel | Defence,
    x: Any,
    y: Any,
    *,
    attacks: str | Sequence[Adversary | str] = "standard",
    eps: float = 8 / 255,
    folder: str | os.PathLike[str] | None = None,
    verbose: int = 1,
) -> RedTeamResult:
    """Attack a guarded model, knowing the guard, and report what gets through.

    An attack succeeds on an input if the result is misclassified, not flagged at the guard's own
    threshold, and within `eps`. Only inputs that the classifier gets right count. They also serve
    as the benign inputs that an attacker knows.

    Args:
        guarded: The `GuardedModel`, adapted; or any other `Defence`, such as a `ScoredDefence`.
        x: Inputs that the guard was not adapted to, (n, *input_shape). 100 make good figures.
        y: Their true classes, int, (n,).
        attacks: `"standard"`, a fixed set whose version the result names, or adversaries and names
            of their classes. Defaults to `"standard"`.
        eps: The largest change of a value, as a fraction of the input range. Defaults to 8/255.
        folder: Where finished parts are kept, so that the same call continues after a stop.
            Defaults to None, which keeps nothing.
        verbose: 1 tells what each attack got through, and for how long at most the others may
            take; 0 is silent. Defaults to 1.

    Returns:
        A `RedTeamResult`.

    Raises:
        ValueError: If an argument does not fit, or the classifier gets no input right.

    Examples:
        >>> import keras
        >>> import a2d_keras as a2d
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> x = np.random.default_rng(0).uniform(size=(120, 4)).astype("float32")
        >>> y = model.predict(x, verbose=0).argmax(axis=-1)
        >>> guarded = a2d.guard(model)
        >>> guarded.adapt(x[:100], verbose=0)
        >>> result = redteam(guarded, x[100:], y[100:], attacks=["Noise", "PGD"], verbose=0)
        >>> [row["attack"] for row in result.rows()]
        ['noise', 'pgd', 'any of these']
    """
    require_fraction("eps", eps)
    chosen = choose(attacks)
    defence, right = _prepared(guarded, x, y)
    case = Case(defence, right.x, right.y, right.x)
    run = _Run(case, eps, Checkpoints(folder), verbose)
    suited = [each.within(eps) for each in chosen if each.suits(case)]
    with showing(verbose):
        crafted = run.all(suited)
    about = {
        "set": VERSION if chosen == STANDARD else "chosen by the user",
        "inputs": len(right.y),
        "misclassified inputs left out": right.left_out,
        "attacks left out": [each.name for each in chosen if not each.suits(case)],
        "eps": eps,
        "false positive rate of the guard": defence.false_positive_rate,
        "benign inputs flagged": float(run.benign.flagged.mean()),
    }
    adversaries = {each.name: each for each in suited}
    benign = run.benign
    result = RedTeamResult(
        defence, right.x, right.y, eps, benign, adversaries, crafted, about, checks=[]
    )
    return dataclasses.replace(result, checks=run.checks(_smallest(result)))


class _Right(NamedTuple):
    """The inputs that the classifier gets right."""

    x: np.ndarray
    y: np.ndarray
    left_out: int


class _Run:
    """A run of adversaries on one case, with what was kept of an earlier run."""

    def __init__(self, case: Case, eps: float, kept: Checkpoints, verbose: int) -> None:
        self._case, self._eps, self._kept, self._verbose = case, eps, kept, verbose
        self.benign = case.defence.judge(case.x)
        self._seconds, self._effort = 0.0, 0  # of what was computed
        self._origin = [VERSION, *case.defence.identity(), case.x, case.y]

    def all(self, adversaries: Sequence[Adversary]) -> dict[str, Crafted]:
        """Let each attack, and give the later ones the best of the earlier ones."""
        found: dict[str, Crafted] = {}
        started = time.monotonic()
        best, lowest = self._case.best.copy(), np.full(len(self._case.y), np.inf)
        for number, adversary in enumerate(adversaries, 1):
            case = self._case._replace(best=best)
            found[adversary.name] = crafted = self._one(adversary, case)
            labels, flagged, score = crafted.verdicts
            fools = (labels != case.y) & (self._near(crafted.x) | (not adversary.limited))
            where = "" if adversary.limited else ", at any distance"
            self._say(
                f"{adversary.name}: {np.count_nonzero(fools & ~flagged)} of {len(fools)} got "
                f"through{where} ({number} of {len(adversaries)} attacks, "
                f"{duration(time.monotonic() - started)}{self._left(adversaries[number:])})"
            )
            better = fools & self._near(crafted.x) & (score < lowest)
            best, lowest = best.copy(), np.where(better, score, lowest)
            best[better] = crafted.x[better]
        return found

    def checks(self, smallest: float | None) -> list[Check]:
        """Check the attacks."""

        def compute() -> Arrays:
            found = check(self._case, self._eps, smallest)
            return {name: np.asarray([getattr(c, name) for c in found]) for name in Check._fields}

        self._say("checking that the attacks are no weaker than they look")
        arrays = self._kept.get("checks", [*self._origin, self._eps, smallest], compute)
        return [
            Check(str(name), bool(passed), str(finding))
            for name, passed, finding in zip(*(arrays[f] for f in Check._fields), strict=True)
        ]

    def _one(self, adversary: Adversary, case: Case) -> Crafted:
        def compute() -> Arrays:
            started = time.monotonic()
            x, verdicts, queries, gradients = adversary.craft(case)
            self._seconds += time.monotonic() - started
            self._effort += adversary.effort
            passes = {"queries": queries, "gradient_evaluations": gradients}
            return {"x": x, **verdicts._asdict(), **passes}

        origin = [*self._origin, adversary, case.best]
        arrays = self._kept.get(adversary.name, origin, compute)
        verdicts = Verdicts(*(arrays[name] for name in Verdicts._fields))
        return Crafted(arrays["x"], verdicts, arrays["queries"], arrays["gradient_evaluations"])

    def _left(self, others: Sequence[Adversary]) -> str:
        """Say for how long the others may take, by what the first ones took."""
        if not others or not self._effort:
            return ""
        seconds = self._seconds / self._effort * sum(each.effort for each in others)
        return f", at most about {duration(seconds)} left"

    def _near(self, x: np.ndarray) -> np.ndarray:
        return within(self._case.defence.distances(self._case.x, x)[1], self._eps)

    def _say(self, sentence: str) -> None:
        if self._verbose:
            print(f"redteam: {sentence}", flush=True)


def _prepared(guarded: Any, x: Any, y: Any) -> tuple[Defence, _Right]:
    """Check inputs and labels, keep what the classifier gets right, and face the guard."""
    if not isinstance(guarded, GuardedModel | Defence):
        raise ValueError(
            "`redteam` takes a guarded model, from `guard`, or a Defence. "
            f"Received: {type(guarded).__name__}"
        )
    is_model = isinstance(guarded, GuardedModel)
    classifier = guarded.detector.classifier if is_model else guarded.classifier
    x = np.asarray(inputs.checked(np.asarray(x), classifier), "float32")
    y = np.asarray(y)
    if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(
            "`y` must hold the true class of each input, a whole number. "
            f"Received: {y.dtype} of the shape {y.shape} for {len(x)} inputs"
        )
    right = predict(classifier, x).argmax(axis=-1) == y if len(x) else np.zeros(0, bool)
    if not right.any():
        raise ValueError(
            "The classifier must get some inputs right, since only these count. "
            f"Received: {len(x)} inputs, none of them right"
        )
    kept = _Right(x[right], y[right].astype("int64"), int(np.count_nonzero(~right)))
    defence = GuardDefence(guarded, kept.x) if isinstance(guarded, GuardedModel) else guarded
    return defence, kept


def _smallest(result: RedTeamResult) -> float | None:
    """Return the smallest distance at which an adversary succeeded."""
    found = [
        result.distances(name)[1][result.succeeds(name)].min(initial=np.inf)
        for name in result.crafted
    ]
    smallest = float(min(found, default=np.inf))
    return smallest if 0 < smallest < np.inf else None
