"""The results of the comparisons as text, CSV and plots."""

import csv

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

_BENIGN, _ADVERSARIAL = "#3b6fb6", ("#d1495b", "#edae49", "#66a182", "#8d6a9f")
_STEPS = "attack cost (steps)"


def table(rows):
    """Lay the AUROCs out: a row for each attack, a column for each defence.

    Args:
        rows: Results, as from `baselines.env1.compare`.

    Returns:
        The table in Markdown, a string.
    """
    defences = list(dict.fromkeys(row["defence"] for row in rows))
    lines = [["AUROC", "fooled", *defences], ["---"] * (2 + len(defences))]
    for attack in dict.fromkeys(row["attack"] for row in rows):
        cells = {row["defence"]: row for row in rows if row["attack"] == attack}
        share = f"{cells[defences[0]]['fooled']:.1%}"
        lines.append([attack, share, *(f"{cells[d]['auroc']:.4f}" for d in defences)])
    return "\n".join("| " + " | ".join(f"{cell:>7}" for cell in line) + " |" for line in lines)


def write(out, title, rows, costs):
    """Write `auroc.csv`, `costs.csv` (a row for each input), `boxes.png` and `histograms.png`.

    Args:
        out: The folder, a `pathlib.Path`; made where it is missing.
        title: The data set's name.
        rows: Results, as from `baselines.env1.compare`.
        costs: Costs, as from `baselines.env1.measure`.
    """
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "auroc.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )
    columns = {f"{kind} {name}": c for kind, named in costs.items() for name, c in named.items()}
    with open(out / "costs.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [list(columns), *zip(*columns.values(), strict=True)]
        )
    title = f"{title}: steps of"
    boxes(out / "boxes.png", title, _STEPS, costs)
    _plot(out / "histograms.png", title, _STEPS, costs, _histogram)


def boxes(path, title, unit, values):
    """Draw a box for each kind of input, in a panel for each defence.

    Args:
        path: The file.
        title: Begins the title of every panel; the defence's name ends it.
        unit: What the values are.
        values: A dict from the kind of input to a dict from the defence to an array (n,).
    """
    _plot(path, title, unit, values, _boxes)


def _plot(path, title, unit, costs, draw):
    defences = list(costs["benign"])
    rows = -(-len(defences) // 2)
    figure, axes = plt.subplots(
        rows, 2, figsize=(9, 3.4 * rows), squeeze=False, layout="constrained"
    )
    for axis, defence in zip(axes.flat, defences, strict=False):
        draw(axis, unit, {kind: by_defence[defence] for kind, by_defence in costs.items()})
        axis.set_title(f"{title} {defence}")
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(defences) :]:
        axis.remove()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _boxes(axis, unit, costs):
    boxes = axis.boxplot(list(costs.values()), patch_artist=True, flierprops={"markersize": 2})
    for box, color in zip(boxes["boxes"], (_BENIGN, *_ADVERSARIAL), strict=False):
        box.set_facecolor(color)
    plt.setp(boxes["medians"], color="black")
    axis.set_xticks(range(1, len(costs) + 1), list(costs))
    axis.set_ylabel(unit)


def _histogram(axis, unit, costs):
    bins = np.linspace(0, max(values.max() for values in costs.values()), 41)
    for (kind, values), color in zip(costs.items(), (_BENIGN, *_ADVERSARIAL), strict=False):
        fill = {"alpha": 0.65} if kind == "benign" else {"histtype": "step", "linewidth": 1.5}
        axis.hist(values, bins, color=color, label=kind, **fill)
    axis.set_xlabel(unit)
    axis.set_ylabel("inputs")
    axis.legend(frameon=False)
