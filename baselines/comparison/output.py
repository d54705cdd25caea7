"""The report: `results.json`, `costs.csv`, `tables.md`, plots, and one page with all of these."""

import json

import numpy as np
import pandas as pd

from baselines import plots
from baselines.comparison import cells, markdown, missed, page

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
        f"AUROC, {title}, with 95 % intervals\n{cells.auroc(tables[name]).to_string(index=False)}"
        for name, title in titles.items()
    ]
    if "figure_6" in tables:
        figure_6 = tables["figure_6"].to_string(index=False, float_format="%.4f")
        parts.append(f"accuracy (Figure 6)\n{figure_6}")
    return "\n\n".join(parts)


def write(out, comparison):
    """Write everything.

    Args:
        out: The folder, a `pathlib.Path`, which exists.
        comparison: The `baselines.comparison.Comparison`.
    """
    tables, measurements = comparison.tables, comparison.measurements
    results = {"about": comparison.about, "fooled": _fooled(measurements), **_records(tables)}
    text = markdown.text(results["fooled"], tables, comparison.options.published)
    (out / "tables.md").write_text(text + "\n")
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    _draw(out, comparison)
    if measurements.test.defences:
        _costs(measurements).to_csv(out / "costs.csv", index=False, lineterminator="\n")
    images = {path.name: path for path in out.glob("*.png")}
    (out / "report.html").write_text(page.render(results, comparison, images))


def _draw(out, comparison):
    test, names = comparison.measurements.test, comparison.options.names
    title = comparison.about.get("title", "the classifier")
    for name, scores in comparison.scores.items():
        spelled = {
            attack: {cells.spelled(each, names): pair for each, pair in found.items()}
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
        missed.draw(out / "missed.png", comparison.tables["missed"], comparison.measurements)


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
    results = {"about": about, **_records(tables)}
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def _records(tables):
    return {
        name: json.loads(table.round(5).to_json(orient="records")) for name, table in tables.items()
    }


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
