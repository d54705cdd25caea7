"""The report: `results.json`, the tables as CSV and Markdown, plots, and one page with it all."""

import base64
import importlib.resources
import json

import jinja2
import markupsafe
import numpy as np
import pandas as pd

from baselines import plots
from baselines.env1 import markdown, protocols

_SHOWN = 2  # benign inputs, in the pictures


def summary(tables):
    """Lay out the AUROCs under both protocols, for the terminal.

    Args:
        tables: A dict from the table's name to a `pandas.DataFrame`, as from
            `baselines.env1.__main__.compare`.

    Returns:
        The text.
    """
    titles = {"auroc_paper": "paper protocol", "auroc_held_out": "held out"}
    parts = [
        f"AUROC, {title}, with 95 % intervals\n{auroc_table(tables[name]).to_string(index=False)}"
        for name, title in titles.items()
    ]
    figure_6 = tables["figure_6"].to_string(index=False, float_format="%.4f")
    return "\n\n".join([*parts, f"accuracy (Figure 6)\n{figure_6}"])


def auroc_table(rows):
    """Lay AUROCs out: a row for each detector, a column for each attack.

    Args:
        rows: A `pandas.DataFrame`, as from `baselines.env1.protocols.compare`.

    Returns:
        A `pandas.DataFrame` of strings, such as "0.9873 [0.983, 0.991]".
    """
    cells = [f"{r.auroc:.4f} [{r.low:.3f}, {r.high:.3f}]" for r in rows.itertuples()]
    return _pivot(rows.assign(cell=cells), ["detector"], "cell")


def write(out, about, tables, measurements):
    """Write everything.

    Args:
        out: The folder, a `pathlib.Path`, which exists.
        about: How the results came about, a dict that JSON can hold.
        tables: As for `summary`.
        measurements: The `baselines.env1.measurements.Measurements`.
    """
    rounded = {name: table.round(5) for name, table in tables.items()}
    for name, table in rounded.items():
        table.to_csv(out / f"{name}.csv", index=name == "figure_3", lineterminator="\n")
    _costs(measurements).to_csv(out / "costs.csv", index=False, lineterminator="\n")
    records = {name: json.loads(t.to_json(orient="records")) for name, t in rounded.items()}
    results = {"about": about, "fooled": _fooled(measurements), **records}
    text = markdown.text(about["data set"], results["fooled"], tables)
    (out / "tables.md").write_text(text + "\n")
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    _draw(out, about["title"], tables, measurements)
    (out / "report.html").write_text(_page(out, results, tables))


def _draw(out, title, tables, measurements):
    test = measurements.test
    plots.boxes(out / "boxes.png", f"{title}: steps of", plots.STEPS, test.steps)
    plots.histograms(out / "histograms.png", f"{title}: steps of", plots.STEPS, test.steps)
    plots.distances(
        out / "figure_3.png", f"{title}: distances of mean JSMA_d steps", tables["figure_3"]
    )
    for name, make in (("paper", protocols.paper), ("held_out", protocols.held_out)):
        protocol = make(measurements)
        scores = {a: protocols.scores(measurements, protocol, a) for a in protocol.counted}
        plots.roc(out / f"roc_{name}.png", f"{title}:", scores)
    plots.pictures(out / "pictures.png", *_pairs(test))


def _pairs(test):
    """Pair the first benign inputs that all attacks fool with what each attack made of them."""
    everywhere = np.logical_and.reduce([*test.fooled.values()])
    pairs, captions = [], []
    for index in np.flatnonzero(everywhere)[:_SHOWN]:
        for attack in test.fooled:
            pairs.append((test.inputs["benign"][index], test.inputs[attack][index]))
            steps = (test.steps[kind]["BIM_d"][index] for kind in ("benign", attack))
            names = zip(("benign", attack), steps, strict=True)
            captions.append([f"{name}: {count} steps of BIM_d" for name, count in names])
    return pairs, captions


def _costs(measurements):
    steps = measurements.test.steps
    return pd.concat([f.add_prefix(f"{kind} ") for kind, f in steps.items()], axis=1)


def _fooled(measurements):
    return {attack: float(fooled.mean()) for attack, fooled in measurements.test.fooled.items()}


def _page(out, results, tables):
    template = importlib.resources.files("baselines.env1").joinpath("report.html").read_text()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    shown = tables | {name: auroc_table(tables[name]) for name in ("auroc_paper", "auroc_held_out")}
    shown["transfer"] = _pivot(tables["transfer"], ["detector", "fitted_on"], "auroc")
    return environment.from_string(template).render(
        **results, image=lambda name: _embedded(out / name), table=lambda name: _html(shown[name])
    )


def _pivot(rows, index, values):
    """Spread attacks over columns, in the order in which they come."""
    table = rows.pivot(index=index, columns="attack", values=values)
    order = pd.MultiIndex.from_frame(rows[index].drop_duplicates())
    table = table.loc[order if len(index) > 1 else order.get_level_values(0)]
    return table[rows["attack"].unique()].rename_axis(None, axis=1).reset_index()


def _html(frame):
    return markupsafe.Markup(frame.to_html(index=False, border=0, float_format=_number))


def _number(value):
    return f"{value:.4f}" if abs(value) <= 1 else f"{value:.1f}"


def _embedded(path):
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
