"""The comparison in ten seconds: how well each detector does over all attacks, and its price."""

import re

import numpy as np
import pandas as pd

from baselines.comparison.ensembles import ENSEMBLES
from baselines.comparison.protocols import NOISY

CLOSE = 0.02  # a mean AUROC so little below the best is nearly as good


def overview(auroc, measurements, seconds):
    """Sum up every detector in a row, the best first.

    Args:
        auroc: The table of `baselines.comparison.protocols.auroc_table`, held out.
        measurements: The `baselines.comparison.measurements.Measurements`.
        seconds: The seconds of each checkpoint, a dict by name.

    Returns:
        A `pandas.DataFrame`: `detector`; its mean `auroc` over the attacks; the `worst` and the
        attack that it is of, `worst_attack`; `tpr_5`, the mean true positive rate at 5 % false
        positives; `learns_attacks`, whether it learned from the attack that it judges; and the
        price of a verdict beside the prediction: `benign_passes` and `adversarial_passes`, mean
        forward passes, and `milliseconds`. NaN is unknown.
    """
    rows, baselines = [], measurements.baselines
    for detector, found in auroc.groupby("detector", sort=False):
        if detector.endswith(NOISY):
            continue
        worst = found.loc[found["auroc"].idxmin()]
        learns = baselines.get(detector, ENSEMBLES.get(detector))
        row = {"detector": detector, "auroc": found["auroc"].mean(), "worst": worst["auroc"]}
        row |= {"worst_attack": worst["attack"], "tpr_5": found["tpr_5"].mean()}
        row["learns_attacks"] = learns is not None and learns.supervised
        rows.append(row | price(detector, measurements, seconds))
    return pd.DataFrame(rows).sort_values("auroc", ascending=False, ignore_index=True)


def price(detector, measurements, seconds):
    """Tell what a verdict takes beside the prediction.

    Args:
        detector: Its name.
        measurements: As for `overview`.
        seconds: As for `overview`.

    Returns:
        A dict: `benign_passes`, `adversarial_passes` and `milliseconds`, as `overview` has them.
        An ensemble takes what all defences take. Seconds are the median over the kinds of input.
    """
    if detector in ENSEMBLES:
        parts = [price(name, measurements, seconds) for name in measurements.test.defences]
        return pd.DataFrame(parts).sum(skipna=False).to_dict()
    test, own = measurements.test, measurements.baselines.get(detector)
    if own is None:
        benign = test.queries["benign"][detector].mean()
        attacked = [test.queries[kind][detector][rows] for kind, rows in test.fooled.items()]
        adversarial = np.concatenate(attacked).mean()
        names = [f"test {kind} {detector}" for kind in test.inputs]
    else:
        benign = adversarial = np.nan if own.passes is None else own.passes
        names = [f"{kind} {detector}" for kind in measurements.characteristics[detector]]
    taken = 1000 * _seconds(seconds, names) / len(test.inputs["benign"])
    return {"benign_passes": benign, "adversarial_passes": adversarial, "milliseconds": taken}


def fastest(table):
    """Choose the fastest detector among those whose mean AUROC is within 0.02 of the best.

    Args:
        table: The table of `overview`.

    Returns:
        Its row, a `pandas.Series`.

    Examples:
        >>> rows = {"detector": ["slow", "fast", "worse"], "auroc": [0.99, 0.98, 0.90]}
        >>> rows |= {"milliseconds": [9.0, 2.0, 1.0], "benign_passes": [200, 5, 1]}
        >>> fastest(pd.DataFrame(rows))["detector"]
        'fast'
    """
    close = table[table["auroc"] >= table["auroc"].max() - CLOSE]
    return close.sort_values(["milliseconds", "benign_passes"]).iloc[0]


def _seconds(seconds, names):
    """Take the median over checkpoints. Some are in parts, such as "test FGSM BIM_d 20"."""
    found = []
    for name in names:
        part = re.compile(re.escape(name) + r"( \d+)?")
        parts = [taken for key, taken in seconds.items() if part.fullmatch(key)]
        found += [sum(parts)] if parts else []
    return np.median(found) if found else np.nan
