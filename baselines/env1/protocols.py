"""AUROC under two protocols: the paper's, and one that scores nothing it was fitted on."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from baselines.env1.detectors import adversarial_steps, supervised, z_score

_RESAMPLES = 1000
_BLOCK = 100  # inputs, in which LID's authors split


class Protocol(NamedTuple):
    """Which test inputs are fitted on, and which are scored.

    Attributes:
        counted: A dict from the attack's name to which of its examples count, bool, (n,).
        scored: Which inputs are scored, by what was not fitted on test inputs, bool, (n,).
        halves: A dict from the baseline's name to which inputs fit it and which are scored.
        fooled_only: Whether END is fitted only on training examples that fooled.
    """

    counted: dict
    scored: np.ndarray
    halves: dict
    fooled_only: bool


def paper(measurements):
    """Compare as the paper does.

    Every adversarial example counts, whether or not it fooled the classifier. BL1 is scored on
    the data it was fitted on; BL2 on the last fifth, in blocks of 100, as their authors do.

    Args:
        measurements: The `baselines.env1.measurements.Measurements`.

    Returns:
        A `Protocol`.
    """
    count = len(measurements.test.inputs["benign"])
    every = np.ones(count, bool)
    first = np.arange(count) < (count * 4 // 5 // _BLOCK * _BLOCK or count * 4 // 5)
    counted = dict.fromkeys(measurements.test.fooled, every)
    halves = {"BL1": (every, every), "BL2": (first, ~first)}
    return Protocol(counted, every, halves, fooled_only=False)


def held_out(measurements):
    """Compare on what no detector has seen.

    Only examples that fooled count. The second half of the test inputs is scored; the first half
    fits BL1 and BL2, and training images fit END and the Z-score ensemble.

    Args:
        measurements: The `baselines.env1.measurements.Measurements`.

    Returns:
        A `Protocol`.
    """
    count = len(measurements.test.inputs["benign"])
    first = np.arange(count) < count // 2
    halves = {"BL1": (first, ~first), "BL2": (first, ~first)}
    return Protocol(measurements.test.fooled, ~first, halves, fooled_only=True)


def scores(measurements, protocol, attack):
    """Score the inputs of one attack with every detector; higher is more adversarial.

    Args:
        measurements: The `baselines.env1.measurements.Measurements`.
        protocol: The `Protocol`.
        attack: The attack's name.

    Returns:
        A dict from the detector's name to its scores of negatives, float, (n,), and of
        positives, float, (any number,). Negatives are benign inputs; where the name ends in
        "+ noisy", their noisy counterparts too.
    """
    counted, scored, found = protocol.counted[attack], protocol.scored, {}
    for detector, score in _fingerprint_scores(measurements, protocol.fooled_only).items():
        found[detector] = score["benign"][scored], score[attack][scored & counted]
    for name, (fitted, scored) in protocol.halves.items():
        score = _baseline_scores(measurements, name, attack, fitted, counted)
        benign, noisy = score["benign"][scored], score[f"noisy {attack}"][scored]
        positive = score[attack][scored & counted]
        found[name] = benign, positive
        found[f"{name} + noisy"] = np.append(benign, noisy), positive
    return found


def compare(measurements, protocol):
    """Compute the AUROC of every detector on every attack.

    Args:
        measurements: The `baselines.env1.measurements.Measurements`.
        protocol: The `Protocol`.

    Returns:
        A `pandas.DataFrame`, a row for each attack and detector: `attack`, `detector`, `auroc`,
        `low`, `high`, `negatives` and `positives` (how many).
    """
    rows = []
    for attack in protocol.counted:
        for detector, (negative, positive) in scores(measurements, protocol, attack).items():
            row = {"attack": attack, "detector": detector, **auroc(negative, positive)}
            rows.append(row | {"negatives": len(negative), "positives": len(positive)})
    return pd.DataFrame(rows)


def transfer(measurements):
    """Fit the supervised detectors on one attack, and score them on each, held out.

    Args:
        measurements: The `baselines.env1.measurements.Measurements`.

    Returns:
        A `pandas.DataFrame`, a row for each detector, attack that it was fitted on and attack
        that it is scored on: `detector`, `fitted_on` ("none": the Z-score ensemble), `attack`,
        `auroc`, `low`, `high`.
    """
    test, protocol = measurements.test, held_out(measurements)
    found = {("Z-score", "none"): _z_scores(measurements)}
    for attack, fooled in test.fooled.items():
        found["END", attack] = _end_scores(measurements, fooled_only=True, attacks=[attack])
        for name, (fitted, _) in protocol.halves.items():
            found[name, attack] = _baseline_scores(measurements, name, attack, fitted, fooled)
    rows = []
    for (detector, fitted_on), score in found.items():
        for attack, fooled in test.fooled.items():
            negative = score["benign"][protocol.scored]
            positive = score[attack][protocol.scored & fooled]
            row = {"detector": detector, "fitted_on": fitted_on, "attack": attack}
            rows.append(row | auroc(negative, positive))
    return pd.DataFrame(rows)


def auroc(negative, positive):
    """Compute the area under the ROC curve, and its bootstrap 95 % interval.

    Args:
        negative: Scores of inputs that are not adversarial, float, (n,).
        positive: Scores of adversarial inputs, float, (any number,).

    Returns:
        A dict of floats: `auroc`, and `low` and `high`, percentiles over 1,000 resamples.

    Examples:
        >>> auroc([1.0, 2.0], [2.0, 3.0])["auroc"]
        0.875
    """
    sample = np.asarray(negative, "float64"), np.asarray(positive, "float64")
    interval = stats.bootstrap(
        sample, _area, n_resamples=_RESAMPLES, batch=_BLOCK, method="percentile", rng=0
    ).confidence_interval
    return dict(zip(("auroc", "low", "high"), map(float, (_area(*sample), *interval)), strict=True))


def _area(negative, positive, axis=-1):
    pairs = negative.shape[axis] * positive.shape[axis]
    test = stats.mannwhitneyu(positive, negative, axis=axis, method="asymptotic")
    return test.statistic / pairs


def _fingerprint_scores(measurements, fooled_only):
    """Score every test input: a dict from the detector to a dict from the kind to its scores."""
    steps = measurements.test.steps
    found = {name: {k: -f[name].to_numpy() for k, f in steps.items()} for name in steps["benign"]}
    found["END"] = _end_scores(measurements, fooled_only)
    found["Z-score"] = _z_scores(measurements)
    return found


def _end_scores(measurements, fooled_only, attacks=None):
    training = measurements.training
    adversarial = adversarial_steps(training, fooled_only, attacks)
    end = supervised(training.steps["benign"].to_numpy(), adversarial)
    steps = measurements.test.steps
    return {kind: end.predict_proba(frame.to_numpy())[:, 1] for kind, frame in steps.items()}


def _z_scores(measurements):
    ensemble = z_score(measurements.training.steps["benign"].to_numpy())
    steps = measurements.test.steps
    return {kind: -ensemble.score_samples(frame.to_numpy()) for kind, frame in steps.items()}


def _baseline_scores(measurements, name, attack, fitted, counted):
    found, baseline = measurements.characteristics[name], measurements.baselines[name]
    fitting = found["benign"][fitted], found[f"noisy {attack}"][fitted]
    baseline.fit_characteristics(*fitting, found[attack][fitted & counted])
    return {kind: baseline.score_characteristics(values) for kind, values in found.items()}
