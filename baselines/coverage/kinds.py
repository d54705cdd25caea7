"""The kinds of input that are judged, all made from correctly classified test inputs."""

from typing import NamedTuple

import numpy as np

from baselines.comparison.labels import correctly_classified
from baselines.coverage.changes import EVASIONS, HARMLESS
from baselines.coverage.strangers import strangers
from models.parameters import CONFIDENT

MAX_CONFIDENT = 200  # inputs that C&W with confidence attacks, because it takes long


class Kind(NamedTuple):
    """One kind of input.

    Attributes:
        x: The inputs, float32, (n, *input shape).
        benign: The benign inputs that they were made from, or in whose place they stand, like `x`.
        first: Which inputs may be learned and chosen from, bool, (n,).
        reported: Which inputs the tables count, bool, (n,); none of them is in `first`.
    """

    x: np.ndarray
    benign: np.ndarray
    first: np.ndarray
    reported: np.ndarray


class Kinds(NamedTuple):
    """All kinds of input.

    Attributes:
        benign: The benign inputs, a `Kind`.
        adapting: Other benign inputs, to adapt guards on; a `Kind` that no table counts.
        attacks: A dict from the attack's name to a `Kind`. Only examples that fool count.
        fooled: A dict from the attack's name to the share of its examples that fool.
        evasions: A dict from the change to a dict like `attacks`, of the reported examples
            changed. Only those that still fool count.
        changes: A dict from the change to a `Kind` of reported benign inputs changed.
        kept: A dict from the change to the share of its inputs that keep their predictions.
        strangers: A dict from the name of another data set to a `Kind`.
    """

    benign: Kind
    adapting: Kind
    attacks: dict
    fooled: dict
    evasions: dict
    changes: dict
    kept: dict
    strangers: dict

    def all(self):
        """List all kinds, a dict by name."""
        evasions = {
            f"{attack} {change}": kind
            for change, kinds in self.evasions.items()
            for attack, kind in kinds.items()
        }
        single = {"benign": self.benign, "adapting": self.adapting}
        return single | self.attacks | self.changes | self.strangers | evasions


def attacks_of(settings):
    """List the attacks of a data set: those that the paper compares on, and the strong ones.

    Args:
        settings: The `models.record.Settings`.

    Returns:
        A dict by name.
    """
    return {**settings.attacks, **settings.strong}


def collect(work, data, settings, *, name, limit):
    """Make all kinds of input.

    Attacks craft from the first `limit` correctly classified test inputs, so that examples are
    those of other suites. The first n of these are judged, n being at most half of all, and the
    next n adapt the guards.

    Args:
        work: The `baselines.comparison.measurements.Work` that crafts.
        data: The `models.record.Dataset`.
        settings: Its `models.record.Settings`.
        name: The name of the data set.
        limit: The largest number of inputs to judge.

    Returns:
        The `Kinds`.
    """
    model = work.classifier.model
    correct = correctly_classified(model, data.x_test, data.y_test, 2 * limit)
    count = min(limit, len(correct) // 2)
    benign, adapting = correct[:count], correct[count : 2 * count]
    attacks, fooled = _craft(work, settings, correct[:limit], count)
    half = benign[count // 2 :]
    changed = {change: apply(half) for change, apply in HARMLESS.items()}
    others = strangers(name, benign.shape[1:], len(half))
    return Kinds(
        benign=_in_halves(benign, benign, np.ones(count, bool)),
        adapting=Kind(adapting, adapting, *np.zeros((2, count), bool)),
        attacks=attacks,
        fooled=fooled,
        evasions={
            change: {attack: _evade(model, kind, apply) for attack, kind in attacks.items()}
            for change, apply in EVASIONS.items()
        },
        changes={change: _reported(x, half) for change, x in changed.items()},
        kept={change: _same_label(model, x, half).mean() for change, x in changed.items()},
        strangers={other: _reported(x, half) for other, x in others.items()},
    )


def _craft(work, settings, benign, count):
    """Return the attacks' kinds, of at most `count` inputs, and the shares that fool."""
    attacks = attacks_of(settings)
    inputs = {n: benign[:MAX_CONFIDENT] if n in CONFIDENT else benign for n in attacks}
    examples, success = work.craft("test", attacks, inputs)
    kinds, fooled = {}, {}
    for name, x in examples.items():
        fooled[name] = success[name][:count].mean()
        kinds[name] = _in_halves(x[:count], inputs[name][:count], success[name][:count])
    return kinds, fooled


def _in_halves(x, benign, counted):
    second = np.arange(len(x)) >= len(x) // 2
    return Kind(x, benign, counted & ~second, counted & second)


def _reported(x, benign):
    every = np.ones(len(x), bool)
    return Kind(x, benign, ~every, every)


def _evade(model, kind, apply):
    half = len(kind.x) // 2
    x, benign = apply(kind.x[half:]), kind.benign[half:]
    still = kind.reported[half:] & ~_same_label(model, x, benign)
    return Kind(x, benign, np.zeros(len(x), bool), still)


def _same_label(model, x, benign):
    labels = (model.predict(each, batch_size=512, verbose=0).argmax(-1) for each in (x, benign))
    return np.equal(*labels)
