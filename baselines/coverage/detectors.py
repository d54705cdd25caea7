"""The detectors: statistics alone and together, the cost of BIM, and the baselines."""

import dataclasses
import inspect
import sys
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from a2d_keras import statistics
from a2d_keras.detection.rules import Column, Fisher
from a2d_keras.statistics import BoundaryDistance
from a2d_keras.statistics.base import Statistic
from a2d_keras.statistics.defaults import default_statistics
from a2d_keras.statistics.fingerprints import Fingerprints
from baselines.coverage.kinds import attacks_of
from baselines.digests import digest
from baselines.env1.settings import rivals
from baselines.noise import noise_like

FALSE_POSITIVE_RATE = 0.05
DEFAULT = "default"
SAME_ATTACK = ", same attack"  # ends the name of a baseline that knows the attack it is judged on
MIN_EXAMPLES = 5  # that fool, of an attack: fewer teach a baseline nothing, and fill no table
_MAX_PASSES = 20  # of a statistic that counts as cheap
_EXTRA = ("Reconstruction", "Spectrum")  # may be added to the default
_COST = "BIM_d"
_FITTED_ON = "FGSM"


class Judged(NamedTuple):
    """What a detector says of one kind of input.

    Attributes:
        benign: Scores of the benign inputs, float, (n,). Higher is more adversarial.
        scores: Scores of the inputs, float, (m,).
        flagged: Whether each input is flagged, bool, (m,).
    """

    benign: np.ndarray
    scores: np.ndarray
    flagged: np.ndarray


class Detector(NamedTuple):
    """A detector, and its verdicts.

    Attributes:
        verdicts: A dict from the kind of input to what is `Judged`.
        forward: Forward passes of a verdict beside the prediction; for BIM_d their mean on benign
            inputs.
        backward: Backward passes, like `forward`.
        benign_only: Whether it learns from benign inputs alone.
    """

    verdicts: dict
    forward: float
    backward: float
    benign_only: bool = True


def judge(work, kinds, data, settings):
    """Judge all kinds of input by all detectors.

    Args:
        work: The `baselines.comparison.measurements.Work` that measures.
        kinds: The `baselines.coverage.kinds.Kinds`.
        data: The `models.record.Dataset`.
        settings: Its `models.record.Settings`.

    Returns:
        A dict from the name to the `Detector`.
    """
    return {
        **_by_statistics(work, kinds),
        _COST: _by_cost(work, kinds, settings.defences[_COST]),
        **_by_baselines(work, kinds, data, settings),
    }


def sets(classifier):
    """List the sets of statistics that are detectors.

    Args:
        classifier: The `a2d_keras.Classifier`.

    Returns:
        A dict from the name to a tuple of statistics: each cheap statistic of the registry, the
        default of `guard`, and the default with more, as far as they are registered.
    """
    registered = {
        name: kind
        for name, kind in vars(statistics).items()
        if inspect.isclass(kind) and issubclass(kind, Statistic)
    }
    single = [kind() for kind in registered.values()]
    single.append(BoundaryDistance(secant=True))
    alone = {
        label(each): (each,)
        for each in sorted(single, key=label)
        if sum(each.passes(classifier)) <= _MAX_PASSES
    }
    default = default_statistics(classifier)
    extra = [n for n in _EXTRA if n in registered and n not in {type(s).__name__ for s in default}]
    more = {" + ".join([DEFAULT, *extra]): (*default, *(registered[n]() for n in extra))}
    return {**alone, DEFAULT: default, **(more if extra else {})}


def label(statistic):
    """Name a statistic by its class, and by the parameters that differ from their defaults.

    Args:
        statistic: The `Statistic`.

    Returns:
        The name.

    Examples:
        >>> label(BoundaryDistance(secant=True))
        'BoundaryDistance(secant=True)'
    """
    values = ((f, getattr(statistic, f.name)) for f in dataclasses.fields(statistic))
    given = ", ".join(f"{f.name}={value!r}" for f, value in values if value != f.default)
    return type(statistic).__name__ + (given and f"({given})")


def measured(work, statistic, kinds):
    """Measure one statistic on all kinds of input. It learns from every other adapting input.

    Args:
        work: The `baselines.comparison.measurements.Work`.
        statistic: The `Statistic`, whose tail does not matter.
        kinds: A dict from the kind to a `baselines.coverage.kinds.Kind`, with "adapting" in it.

    Returns:
        A dict from the kind to the values, float32, (n,).
    """

    def compute():
        options = {"statistics": [statistic], "false_positive_rate": FALSE_POSITIVE_RATE}
        fitted = Fingerprints(work.classifier, **options).fit(kinds["adapting"].x[::2])
        return {name: fitted.transform(kind.x)[:, 0] for name, kind in kinds.items()}

    origin = {
        "statistic": repr(statistic),
        "code": digest(inspect.getsource(sys.modules[type(statistic).__module__])),
        "inputs": {name: digest(kind.x) for name, kind in kinds.items()},
    }
    return work.checkpoints.get(label(statistic), work.basis | origin, compute)


