"""Table 1, Figure 2 and Table 4 of the paper, from the scores, with the paper's figures as rows."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from baselines.clever import paper
from baselines.clever.suite import BIM_D, JSMA_D, LABELS

MAX_SCORE, MAX_SHOWN = 0.3, 100  # of inputs in Figure 2
ALL = "all attacks"
PAPER = "the paper"
_CONFIDENCE = 0.9  # of the intervals
_FAR = "FGSM"  # the attack that goes far beyond the boundary


def compute(scores, *, name, attacks, confident):
    """Compute all tables.

    Args:
        scores: The `pandas.DataFrame` of `baselines.clever.suite.score`.
        name: The data set, whose figures in the paper become rows.
        attacks: The names of the attacks of Table 1.
        confident: The attacks of Table 4, a dict by name; empty leaves the table out.

    Returns:
        A dict of `pandas.DataFrame`: `table_1`, `order`, `figure_2`, `correlation`, `unfitted` and
        perhaps `table_4`.
    """
    means = intervals(scores, ["benign", *attacks])
    if name in paper.TABLE_1:
        means[PAPER] = paper.TABLE_1[name]
    first, points = table_1(means), figure_2(scores, ["benign", *attacks])
    unfitted = scores.groupby("form", sort=False)["unfitted"].mean().reset_index()
    found = {"table_1": first, "order": order(first), "unfitted": unfitted}
    found |= {"figure_2": points, "correlation": correlation(points)}
    if confident:
        found["table_4"] = table_4(scores, confident, paper.TABLE_4.get(name, {}))
    return found


def interval(values):
    """Compute a mean and the half-width of its 90 % interval, 1.645 standard errors.

    Args:
        values: The values, float, (n,), two or more.

    Returns:
        Two floats.

    Examples:
        >>> print(np.round(interval([1.0, 2.0, 3.0]), 3))
        [2.   0.95]
    """
    half_width = stats.norm.ppf((1 + _CONFIDENCE) / 2) * stats.sem(values)
    return float(np.mean(values)), float(half_width)


def intervals(scores, kinds):
    """Compute the mean score of each kind of input for each label.

    Args:
        scores: As for `compute`.
        kinds: The kinds of input.

    Returns:
        A dict from the form to a dict from the label to a dict from the kind to the mean and the
        half-width.
    """
    found = {}
    for form, frame in scores.groupby("form", sort=False):
        by_kind = {kind: frame[frame["kind"] == kind] for kind in kinds}
        found[form] = {
            label: {kind: interval(each[label]) for kind, each in by_kind.items()}
            for label in LABELS
        }
    return found


def table_1(means):
    """Compare benign inputs with the others.

    Args:
        means: As returned by `intervals`; "benign" comes first among the kinds.

    Returns:
        A row for each form, label and kind, and for the mean of all attacks, with `mean`,
        `half_width`, and `ratio`, the mean of benign inputs divided by this one (λ).
    """
    rows = []
    for form, by_label in means.items():
        for label, by_kind in by_label.items():
            (benign, _), *others = by_kind.values()
            together = float(np.mean([mean for mean, _ in others]))
            for kind, (mean, half_width) in {**by_kind, ALL: (together, math.nan)}.items():
                row = {"form": form, "label": label, "kind": kind, "mean": mean}
                ratio = benign / mean if mean else math.inf
                rows.append({**row, "half_width": half_width, "ratio": ratio})
    return pd.DataFrame(rows)


def order(table):
    """Summarise by how much benign scores are larger.

    Args:
        table: The table of `table_1`.

    Returns:
        A row for each form: the smallest ratio of FGSM (`far`) and of the other attacks (`near`),
        which end close to the boundary; and the average ratio of the labels next to the input
        (`next`, the smaller of untargeted and target-2) and of the others (`others`, the larger).
    """
    rows = []
    for form, frame in table.groupby("form", sort=False):
        ratios = frame.pivot(index="kind", columns="label", values="ratio")
        near = ratios.drop(index=["benign", _FAR, ALL])
        average = ratios.loc[ALL]
        row = {"form": form, "near": near.min(axis=None), "far": ratios.loc[_FAR].min()}
        row |= {"next": average[[*LABELS[:2]]].min(), "others": average[[*LABELS[2:]]].max()}
        rows.append(row)
    return pd.DataFrame(rows)


def figure_2(scores, kinds):
    """Choose inputs with small untargeted scores, to plot against the steps of JSMA_d.

    Args:
        scores: As for `compute`.
        kinds: The kinds of input.

    Returns:
        A row for each of at most 100 inputs of each form, chosen at random, whose score is from 0
        to 0.3: `form`, `kind`, `score`, `steps`.
    """
    low = scores[scores["kind"].isin(kinds) & scores["untargeted"].between(0, MAX_SCORE)]
    shuffled = low.sample(frac=1, random_state=0)
    points = shuffled.groupby("form").head(MAX_SHOWN).sort_index()
    columns = {"untargeted": "score", JSMA_D: "steps"}
    return points[["form", "kind", *columns]].rename(columns=columns)


def correlation(points):
    """Compute Spearman's rank correlation between scores and steps.

    Args:
        points: The table of `figure_2`.

    Returns:
        A row for each form: the number of `inputs` and their `correlation`.
    """
    rows = []
    for form, frame in points.groupby("form", sort=False):
        ranks = frame[["score", "steps"]].corr("spearman")
        rows.append({"form": form, "inputs": len(frame), "correlation": ranks.iloc[0, 1]})
    return pd.DataFrame(rows)


def table_4(scores, confident, published):
    """Show how scores, steps and distances grow with the confidence of C&W.

    Args:
        scores: As for `compute`.
        confident: As for `compute`.
        published: The paper's figures, a dict from the confidence to its score, steps and distance.

    Returns:
        A row for each form and confidence: `form`, `confidence`, the share `fooled`, and the means
        of the untargeted `score`, of the `steps` of BIM_d and of the `distance` (L2). Only
        examples that fool count in the means.
    """
    names = ("score", "steps", "distance")
    rows = []
    for form, frame in scores.groupby("form", sort=False):
        for kind, attack in confident.items():
            every = frame[frame["kind"] == kind]
            means = every[every["fooled"]][["untargeted", BIM_D, "distance"]].mean()
            row = {"form": form, "confidence": attack.confidence, "fooled": every["fooled"].mean()}
            rows.append({**row, **dict(zip(names, means, strict=True))})
    for confidence, values in published.items():
        row = {"form": PAPER, "confidence": float(confidence), "fooled": math.nan}
        rows.append({**row, **dict(zip(names, values, strict=True))})
    return pd.DataFrame(rows)
