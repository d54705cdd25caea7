"""The report: `results.json`, `tables.md`, and `examples.png`, a grid of pictures."""

import itertools

import pandas as pd

from baselines import plots
from baselines.adaptive import paper
from baselines.adaptive.tables import NOTHING
from baselines.comparison.markdown import section
from baselines.comparison.output import write_records

_SHOWN = 10  # pairs in the grid
_SHARES = ("right", "robust", "right or flagged", "gain", "false alarms", "reached", "within")


def write(out, about, tables):
    """Write the tables.

    Args:
        out: The folder, a `pathlib.Path`, which exists.
        about: How the results were made, a dict that JSON can hold.
        tables: A dict of the tables of `baselines.adaptive.tables`, by the names of its functions.
    """
    write_records(out, about, tables)
    (out / "tables.md").write_text(text(about, tables) + "\n")


def draw(out, pairs, swept):
    """Draw the first pairs, a row for each confidence below the benign inputs (Figures 8 to 13).

    Args:
        out: As for `write`.
        pairs: The `baselines.adaptive.sweep.Pairs`.
        swept: A list of `baselines.adaptive.sweep.Swept`.
    """
    labels = [f"{source} to {target}" for source, target in zip(*pairs[1:], strict=True)]
    rows = {"benign": zip(pairs.x, labels, strict=True)}
    for each in swept:
        captions = [
            f"L2={distance:.2f}" if reached else "not reached"
            for distance, reached in zip(each.distance, each.reached, strict=True)
        ]
        rows[f"κ {each.confidence:g}"] = zip(each.x, captions, strict=True)
    images = {
        (name, f"pair {column + 1}"): shown
        for name, row in rows.items()
        for column, shown in enumerate(itertools.islice(row, _SHOWN))
    }
    plots.grid(out / "examples.png", images)


def text(about, tables):
    """Lay out all tables.

    Args:
        about: As for `write`.
        tables: As for `write`.

    Returns:
        The Markdown.
    """
    parts = []
    if "red_team" in tables:
        parts += _of_the_red_team(about, tables)
    if "figure_7" in tables:
        parts += _of_figure_7(about, tables)
    if "table_4" in tables:
        sizes = about["sizes"]
        caption = (
            f"CLEVER with {sizes['maxima']} maxima over {sizes['samples']} points, on logits. "
            f"Steps of BIM_d, {sizes['coarser']} times as long as the paper's."
        )
        parts.append(section("Table 4", _strings(tables["table_4"]), caption))
    return "\n\n".join(parts)


def _of_the_red_team(about, tables):
    worst = (
        f"Changes of up to {about['eps']:.3g} of the range, 5 % false positives. Worst of all "
        f"examples that attacks of {about['sizes']['steps']} steps made against any of these "
        "guards. Inputs that the classifier gets wrong at once count as lost."
    )
    cells = (
        "Of the inputs that the classifier gets right, the share that it gets wrong after the "
        "attack / the share that the guard does not flag either."
    )
    shown = tables["right_or_flagged"].rename(columns=lambda name: name.replace("_", " "))
    return [
        section("Right or flagged", _strings(shown), worst),
        section("The red team", _red_team(tables["red_team"]), cells),
    ]


def _of_figure_7(about, tables):
    sizes = about["sizes"]
    caption = (
        f"At most {sizes['pairs']} pairs, four searches of {sizes['iterations']} iterations. "
        f"Successes as a share of all pairs, L2 at most {about['farthest']}; behind the slash "
        "the paper's, where its text gives one."
    )
    means = (
        "Distances and steps of BIM_d are means over the pairs that reached their target. The "
        f"steps are {sizes['coarser']} times as long as the paper's."
    )
    rates = _figure_7(tables["figure_7"], paper.FIGURE_7.get(about["data set"], {}))
    caught = _by_defence(tables["figure_7"], "detected")
    return [
        section("Figure 7: attack success rate", rates, caption),
        section("Figure 7: share of these examples detected", caught),
        section("Figure 7: the examples", _strings(tables["distances"]), means),
    ]


def _red_team(rows):
    pairs = zip(rows["fooled"], rows["success"], strict=True)
    cells = rows.assign(cell=[f"{_percent(f)} / {_percent(s)}" for f, s in pairs])
    table = cells.pivot(index=["classifier", "guard"], columns="attack", values="cell")
    table = table[rows["attack"].unique()]
    order = pd.MultiIndex.from_frame(rows[["classifier", "guard"]].drop_duplicates())
    table = table.loc[order].rename(columns=lambda name: name.replace("_", " "))
    return table.rename_axis(None, axis=1).reset_index().fillna("–")


def _figure_7(rows, published):
    cells = [
        _next_to(row.asr, published.get(row.defence, {}).get(int(row.confidence)))
        for row in rows.itertuples()
    ]
    return _by_defence(rows.assign(asr=cells), "asr")


def _by_defence(rows, values):
    table = rows.pivot(index="confidence", columns="defence", values=values)
    table = table[rows["defence"].unique()]
    if values == "detected":
        table = table.drop(columns=NOTHING).map(_percent)
    table.index = [f"{confidence:g}" for confidence in table.index]
    return table.rename_axis(None, axis=1).rename_axis("κ").reset_index()


def _next_to(value, published):
    return _percent(value) + ("" if published is None else f" / {_percent(published)}")


def _strings(table):
    shown = table.astype(object)
    for name in table.columns:
        shown[name] = [_string(name, value) for value in table[name]]
    return shown.rename(columns={"confidence": "κ", "distance": "L2 distance"})


def _string(name, value):
    if name in _SHARES:
        return _percent(value)
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.3g}"
    return str(value)


def _percent(share):
    return "–" if pd.isna(share) else f"{100 * share:.0f} %"
