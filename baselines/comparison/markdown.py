"""The tables as Markdown, with the paper's figures next to ours if it has them."""

import pandas as pd

from baselines.comparison.ensembles import ENSEMBLES
from baselines.comparison.protocols import NOISY


def text(fooled, tables, published):
    """Lay out all tables except Figure 3.

    Args:
        fooled: A dict from the attack to the share of its test examples that fool.
        tables: The tables of a `baselines.comparison.Comparison`.
        published: The `baselines.comparison.Published` figures.

    Returns:
        The Markdown.
    """
    parts = _auroc_parts(fooled, tables, published)
    heading = _heading(published.table_2)
    if "figure_6" in tables:
        title = f"Figure 6{heading and ', the mean ' + heading[2:]}"
        parts[title] = figure_6(tables["figure_6"], published)
    if "table_3" in tables:
        parts[f"Table 3{heading}"] = table_3(tables["table_3"], published)
    if "table_7" in tables:
        parts[f"Table 7{_heading(published.table_7)}"] = _table_7(tables["table_7"], published)
    return "\n\n".join(section(title, table) for title, table in parts.items())


def section(title, table, caption=""):
    """Lay out one table.

    Args:
        title: Its title.
        table: A `pandas.DataFrame` of strings.
        caption: What to say between the two. Defaults to nothing.

    Returns:
        The Markdown.

    Examples:
        >>> print(section("Costs", pd.DataFrame({"attack": ["FGSM"], "steps": ["1"]})))
        **Costs**
        <BLANKLINE>
        | attack   | steps   |
        |:---------|:--------|
        | FGSM     | 1       |
    """
    table = table.to_markdown(index=False, disable_numparse=True)
    return "\n\n".join(part for part in (f"**{title}**", caption, table) if part)


def _auroc_parts(fooled, tables, published):
    paper, held_out = tables["auroc_paper"], tables["auroc_held_out"]
    single, ensembles, baselines, noisy = _groups(paper["detector"].unique())
    cells = [
        _next_to(row.auroc, published.table_2.get(row.attack, {}).get(row.detector))
        for row in paper.itertuples()
    ]
    first = _spread(paper.assign(cell=cells), [*single, *baselines])
    first.insert(1, "fooled", [f"{100 * fooled[attack]:.1f} %" for attack in first["attack"]])
    every = [*single, *ensembles, *baselines, *noisy]
    parts = {
        f"Paper protocol{_heading(published.table_2)}": first,
        "Paper protocol, ensembles, and noisy inputs among the negatives": _spread(
            _auroc(paper), [*ensembles, *noisy]
        ),
        "Paper protocol, 95 % intervals": _spread(
            _interval(paper), [*single, *baselines, *ensembles]
        ),
        "Held out": _held_out(held_out, every),
        "Held out, 95 % intervals": _spread(_interval(held_out), every),
    }
    if "transfer" in tables:
        parts["Transfer"] = _transfer(tables["transfer"])
    return {title: table for title, table in parts.items() if len(table.columns) > 1}


def _groups(detectors):
    """Sort detectors into single defences, ensembles, baselines, and baselines on noise."""
    noisy = [name for name in detectors if name.endswith(NOISY)]
    baselines = [name.removesuffix(NOISY) for name in noisy]
    ensembles = [name for name in detectors if name in ENSEMBLES]
    known = {*noisy, *baselines, *ensembles}
    return [name for name in detectors if name not in known], ensembles, baselines, noisy


def _heading(figures):
    return ", ours / the paper's" if figures else ""


def _next_to(ours, theirs, digits=4):
    ours = f"{ours:.{digits}f}"
    return ours if theirs is None else f"{ours} / {theirs:.{digits}f}"


def _auroc(rows):
    return rows.assign(cell=[f"{value:.4f}" for value in rows["auroc"]])


def _interval(rows):
    return rows.assign(cell=[f"{row.low:.3f}–{row.high:.3f}" for row in rows.itertuples()])


def _spread(rows, detectors):
    """Make a column of each detector, and keep the order of the attacks."""
    table = rows.pivot(index="attack", columns="detector", values="cell")
    table = table.loc[rows["attack"].unique(), detectors]
    return table.rename_axis(None, axis=1).reset_index()


def _held_out(rows, detectors):
    table = _spread(_auroc(rows), detectors)
    positives = rows.groupby("attack", sort=False)["positives"].first()
    table.insert(1, "positives", positives.astype(str).to_numpy())
    return table


def _transfer(rows):
    cells, keys = _auroc(rows), ["detector", "fitted_on"]
    table = cells.pivot(index=keys, columns="attack", values="cell")[rows["attack"].unique()]
    found = rows[keys].drop_duplicates().join(table, on=keys)
    return found.rename(columns={"fitted_on": "fitted on"})


def figure_6(rows, published):
    """Lay out Figure 6.

    Args:
        rows: The table of `baselines.comparison.accuracy.figure_6`.
        published: As for `text`.

    Returns:
        A `pandas.DataFrame` of strings.
    """
    found = rows.copy()
    kinds = rows.columns[2:]
    found[kinds] = rows[kinds].map("{:.4f}".format)
    theirs = [
        published.figure_6.get(defence) if detector == "K-NN" else None
        for detector, defence in rows[["detector", "defence"]].to_numpy()
    ]
    found["mean"] = [_next_to(*pair) for pair in zip(rows["mean"], theirs, strict=True)]
    return found


def table_3(rows, published):
    """Lay out Table 3.

    Args:
        rows: The table of `baselines.comparison.accuracy.table_3`.
        published: As for `text`.

    Returns:
        A `pandas.DataFrame` of strings.
    """
    found = []
    for row in rows.to_dict("records"):
        name = row["defence"]
        threshold, adversarial, accuracy, benign = published.table_3.get(name, [None] * 4)
        found.append(
            {
                "defence": name,
                "threshold": _next_to(row["threshold"], threshold, 4 * (row["threshold"] < 1)),
                "adversarial steps": _next_to(row["adversarial_steps"], adversarial, 0),
                "queries": f"{row['adversarial_queries']:.0f}",
                "adversarial accuracy": _next_to(row["adversarial_accuracy"], accuracy),
                "benign steps": _next_to(row["benign_steps"], benign, 0),
                "queries ": f"{row['benign_queries']:.0f}",
                "benign accuracy": f"{row['benign_accuracy']:.4f}",
            }
        )
    return pd.DataFrame(found)


def _table_7(rows, published):
    found = []
    for row in rows.to_dict("records"):
        parameter, value = row["parameter"], str(row["value"])
        benign, adversarial = published.table_7.get((parameter, value), [None] * 2)
        found.append(
            {
                "parameter": parameter,
                "value": value,
                "benign accuracy": _next_to(row["benign_accuracy"], benign),
                "adversarial accuracy": _next_to(row["adversarial_accuracy"], adversarial),
            }
        )
    return pd.DataFrame(found)
