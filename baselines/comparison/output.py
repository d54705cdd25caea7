"""The report: `results.json`, `costs.csv`, `tables.md`, plots, and one page with all of these."""

import base64
import importlib.resources
import json

import jinja2
import markupsafe
import numpy as np
import pandas as pd

from baselines import plots
from baselines.comparison import markdown, protocols

_SHOWN = 2  # benign inputs in the pictures


def summary(tables):
    """Lay out the AUROCs under both protocols, for the terminal.

    Args:
        tables: The tables of a `baselines.comparison.Comparison`.

    Returns:
        The text.
    """
    titles = {"auroc_paper": "paper protocol", "auroc_held_out": "held out"}
    parts = [
        f"AUROC, {title}, with 95 % intervals\n{auroc_cells(tables[name]).to_string(index=False)}"
        for name, title in titles.items()
    ]
    if "figure_6" in tables:
        figure_6 = tables["figure_6"].to_string(index=False, float_format="%.4f")
        parts.append(f"accuracy (Figure 6)\n{figure_6}")
    return "\n\n".join(parts)


def auroc_cells(rows):
    """Lay out AUROCs: a row for each detector, a column for each attack.

    Args:
        rows: A `pandas.DataFrame` from `baselines.comparison.protocols.auroc_table`.

    Returns:
        A `pandas.DataFrame` of strings, such as "0.9873 [0.983, 0.991]".
    """
    cells = [f"{r.auroc:.4f} [{r.low:.3f}, {r.high:.3f}]" for r in rows.itertuples()]
    return _pivot(rows.assign(cell=cells), ["detector"], "cell")


def write(out, comparison):
    """Write everything.

    Args:
        out: The folder, a `pathlib.Path`, which exists.
        comparison: The `baselines.comparison.Comparison`.
    """
    tables, measurements = comparison.tables, comparison.measurements
    records = {
        name: json.loads(table.round(5).to_json(orient="records")) for name, table in tables.items()
    }
    results = {"about": comparison.about, "fooled": _fooled(measurements), **records}
    text = markdown.text(results["fooled"], tables, comparison.options.published)
    (out / "tables.md").write_text(text + "\n")
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    _draw(out, comparison)
    if measurements.test.defences:
        _costs(measurements).to_csv(out / "costs.csv", index=False, lineterminator="\n")
    (out / "report.html").write_text(_page(out, results, comparison))


def _draw(out, comparison):
    test, title = comparison.measurements.test, comparison.about.get("title", "the classifier")
    for name, scores in comparison.scores.items():
        spelled = {
            attack: {_spelled(each, comparison.options.names): pair for each, pair in found.items()}
            for attack, found in scores.items()
        }
        plots.roc(out / f"roc_{name}.png", f"{title}:", spelled)
    if test.defences:
        plots.boxes(out / "boxes.png", f"{title}: steps of", plots.STEPS, test.steps)
        plots.histograms(out / "histograms.png", f"{title}: steps of", plots.STEPS, test.steps)
    if "figure_3" in comparison.tables:
        what = f"{title}: distances of mean {comparison.options.halves.defence} steps"
        plots.distances(out / "figure_3.png", what, comparison.tables["figure_3"])
    if test.inputs["benign"].ndim == 4:
        _draw_pictures(out / "pictures.png", test, comparison.measurements.bounds)


def _draw_pictures(path, test, bounds):
    """Draw the first benign inputs for which all attacks succeed, with the example of each."""
    everywhere = np.logical_and.reduce([*test.fooled.values()])
    pairs, captions = [], []
    for index in np.flatnonzero(everywhere)[:_SHOWN]:
        for attack in test.fooled:
            two = (test.inputs[kind][index] for kind in ("benign", attack))
            pairs.append(tuple((x - bounds[0]) / (bounds[1] - bounds[0]) for x in two))
            captions.append([_caption(test, kind, index) for kind in ("benign", attack)])
    if pairs:
        plots.pictures(path, pairs, captions)


def write_records(out, about, tables):
    """Write `results.json`: the tables, rounded, with a row as a dict by column.

    Args:
        out: The folder, a `pathlib.Path`, which exists.
        about: How the results were made, a dict that JSON can hold.
        tables: A dict of `pandas.DataFrame`.
    """
    records = {
        name: json.loads(table.round(5).to_json(orient="records")) for name, table in tables.items()
    }
    (out / "results.json").write_text(json.dumps({"about": about, **records}, indent=1) + "\n")


def _caption(test, kind, index):
    if not test.defences:
        return kind
    name = test.defences[min(1, len(test.defences) - 1)]
    return f"{kind}: {test.steps[kind][name][index]} steps of {name}"


def _costs(measurements):
    steps = measurements.test.steps
    return pd.concat([f.add_prefix(f"{kind} ") for kind, f in steps.items()], axis=1)


def _fooled(measurements):
    return {attack: float(fooled.mean()) for attack, fooled in measurements.test.fooled.items()}


def _page(out, results, comparison):
    template = importlib.resources.files("baselines.comparison").joinpath("report.html")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    tables = comparison.tables
    shown = dict(tables)
    for protocol in protocols.PROTOCOLS:
        rows = tables[f"auroc_{protocol}"]
        shown |= {f"auroc_{protocol}": auroc_cells(rows), f"tpr_{protocol}": _tpr_cells(rows)}
    if "transfer" in tables:
        shown["transfer"] = _pivot(tables["transfer"], ["detector", "fitted_on"], "auroc")
    return environment.from_string(template.read_text()).render(
        **results,
        defences=comparison.measurements.test.defences,
        supervised=[n for n, each in comparison.measurements.baselines.items() if each.supervised],
        halves=comparison.options.halves,
        images=[path.name for path in out.glob("*.png")],
        image=lambda name: _embedded(out / name),
        table=lambda name: (
            _html(shown[name], comparison.options.names)
            if name in shown
            else "Left out; see the end of the page."
        ),
    )


def _pivot(rows, index, values):
    """Make a column of each attack, in their order."""
    table = rows.pivot(index=index, columns="attack", values=values)
    order = pd.MultiIndex.from_frame(rows[index].drop_duplicates())
    table = table.loc[order if len(index) > 1 else order.get_level_values(0)]
    return table[rows["attack"].unique()].rename_axis(None, axis=1).reset_index()


def _tpr_cells(rows):
    """Lay out true positive rates, such as "93 / 99 %"."""
    cells = [f"{100 * r.tpr_1:.0f} / {100 * r.tpr_5:.0f} %" for r in rows.itertuples()]
    return _pivot(rows.assign(cell=cells), ["detector"], "cell")


def _spelled(name, names):
    """Add what a name stands for, before "+ noisy" if it ends so."""
    first, plus, noisy = name.partition(protocols.NOISY)
    return f"{first} ({names[first]}){plus}{noisy}" if first in names else name


def _html(frame, names):
    if "detector" in frame:
        frame = frame.assign(detector=[_spelled(name, names) for name in frame["detector"]])
    frame = frame.rename(columns=lambda name: str(name).replace("_", " "))
    return markupsafe.Markup(frame.to_html(index=False, border=0, float_format=_number))


def _number(value):
    return f"{value:.4f}" if abs(value) <= 1 else f"{value:.1f}"


def _embedded(path):
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
