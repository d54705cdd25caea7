"""Tables laid out for reading: strings, with a column for each attack."""

import numpy as np
import pandas as pd

from baselines.comparison.protocols import NOISY, RATES


def auroc(rows):
    """Lay out AUROCs: a row for each detector, a column for each attack.

    Args:
        rows: A `pandas.DataFrame` from `baselines.comparison.protocols.auroc_table`.

    Returns:
        A `pandas.DataFrame` of strings, such as "0.9873 [0.983, 0.991]".
    """
    cells = [f"{r.auroc:.4f} [{r.low:.3f}, {r.high:.3f}]" for r in rows.itertuples()]
    return _pivot(rows.assign(cell=cells), ["detector"], "cell")


def priced(cells, overview):
    """Add the price of each detector.

    Args:
        cells: The `pandas.DataFrame` of `auroc`.
        overview: The table of `baselines.comparison.overview.overview`.

    Returns:
        A `pandas.DataFrame` with two more columns: passes on benign inputs, and milliseconds.
    """
    own = [name.removesuffix(NOISY) for name in cells["detector"]]
    prices = overview.set_index("detector").loc[own]
    passes, milliseconds = (prices[name].map(rounded) for name in ("benign_passes", "milliseconds"))
    return cells.assign(passes=passes.to_numpy(), ms=milliseconds.to_numpy())


def true_positives(rows):
    """Lay out true positive rates.

    Args:
        rows: As for `auroc`.

    Returns:
        A `pandas.DataFrame` of strings, such as "93 / 99 / 100 %".
    """
    rates = (100 * rows[[f"tpr_{100 * rate:.0f}" for rate in RATES]]).to_numpy()
    cells = [" / ".join(f"{rate:.0f}" for rate in row) + " %" for row in rates]
    return _pivot(rows.assign(cell=cells), ["detector"], "cell")


def missed(rows):
    """Lay out how many examples are missed.

    Args:
        rows: The table of `baselines.comparison.missed.missed`.

    Returns:
        A `pandas.DataFrame` of strings, such as "12 of 480".
    """
    cells = [f"{row.missed} of {row.of}" for row in rows.itertuples()]
    return _pivot(rows.assign(cell=cells), ["detector"], "cell")


def transfer(rows):
    """Lay out AUROCs of detectors that were fitted on another attack.

    Args:
        rows: The table of `baselines.comparison.protocols.transfer`.

    Returns:
        A `pandas.DataFrame` of numbers.
    """
    return _pivot(rows, ["detector", "fitted_on"], "auroc")


def overview(rows):
    """Lay out the overview.

    Args:
        rows: The table of `baselines.comparison.overview.overview`.

    Returns:
        A `pandas.DataFrame` of strings.
    """
    found = {
        "detector": rows["detector"],
        "mean AUROC": rows["auroc"].map("{:.4f}".format),
        "worst": [f"{row.worst:.4f} ({row.worst_attack})" for row in rows.itertuples()],
        "caught": rows["tpr_5"].map("{:.0%}".format),
        "learns from the attack": rows["learns_attacks"].map({True: "yes", False: "no"}),
        "passes, benign": rows["benign_passes"].map(rounded),
        "passes, adversarial": rows["adversarial_passes"].map(rounded),
        "ms": rows["milliseconds"].map(rounded),
    }
    return pd.DataFrame(found)


def rounded(value):
    """Round to two digits, or to whole numbers.

    Args:
        value: A number that is not negative, or NaN.

    Returns:
        A string; "–" for NaN.

    Examples:
        >>> [rounded(value) for value in (0.0612, 1.34, 205.2, float("nan"))]
        ['0.061', '1.3', '205', '–']
    """
    if np.isnan(value):
        return "–"
    return f"{value:.0f}" if value >= 10 or not value else f"{value:.2g}"


def spelled(name, names):
    """Add what a name stands for.

    Args:
        name: The name of a detector.
        names: What to add, a dict by name.

    Returns:
        A string.

    Examples:
        >>> spelled("BL2 + noisy", {"BL2": "LID"})
        'BL2 (LID) + noisy'
    """
    first, plus, noisy = name.partition(NOISY)
    return f"{first} ({names[first]}){plus}{noisy}" if first in names else name


def _pivot(rows, index, values):
    """Make a column of each attack, in their order."""
    table = rows.pivot(index=index, columns="attack", values=values)
    order = pd.MultiIndex.from_frame(rows[index].drop_duplicates())
    table = table.loc[order if len(index) > 1 else order.get_level_values(0)]
    return table[rows["attack"].unique()].rename_axis(None, axis=1).reset_index()
