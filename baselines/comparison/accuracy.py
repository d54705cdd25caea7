"""Accuracy of detectors with a threshold, and its price.

Figures 3 and 6, Tables 3 and 7 of Zhao et al. 2021.
"""

import itertools
import math

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from baselines.comparison.ensembles import (
    H,
    adversarial_steps,
    flags,
    nearest_neighbors,
    z_score,
)


def figure_3(measurements, halves):
    """Compute how far apart the mean steps of kinds of input are, each kind in two halves.

    Args:
        measurements: The `baselines.comparison.measurements.Measurements`.
        halves: The `baselines.comparison.choices.Halves`.

    Returns:
        A `pandas.DataFrame` of the distances between all halves, in steps.
    """
    steps = {kind: f[halves.defence].to_numpy() for kind, f in measurements.test.steps.items()}
    steps |= measurements.extra_steps
    means = {}
    for kind in halves.kinds:
        for number, half in enumerate(np.array_split(steps[kind], 2), start=1):
            means[f"{kind} {number}"] = half.mean()
    values = np.array([*means.values()])
    return pd.DataFrame(abs(values[:, None] - values), index=list(means), columns=list(means))


def figure_6(measurements):
    """Compute the accuracy of K-NN and Z-score detectors on benign inputs and on each attack.

    All are fitted on training images: Z-score detectors on benign ones only, K-NN detectors also
    on examples of every attack.

    Args:
        measurements: The `baselines.comparison.measurements.Measurements`.

    Returns:
        A `pandas.DataFrame` with a row for each kind of `detector` ("K-NN" or "Z-score") and
        `defence` (the last is the ensemble of all), a column for each kind of input, and `mean`.
    """
    training, test = measurements.training, measurements.test
    names = training.defences
    columns = {name: [index] for index, name in enumerate(names)} | {"ensemble": range(len(names))}
    rows = []
    for detector, defence in itertools.product(("K-NN", "Z-score"), columns):
        chosen = list(columns[defence])
        benign = training.steps["benign"].to_numpy()[:, chosen]
        adversarial = adversarial_steps(training)[:, chosen]
        fitted = nearest_neighbors(benign, adversarial) if detector == "K-NN" else z_score(benign)
        right = {
            kind: np.mean(flags(fitted, frame.to_numpy()[:, chosen]) == (kind != "benign"))
            for kind, frame in test.steps.items()
        }
        mean = np.mean(list(right.values()))
        rows.append({"detector": detector, "defence": defence, **right, "mean": mean})
    return pd.DataFrame(rows)


def table_3(measurements, benign_accuracy):
    """Compute the price of each defence at the threshold that keeps the given benign accuracy.

    Args:
        measurements: The `baselines.comparison.measurements.Measurements`.
        benign_accuracy: The share of benign test inputs that must count as benign. The threshold
            is the largest number of steps that keeps it; fewer steps are adversarial.

    Returns:
        A `pandas.DataFrame` with a row for each defence: `defence`, `threshold` (steps), and
        `<kind>_steps`, `<kind>_queries` (means) and `<kind>_accuracy` for the kinds
        "adversarial", the examples of all attacks, and "benign".
    """
    test, rows = measurements.test, []
    for defence, steps in test.steps["benign"].items():
        kept = math.ceil(benign_accuracy * len(steps) - 1e-9)  # 0.9 * 60 is above 54
        threshold = np.sort(steps)[len(steps) - kept]
        row = {"defence": defence, "threshold": threshold}
        for kind, kinds in (("adversarial", test.fooled), ("benign", ["benign"])):
            costs = np.concatenate([test.steps[k][defence] for k in kinds])
            queries = np.concatenate([test.queries[k][defence] for k in kinds])
            right = (costs < threshold) == (kind == "adversarial")
            means = {"steps": costs.mean(), "queries": queries.mean(), "accuracy": right.mean()}
            row |= {f"{kind}_{name}": value for name, value in means.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def table_7(measurements):
    """Compute how the parameters of the ensembles trade benign for adversarial accuracy.

    Args:
        measurements: The `baselines.comparison.measurements.Measurements`.

    Returns:
        A `pandas.DataFrame`: `parameter`, `value`, `benign_accuracy`, `adversarial_accuracy`.
        For ratios other than 1 : 1, the last examples of one kind are left out.
    """
    rows = []
    for parameter, value, detector in _variants(measurements.training):
        right = {
            kind: flags(detector, frame.to_numpy()) == (kind != "benign")
            for kind, frame in measurements.test.steps.items()
        }
        adversarial = np.concatenate([right[attack] for attack in measurements.test.fooled])
        row = {"parameter": parameter, "value": value, "benign_accuracy": right["benign"].mean()}
        rows.append(row | {"adversarial_accuracy": adversarial.mean()})
    return pd.DataFrame(rows)


def _variants(training):
    """Fit the ensemble with every value of every parameter. The others are as in Figure 6."""
    benign, adversarial = training.steps["benign"].to_numpy(), adversarial_steps(training)
    default = nearest_neighbors(benign, adversarial).n_neighbors
    for k in (5, 10, 25, 50, 100, 150, 200):
        if k <= len(benign) + len(adversarial):
            yield "K", k, nearest_neighbors(benign, adversarial, KNeighborsClassifier(k))
    for ratio in (0.5, 0.8, 1, 1.2, 2):
        kept = {kind: f[: round(len(f) * min(1, ratio))] for kind, f in training.steps.items()}
        some = adversarial_steps(training._replace(steps=kept))
        fewer = benign[: round(len(benign) / max(1, ratio))]
        yield "ratio", f"1:{ratio}", nearest_neighbors(fewer, some, KNeighborsClassifier(default))
    for h in (-1, H, -1.644854, -1.959964, -2):
        yield "z", h, z_score(benign, h=h)
    for k in range(1, benign.shape[1] + 1):
        yield "k", k, z_score(benign, k=k)
    classifiers = {
        "K-NN": KNeighborsClassifier(default),
        "SVM": SVC(),
        "decision tree": DecisionTreeClassifier(random_state=0),
        "random forest": RandomForestClassifier(random_state=0),
    }
    for name, classifier in classifiers.items():
        yield "classifier", name, nearest_neighbors(benign, adversarial, classifier)
