"""The report of Env2: `results.json`, `tables.md`, and `cells.csv`, beside the parts' own pages."""

from baselines.comparison import cells
from baselines.comparison.markdown import figure_6, section, table_3
from baselines.comparison.output import write_records
from baselines.env2.tables import BL3, EXPLAINED

_PRICE = (
    "Mean AUROC over the attacks, held out, and the worst; caught at 5 % false alarms; forward "
    "passes and milliseconds of a verdict beside the prediction. BIM_d, BIM2_d and JSMA_d also "
    "take a gradient in each pass, guards one."
)
_TABLE_3 = (
    "For BL3, steps and queries are the mutants used, and the threshold is a label change rate. "
    "Its benign accuracy is not chosen."
)


def write(out, about, tables, published):
    """Write everything.

    Args:
        out: The folder, a `pathlib.Path`; created if missing.
        about: How the results were made, a dict that JSON can hold.
        tables: The tables of `baselines.env2.tables.compute`.
        published: The `baselines.comparison.Published` figures of each part, a dict by its name.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_records(out, about, tables)
    (out / "tables.md").write_text(text(tables, published) + "\n")
    if "cells" in tables:
        tables["cells"].to_csv(out / "cells.csv", index=False, float_format="%.4f")


def text(tables, published):
    """Lay out all tables.

    Args:
        tables: As for `write`.
        published: As for `write`.

    Returns:
        The Markdown.
    """
    found = []
    for part, rows in tables["price"].groupby("part", sort=False):
        table = cells.overview(rows.drop(columns="part"))
        found.append(section(f"AUROC and price: {_words(part)}", table, _PRICE))
    caption = "The paper's protocol / held out. Only examples that fool count, under both."
    rows = tables["table_2"]
    rows = rows[~rows["detector"].str.startswith(f"{BL3} ")]  # the other operators
    found += _by_part("Table 2: AUROC", rows, "detector", _both, caption)
    if "cells" in tables:
        caption = f"Ours / the paper's, and the difference; bold above {EXPLAINED}."
        title = "Table 2 cell by cell"
        found += _by_part(title, tables["cells"], "detector", _beside, caption)
    if "operators" in tables:
        title = "The operators of mutation testing: AUROC"
        found += _by_part(title, tables["operators"], "operator", _both, caption="")
    for name, lay_out, title, caption in (
        ("table_3", table_3, "Table 3, ours / the paper's", _TABLE_3),
        ("figure_6", figure_6, "Figure 6: accuracy, ours / the paper's mean", ""),
    ):
        if name in tables:
            for part, rows in tables[name].groupby("part", sort=False):
                own = rows.drop(columns="part").dropna(axis=1, how="all")
                laid_out = lay_out(own, published[part])
                found.append(section(f"{title}: {_words(part)}", laid_out, caption))
    return "\n\n".join(found)


def _by_part(title, rows, index, cell, caption):
    """Lay out a table for each part, with a column for each attack."""
    rows = rows.assign(cell=[cell(row) for row in rows.itertuples()])
    found = []
    for part, own in rows.groupby("part", sort=False):
        table = own.pivot(index=index, columns="attack", values="cell").fillna("–")
        table = table.loc[own[index].unique(), own["attack"].unique()]
        table = table.rename_axis(None, axis=1).reset_index()
        found.append(section(f"{title}: {_words(part)}", table, caption))
    return found


def _both(row):
    return f"{row.paper_protocol:.4f} / {row.held_out:.4f}"


def _beside(row):
    difference = f"{row.difference:+.3f}".replace("-", "−")
    difference = f"**{difference}**" if row.explain else difference
    return f"{row.ours:.4f} / {row.paper:.4f} ({difference})"


def _words(part):
    return part.replace("_", " ")
