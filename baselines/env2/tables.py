"""The tables of Env2 that need several parts of a run, or the votes of mutants."""

import numpy as np
import pandas as pd

from baselines.comparison.protocols import NOISY
from baselines.mutation_testing.sequential import benign_rate, sequential_test

BL3 = "BL3"
_TESTS = {"as coded": True, "sound": False}  # the two forms of the sequential test
EXPLAINED = 0.02  # a larger difference from the paper needs an explanation


def compute(found):
    """Compute all tables.

    Args:
        found: A dict from the name of a part to its `baselines.comparison.Comparison`.

    Returns:
        A dict of `pandas.DataFrame`: `table_2`, `cells`, `operators`, `table_3`, `figure_6` and
        `price`; those that nothing was measured for are missing.
    """
    tables = {
        "table_2": table_2(found),
        "cells": cells(found),
        "operators": operators(found),
        "table_3": _per_part(found, table_3),
        "figure_6": _per_part(found, figure_6),
        "price": price(found),
    }
    return {name: table for name, table in tables.items() if len(table)}


def table_2(found):
    """Collect the AUROCs of all parts, under both protocols.

    Args:
        found: As for `compute`.

    Returns:
        A row for each part, attack and detector: `part`, `attack`, `detector`, `inputs`, the
        positives of the paper's protocol, `paper_protocol`, `held_out` and the interval of the
        latter, `low` to `high`. Those with noisy negatives are left out.
    """
    keys, rows = ["attack", "detector"], []
    for part, comparison in found.items():
        first, second = (comparison.tables[f"auroc_{name}"] for name in ("paper", "held_out"))
        first = first.rename(columns={"auroc": "paper_protocol", "positives": "inputs"})
        second = second.rename(columns={"auroc": "held_out"})
        both = first[[*keys, "inputs", "paper_protocol"]].merge(
            second[[*keys, "held_out", "low", "high"]], on=keys
        )
        both = both[~both["detector"].str.endswith(NOISY)]
        both.insert(0, "part", part)
        rows.append(both)
    return pd.concat(rows, ignore_index=True)


def cells(found):
    """Set our AUROCs, under the paper's protocol, beside the paper's, cell by cell.

    Args:
        found: As for `compute`.

    Returns:
        A row for each cell that the paper has: `part`, `attack`, `detector`, `ours`, `paper`, the
        `difference`, and whether it is above 0.02 and so needs an explanation, `explain`.
    """
    rows = []
    for row in table_2(found).itertuples():
        published = found[row.part].options.published
        theirs = published.table_2.get(row.attack, {}).get(row.detector)
        if theirs is not None:
            difference = row.paper_protocol - theirs
            cell = {"part": row.part, "attack": row.attack, "detector": row.detector}
            cell |= {"ours": row.paper_protocol, "paper": theirs, "difference": difference}
            rows.append(cell | {"explain": abs(difference) > EXPLAINED})
    return pd.DataFrame(rows)


def operators(found):
    """Compare the operators of mutation testing.

    Args:
        found: As for `compute`.

    Returns:
        The rows of `table_2` whose detector is mutation testing, with its operator in the place
        of the detector.
    """
    rows = table_2(found)
    rows = rows[rows["detector"].str.startswith(BL3)].rename(columns={"detector": "operator"})
    rows["operator"] = rows["operator"].replace({BL3: f"{BL3} NAI"}).str.removeprefix(f"{BL3} ")
    return rows if rows["operator"].nunique() > 1 else rows[:0]


def table_3(comparison):
    """Compute the price of the sequential test on mutants, beside the steps of the defences.

    The threshold is the bound of the label change rate of benign inputs, as the authors take it.

    Args:
        comparison: The `baselines.comparison.Comparison` of one part.

    Returns:
        The rows of its `table_3`, and two for mutation testing, `BL3 as coded` and `BL3 sound`,
        whose steps and queries are the mutants used.
    """
    rows = comparison.tables.get("table_3", pd.DataFrame())
    added = []
    for form, (threshold, verdicts) in _sequential(comparison.measurements).items():
        row = {"defence": f"{BL3} {form}", "threshold": threshold}
        for kind, adversarial in (("adversarial", True), ("benign", False)):
            chosen = [each for k, each in verdicts.items() if (k != "benign") == adversarial]
            flagged, used = map(np.concatenate, zip(*chosen, strict=True))
            row |= {f"{kind}_steps": used.mean(), f"{kind}_queries": used.mean()}
            row[f"{kind}_accuracy"] = (flagged == adversarial).mean()
        added.append(row)
    return pd.concat([rows, pd.DataFrame(added)], ignore_index=True)


def figure_6(comparison):
    """Compute the accuracy of the sequential test on each kind, beside the defences' detectors.

    Args:
        comparison: As for `table_3`.

    Returns:
        The rows of its `figure_6`, and two whose detector is "sequential test".
    """
    rows = comparison.tables.get("figure_6", pd.DataFrame())
    added = []
    for form, (_, verdicts) in _sequential(comparison.measurements).items():
        right = {
            kind: np.mean(each.is_adversarial == (kind != "benign"))
            for kind, each in verdicts.items()
        }
        row = {"detector": "sequential test", "defence": f"{BL3} {form}", **right}
        added.append(row | {"mean": np.mean([*right.values()])})
    return pd.concat([rows, pd.DataFrame(added)], ignore_index=True)


def price(found):
    """Set price beside AUROC: the overviews of all parts.

    Args:
        found: As for `compute`.

    Returns:
        A row for each part and detector: `part`, and the columns of
        `baselines.comparison.overview.overview`.
    """
    return _per_part(found, lambda comparison: comparison.tables["overview"])


def _sequential(measurements):
    """Run both forms of the test: a dict to the threshold, and the verdicts by kind."""
    votes = measurements.characteristics.get(BL3)
    if votes is None:
        return {}
    threshold = benign_rate(votes["benign"].mean(axis=1))
    if not threshold:
        return {}  # no mutant ever changed a label, so there is no test
    counted = {"benign": np.ones(len(votes["benign"]), bool), **measurements.test.fooled}
    return {
        form: (
            threshold,
            {
                kind: sequential_test(votes[kind][rows] == 1, threshold, as_coded=as_coded)
                for kind, rows in counted.items()
            },
        )
        for form, as_coded in _TESTS.items()
    }


def _per_part(found, compute):
    tables = []
    for part, comparison in found.items():
        table = compute(comparison)
        if len(table):
            tables.append(pd.concat([pd.Series(part, table.index, name="part"), table], axis=1))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
