"""The report: `results.json`, `tables.md`, `auroc.csv`, and a picture of the AUROCs."""

import numpy as np
import pandas as pd

from baselines import plots
from baselines.comparison.markdown import section
from baselines.comparison.output import write_records
from baselines.coverage.changes import EVASIONS
from baselines.coverage.detectors import FALSE_POSITIVE_RATE, SAME_ATTACK
from baselines.coverage.kinds import MAX_CONFIDENT

_NOTHING = "–"


def write(out, about, tables):
    """Write everything.

    Args:
        out: The folder, a `pathlib.Path`, which exists.
        about: How the results were made, a dict that JSON can hold.
        tables: The tables of `baselines.coverage.tables.compute`.
    """
    write_records(out, about, tables)
    verdicts = tables["verdicts"]
    verdicts.to_csv(out / "auroc.csv", index=False, lineterminator="\n", float_format="%.5f")
    (out / "tables.md").write_text(text(about, tables) + "\n")
    title = f"{about['title']}: how well each detector tells attacks from benign inputs"
    meaning = "AUROC: 1 = always right, 0.5 = a coin toss, below = inverted"
    rows = verdicts[verdicts["group"] == "attacks"]
    plots.areas(out / "auroc.png", f"{title}\n{meaning}", _matrix(rows, "auroc"))


def text(about, tables):
    """Lay out all tables.

    Args:
        about: As for `write`.
        tables: As for `write`.

    Returns:
        The Markdown.
    """
    groups = dict(list(tables["verdicts"].groupby("group", sort=False)))
    attacks = groups["attacks"]
    whole = (
        f"All tables report the second half of {about['benign inputs']} benign inputs and of their "
        "adversarial examples. The first half chose the default set and taught BL1 and BL2, and "
        f"{about['adapting inputs']} other benign inputs adapted the guards. Only examples that "
        "fool the classifier count. C&W with confidence κ attacks the first "
        f"{MAX_CONFIDENT} inputs at most. A detector flags an input at a false positive rate of "
        f"{100 * FALSE_POSITIVE_RATE:.0f} %."
    )
    same = (
        f"BL1 and BL2 learned from FGSM; “{SAME_ATTACK[2:]}”: from the attack that they judge. All "
        "others learned from benign inputs alone."
    )
    sections = [
        section("Examples", _examples(tables["examples"]), whole),
        section("AUROC", _detectors(attacks, "auroc", _decimal), same),
        section("AUROC, 95 % intervals", _intervals(attacks)),
        section("Share of attacks flagged, %", _detectors(attacks, "flagged", _percent)),
        section(
            "False alarms: share of harmless inputs flagged, %",
            _false_alarms(groups, tables["kept"]),
            "The first row is the share of inputs whose prediction the change keeps.",
        ),
        section(
            "Inputs of other data sets: share flagged, %, and AUROC",
            _both(groups["strangers"]),
        ),
        *(
            section(
                f"Attacks after {change}: share flagged, %, and AUROC",
                _both(groups[change]),
                "Of the examples that still fool after the change.",
            )
            for change in EVASIONS
        ),
        section(
            "Price: passes beside the prediction",
            _price(tables["price"]),
            "For BIM_d the mean over benign inputs, for the others the largest number. BL1 and BL2 "
            "also compare activations with those of stored inputs.",
        ),
        section(
            "AUROC on the first half, which the default set was chosen on",
            _detectors(tables["first_half"], "auroc", _decimal),
        ),
    ]
    return "\n\n".join(sections)


def _examples(rows):
    shown = rows.set_index("attack").astype(object)
    for name in ("fool", *EVASIONS):
        shown[name] = [_percent(value) for value in shown[name]]
    shown["reported"] = [str(value) for value in shown["reported"]]
    names = {"fool": "that fool, %", "reported": "counted below"}
    names |= {change: f"still fool after {change}, %" for change in EVASIONS}
    return _titled(shown[[*names]].rename(columns=names).T, "examples")


def _false_alarms(groups, kept):
    table = _detectors(pd.concat([groups["benign"], groups["changes"]]), "flagged", _percent)
    first = {"detector": "(prediction kept)", "benign": _percent(1.0)}
    first |= {change: _percent(share) for change, share in zip(*kept.to_numpy().T, strict=True)}
    return pd.concat([pd.DataFrame([first]), table], ignore_index=True)


def _both(rows):
    """Lay out shares and AUROCs, such as "93 / 0.981"."""
    pairs = zip(rows["flagged"], rows["auroc"], strict=True)
    cells = [f"{_percent(f)} / {_decimal(a)}" if np.isfinite(f) else _NOTHING for f, a in pairs]
    return _detectors(rows.assign(cell=cells), "cell", str)


def _intervals(rows):
    pairs = zip(rows["low"], rows["high"], strict=True)
    cells = [f"{_short(a)}–{_short(b)}" if np.isfinite(a) else _NOTHING for a, b in pairs]
    return _detectors(rows.assign(cell=cells), "cell", str)


def _price(rows):
    shown = rows[~rows["detector"].str.endswith(SAME_ATTACK)].copy()
    for name in ("forward", "backward"):
        shown[name] = [f"{value:.0f}" for value in shown[name]]
    return shown


def _detectors(rows, values, form):
    """Lay out a row for each detector and a column for each kind of input."""
    matrix = _matrix(rows, values)
    return _titled(matrix.map(lambda v: _NOTHING if pd.isna(v) else form(v)), "detector")


def _matrix(rows, values):
    matrix = rows.pivot(index="detector", columns="kind", values=values)
    return matrix.loc[rows["detector"].unique(), rows["kind"].unique()]


def _titled(table, title):
    return table.rename_axis(None, axis=1).rename_axis(title).reset_index()


def _percent(share):
    return _NOTHING if pd.isna(share) else f"{100 * share:.0f}"


def _decimal(value):
    return f"{value:.3f}"


def _short(value):
    """Leave the zero out, so that a page is wide enough for all columns."""
    return f"{value:.2f}".removeprefix("0")
