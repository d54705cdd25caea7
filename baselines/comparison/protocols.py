"""AUROC under two protocols: the paper's, and one that scores no input that it was fitted on."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from baselines.comparison.ensembles import ENSEMBLES, adversarial_steps

RESAMPLES = 1000
RATES = (0.01, 0.05, 0.1)  # false positive rates at which true positives are counted
NOISY = " + noisy"  # ends the name of a detector whose negatives are noisy inputs too
_BATCH = 100  # resamples at once


class Protocol(NamedTuple):
    """Which test inputs are fitted on, and which are scored.

    Attributes:
        counted: A dict from the attack's name to which of its examples count, bool, (n,).
        scored: Which inputs are scored by detectors not fitted on test inputs, bool, (n,).
        splits: A dict from the baseline's name to which inputs fit it and which it scores.
        fooled_only: Whether ensembles are fitted only on training examples that fooled.
    """

    counted: dict
    scored: np.ndarray
    splits: dict
    fooled_only: bool


def paper(measurements):
    """Compare as the papers do.

    Every adversarial example counts, whether or not it fooled the classifier, unless the
    measurements are `fooled_only`. Each baseline is fitted and scored on the test inputs that its
    authors fit and score on.

    Args:
        measurements: The `baselines.comparison.measurements.Measurements`.

    Returns:
        A `Protocol`.
    """
    count = len(measurements.test.inputs["benign"])
    every = np.ones(count, bool)
    splits = {name: each.paper_split(count) for name, each in measurements.baselines.items()}
    fooled, fooled_only = measurements.test.fooled, measurements.fooled_only
    counted = fooled if fooled_only else dict.fromkeys(fooled, every)
    return Protocol(counted, every, splits, fooled_only)


def held_out(measurements):
    """Compare on inputs that no detector has seen.

    Only examples that fooled count. Baselines are fitted on the first half of the test inputs,
    and ensembles on training images. The second half is scored.

    Args:
        measurements: The `baselines.comparison.measurements.Measurements`.

    Returns:
        A `Protocol`.
    """
    count = len(measurements.test.inputs["benign"])
    first = np.arange(count) < count // 2
    splits = dict.fromkeys(measurements.baselines, (first, ~first))
    return Protocol(measurements.test.fooled, ~first, splits, fooled_only=True)


PROTOCOLS = {"paper": paper, "held_out": held_out}


def score(measurements, protocol):
    """Score the inputs of every attack with every detector; higher is more adversarial.

    Args:
        measurements: The `baselines.comparison.measurements.Measurements`.
        protocol: The `Protocol`.

    Returns:
        A dict from the attack to a dict from the detector's name to its scores of negatives,
        float, (n,), and of positives, float, (any number,). Negatives are benign inputs. If the
        name ends in "+ noisy", their noisy counterparts are negatives too.
    """
    by_cost = _cost_scores(measurements, protocol.fooled_only)
    return {
        attack: _score_attack(measurements, protocol, attack, by_cost)
        for attack in protocol.counted
    }


def auroc_table(scores):
    """Compute the AUROC of every detector on every attack.

    Args:
        scores: As returned by `score`.

    Returns:
        A `pandas.DataFrame` with a row for each attack and detector: `attack`, `detector`,
        `auroc`, `low`, `high`, the numbers of `negatives` and `positives`, and the true positive
        rates at 1, 5 and 10 % false positives, `tpr_1`, `tpr_5` and `tpr_10`.
    """
    rows = []
    for attack, by_detector in scores.items():
        for detector, (negative, positive) in by_detector.items():
            row = {"attack": attack, "detector": detector, **auroc(negative, positive)}
            row |= {"negatives": len(negative), "positives": len(positive)}
            found = {f"tpr_{100 * rate:.0f}": detected(negative, positive, rate) for rate in RATES}
            rows.append(row | found)
    return pd.DataFrame(rows)


def detected(negative, positive, rate):
    """Compute the share of adversarial inputs that are flagged at a false positive rate.

    Args:
        negative: Scores of inputs that are not adversarial, float, (n,).
        positive: Scores of adversarial inputs, float, (any number,).
        rate: The largest share of negatives that may be flagged.

    Returns:
        The share of positives above the lowest threshold that keeps the rate.

    Examples:
        >>> float(detected([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0], rate=0.25))
        0.75
    """
    threshold = np.quantile(negative, 1 - rate, method="inverted_cdf")
    return np.mean(np.asarray(positive) > threshold)


def transfer(measurements):
    """Fit the supervised detectors on one attack, and score them on each, held out.

    Args:
        measurements: The `baselines.comparison.measurements.Measurements`.

    Returns:
        A `pandas.DataFrame` with a row for each detector, attack that it was fitted on and attack
        that it is scored on: `detector`, `fitted_on` ("none" for a detector that learns from
        benign inputs only), `attack`, `auroc`, `low`, `high`.
    """
    test, protocol = measurements.test, held_out(measurements)
    ensembles = _ensembles(measurements)
    found = {
        (name, "none"): _ensemble_scores(measurements, each)
        for name, each in ensembles.items()
        if not each.supervised
    }
    for attack, fooled in test.fooled.items():
        for name, each in ensembles.items():
            if each.supervised:
                found[name, attack] = _ensemble_scores(
                    measurements, each, fooled_only=True, attacks=[attack]
                )
        for name, (fitted, _) in protocol.splits.items():
            rows = fitted, fitted & fooled
            fitted_on = attack if measurements.baselines[name].supervised else "none"
            found[name, fitted_on] = _baseline_scores(measurements, name, attack, rows)
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
        sample, area, n_resamples=RESAMPLES, batch=_BATCH, method="percentile", rng=0
    ).confidence_interval
    return dict(zip(("auroc", "low", "high"), map(float, (area(*sample), *interval)), strict=True))


def area(negative, positive, axis=-1):
    """Compute the area under the ROC curve.

    Args:
        negative: Scores of inputs that are not adversarial, float.
        positive: Scores of adversarial inputs, float.
        axis: The axis of the inputs. Defaults to the last.

    Returns:
        The area, ties counting half.
    """
    pairs = negative.shape[axis] * positive.shape[axis]
    test = stats.mannwhitneyu(positive, negative, axis=axis, method="asymptotic")
    return test.statistic / pairs


def _score_attack(measurements, protocol, attack, by_cost):
    counted, scored, found = protocol.counted[attack], protocol.scored, {}
    for detector, score in by_cost.items():
        found[detector] = score["benign"][scored], score[attack][scored & counted]
    for name, (fitted, scored) in protocol.splits.items():
        score = _baseline_scores(measurements, name, attack, (fitted, fitted & counted))
        benign, noisy = score["benign"][scored], score[f"noisy {attack}"][scored]
        positive = score[attack][scored & counted]
        found[name] = benign, positive
        found[name + NOISY] = np.append(benign, noisy), positive
    return found


def _cost_scores(measurements, fooled_only):
    """Score every test input: a dict from the detector to a dict from the kind to its scores."""
    steps = measurements.test.steps
    found = {
        name: {kind: -frame[name].to_numpy() for kind, frame in steps.items()}
        for name in measurements.test.defences
    }
    for name, ensemble in _ensembles(measurements).items():
        found[name] = _ensemble_scores(measurements, ensemble, fooled_only=fooled_only)
    return found


def _ensembles(measurements):
    """List the ensembles: there are none without defences, or without training inputs."""
    return ENSEMBLES if measurements.test.defences and measurements.training else {}


def _ensemble_scores(measurements, ensemble, *, fooled_only=False, attacks=None):
    training = measurements.training
    adversarial = adversarial_steps(training, fooled_only=fooled_only, attacks=attacks)
    score = ensemble.fit(training.steps["benign"].to_numpy(), adversarial)
    return {kind: score(frame.to_numpy()) for kind, frame in measurements.test.steps.items()}


def _baseline_scores(measurements, name, attack, rows):
    """Fit a baseline on rows of negatives and of positives, and score all rows of every kind."""
    found, baseline = measurements.characteristics[name], measurements.baselines[name]
    negatives, positives = rows
    fitting = found["benign"][negatives], found[f"noisy {attack}"][negatives]
    baseline.fit_characteristics(*fitting, found[attack][positives])
    return {kind: baseline.score_characteristics(values) for kind, values in found.items()}
