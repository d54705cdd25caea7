"""The tables as Markdown, the paper's figures beside ours where it has them."""

import pandas as pd

from baselines.env1.paper import FIGURES, NONE

_SINGLE = ["JSMA_d", "BIM_d", "BIM2_d", "DBA_d"]
_BOTH = ["BL1", "BL2"]
_ENSEMBLES = ["END", "Z-score"]
_NOISY = ["BL1 + noisy", "BL2 + noisy"]


def text(dataset, fooled, tables):
    """Lay all tables but Figure 3 out.

    Args:
        dataset: The data set's name, such as "mnist".
        fooled: A dict from the attack to the share of its test examples that fool.
        tables: A dict from the table's name to a `pandas.DataFrame`, as from
            `baselines.env1.__main__.compare`.

    Returns:
        The Markdown.
    """
    paper, ours = FIGURES.get(dataset, NONE), tables["auroc_paper"]
    beside = ", ours / the paper's" if paper.table_2 else ""
    cells = [
        _beside(row.auroc, paper.table_2.get(row.attack, {}).get(row.detector))
        for row in ours.itertuples()
    ]
    first = _spread(ours.assign(cell=cells), [*_SINGLE, *_BOTH])
    first.insert(1, "fooled", [f"{100 * fooled[attack]:.1f} %" for attack in first["attack"]])
    held_out = tables["auroc_held_out"]
    parts = {
        f"Paper protocol{beside}": first,
        "Paper protocol, ensembles, and noisy inputs among the negatives": _spread(
            _auroc(ours), [*_ENSEMBLES, *_NOISY]
        ),
        "Paper protocol, 95 % intervals": _spread(_interval(ours), [*_SINGLE, *_BOTH, *_ENSEMBLES]),
        "Held out": _held_out(held_out),
        "Held out, 95 % intervals": _spread(
            _interval(held_out), [*_SINGLE, *_ENSEMBLES, *_BOTH, *_NOISY]
        ),
        "Transfer": _transfer(tables["transfer"]),
        f"Figure 6{beside and ', the mean ' + beside[2:]}": _figure_6(tables["figure_6"], paper),
        f"Table 3{beside}": _table_3(tables["table_3"], paper),
        f"Table 7{beside if paper.table_7 else ''}": _table_7(tables["table_7"], paper),
    }
    return "\n\n".join(
        f"**{title}**\n\n{table.to_markdown(index=False, disable_numparse=True)}"
        for title, table in parts.items()
    )


def _beside(ours, theirs, digits=4):
    ours = f"{ours:.{digits}f}"
    return ours if theirs is None else f"{ours} / {theirs:.{digits}f}"


def _auroc(rows):
    return rows.assign(cell=[f"{value:.4f}" for value in rows["auroc"]])


def _interval(rows):
    return rows.assign(cell=[f"{row.low:.3f}–{row.high:.3f}" for row in rows.itertuples()])


def _spread(rows, detectors):
    """Spread detectors over columns, attacks in the order in which they come."""
    table = rows.pivot(index="attack", columns="detector", values="cell")
    table = table.loc[rows["attack"].unique(), detectors]
    return table.rename_axis(None, axis=1).reset_index()


def _held_out(rows):
    table = _spread(_auroc(rows), [*_SINGLE, *_ENSEMBLES, *_BOTH, *_NOISY])
    positives = rows[rows["detector"] == "END"]["positives"]
    table.insert(1, "positives", positives.astype(str).to_numpy())
    return table


def _transfer(rows):
    cells, keys = _auroc(rows), ["detector", "fitted_on"]
    table = cells.pivot(index=keys, columns="attack", values="cell")[rows["attack"].unique()]
    found = rows[keys].drop_duplicates().join(table, on=keys)
    return found.rename(columns={"fitted_on": "fitted on"})


def _figure_6(rows, paper):
    found = rows.copy()
    kinds = rows.columns[2:]
    found[kinds] = rows[kinds].map("{:.4f}".format)
    theirs = [
        paper.figure_6.get(defence) if detector == "K-NN" else None
        for detector, defence in rows[["detector", "defence"]].to_numpy()
    ]
    found["mean"] = [_beside(*pair) for pair in zip(rows["mean"], theirs, strict=True)]
    return found


def _table_3(rows, paper):
    found = []
    for row in rows.to_dict("records"):
        name = row["defence"]
        threshold, adversarial, accuracy, benign = paper.table_3.get(name, [None] * 4)
        found.append(
            {
                "defence": name,
                "threshold": _beside(row["threshold"], threshold, 0),
                "adversarial steps": _beside(row["adversarial_steps"], adversarial, 0),
                "queries": f"{row['adversarial_queries']:.0f}",
                "adversarial accuracy": _beside(row["adversarial_accuracy"], accuracy),
                "benign steps": _beside(row["benign_steps"], benign, 0),
                "queries ": f"{row['benign_queries']:.0f}",
                "benign accuracy": f"{row['benign_accuracy']:.4f}",
            }
        )
    return pd.DataFrame(found)


def _table_7(rows, paper):
    found = []
    for row in rows.to_dict("records"):
        parameter, value = row["parameter"], str(row["value"])
        benign, adversarial = paper.table_7.get((parameter, value), [None] * 2)
        found.append(
            {
                "parameter": parameter,
                "value": value,
                "benign accuracy": _beside(row["benign_accuracy"], benign),
                "adversarial accuracy": _beside(row["adversarial_accuracy"], adversarial),
            }
        )
    return pd.DataFrame(found)
