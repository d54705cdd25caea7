"""The report of Env2: `results.json`, `tables.md`, and `cells.csv`, beside the parts' own pages."""

import numpy as np

from baselines.comparison.markdown import section
from baselines.comparison.output import write_records

_TITLES = {
    "table_2": ("Table 2, Env2: AUROC", "Only examples that fool count, under both protocols."),
    "cells": (
        "Table 2 cell by cell, ours and the paper's",
        "Under the paper's protocol. A difference above 0.02 needs an explanation.",
    ),
    "operators": ("The operators of mutation testing: AUROC", ""),
    "table_3": (
        "Table 3: price at the chosen benign accuracy, and of the sequential test on mutants",
        "For BL3, steps and queries are the mutants used, and the threshold is a label change "
        "rate. Its benign accuracy is not chosen.",
    ),
    "figure_6": ("Figure 6: accuracy", ""),
    "price": (
        "AUROC and price",
        "Mean AUROC over the attacks, held out; mean forward passes of an input beside the "
        "prediction. BIM_d, BIM2_d and JSMA_d also take gradients in each step, guards one.",
    ),
}


def write(out, about, tables):
    """Write everything.

    Args:
        out: The folder, a `pathlib.Path`; created if missing.
        about: How the results were made, a dict that JSON can hold.
        tables: The tables of `baselines.env2.tables.compute`.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_records(out, about, tables)
    (out / "tables.md").write_text(text(tables) + "\n")
    if "cells" in tables:
        tables["cells"].to_csv(out / "cells.csv", index=False, float_format="%.4f")


def text(tables):
    """Lay out all tables.

    Args:
        tables: As for `write`.

    Returns:
        The Markdown.
    """
    return "\n\n".join(
        section(title, _strings(tables[name]), caption)
        for name, (title, caption) in _TITLES.items()
        if name in tables
    )


def _strings(table):
    names = {name: name.replace("_", " ") for name in table.columns}
    return table.astype(object).map(_string).rename(columns=names)


def _string(value):
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else ""
    if isinstance(value, float):
        digits = 4 if abs(value) <= 1 else 1
        return "–" if np.isnan(value) else f"{value:.{digits}f}"
    return str(value)