def by_fisher(values, tails):
    """Judge inputs by Fisher's rule on several statistics.

    Args:
        values: A dict from the kind of input to statistics, float32, (n, statistics), with
            "adapting" and "benign" in it. The rule learns ranks from the even rows of "adapting",
            and is calibrated on the odd ones.
        tails: The tail of each statistic.

    Returns:
        A dict from the kind to what is `Judged`.
    """
    rule = Fisher()
    rule.prepare([Column(tail) for tail in tails], FALSE_POSITIVE_RATE)
    rule.learn(values["adapting"][::2], values["adapting"][1::2])
    found = {kind: rule(tf.constant(rows)) for kind, rows in values.items()}
    benign = found["benign"][1].numpy()
    return {
        kind: Judged(benign, score.numpy(), flagged.numpy())
        for kind, (flagged, score, _) in found.items()
    }


def _by_statistics(work, kinds):
    every, known, found = kinds.all(), {}, {}
    for name, chosen in sets(work.classifier).items():
        for statistic in map(_without_tail, chosen):
            if statistic not in known:
                known[statistic] = measured(work, statistic, every)
        columns = [known[_without_tail(statistic)] for statistic in chosen]
        values = {kind: np.stack([c[kind] for c in columns], axis=1) for kind in every}
        passes = [statistic.passes(work.classifier) for statistic in chosen]
        found[name] = Detector(
            verdicts=by_fisher(values, [statistic.tail for statistic in chosen]),
            forward=sum(each.queries for each in passes),
            backward=sum(each.gradient_evaluations for each in passes)
            + any(statistic.needs_gradient for statistic in chosen),  # all share this gradient
        )
    return found


def _without_tail(statistic):
    """Give a statistic the default tail, so that it is measured once for all tails."""
    tail = next(f.default for f in dataclasses.fields(statistic) if f.name == "tail")
    return dataclasses.replace(statistic, tail=tail)


def _by_cost(work, kinds, attack):
    """Judge benign inputs and attacks; on all other kinds an exact cost would take hours."""
    judged = {"benign": kinds.benign, "adapting": kinds.adapting, **kinds.attacks}
    fields = {"steps": "cost", "queries": "queries", "gradients": "gradient_evaluations"}
    found = {
        name: work.attack(f"{name} {_COST}", attack, kind.x, fields)
        for name, kind in judged.items()
    }
    costs = {name: each["steps"][:, None].astype("float32") for name, each in found.items()}
    reported = kinds.benign.reported
    forward, backward = (found["benign"][n][reported].mean() for n in ("queries", "gradients"))
    return Detector(by_fisher(costs, ["low"]), forward, backward)


def _by_baselines(work, kinds, data, settings):
    attacks, found = attacks_of(settings), {}
    for name, make in rivals(settings).items():
        baseline = make(work.classifier.model, data)
        rows = {
            kind: work.characteristics(f"{kind} {name}", baseline, each.x, each.benign)
            for kind, each in kinds.all().items()
        }
        noisy = {
            kind: work.characteristics(
                f"noisy {kind} {name}", baseline, *_noisy(attack, kinds.attacks[kind])
            )
            for kind, attack in attacks.items()
        }
        _fit(baseline, rows, noisy, kinds, _FITTED_ON)
        price = baseline.passes, 0
        verdicts = _by_score(baseline, rows)
        found[name] = Detector(verdicts, *price, benign_only=not baseline.supervised)
        if not baseline.supervised:
            continue
        known = {}
        for attack, kind in kinds.attacks.items():
            if kind.first.sum() >= MIN_EXAMPLES:
                _fit(baseline, rows, noisy, kinds, attack)
                known[attack] = _by_score(baseline, rows)[attack]
        found[name + SAME_ATTACK] = Detector(known, *price, benign_only=False)
    return found


def _noisy(attack, kind):
    """Make noisy counterparts of the first half; return them, and the benign inputs."""
    half = len(kind.x) // 2
    benign = kind.benign[:half]
    return noise_like(attack)(benign, kind.x[:half]), benign


def _fit(baseline, rows, noisy, kinds, attack):
    """Fit a baseline on the first half of an attack's inputs."""
    examples = rows[attack][kinds.attacks[attack].first]
    baseline.fit_characteristics(rows["benign"][: len(noisy[attack])], noisy[attack], examples)


def _by_score(baseline, rows):
    scores = {kind: baseline.score_characteristics(values) for kind, values in rows.items()}
    threshold = np.quantile(scores["adapting"], 1 - FALSE_POSITIVE_RATE)
    return {kind: Judged(scores["benign"], each, each > threshold) for kind, each in scores.items()}
