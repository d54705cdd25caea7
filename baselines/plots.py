"""The plots of the comparisons, as PNG files."""

import contextlib
import itertools

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_curve

STEPS = "attack cost (steps)"
_RATES = 0.01, 0.05  # dotted, in ROC curves
_BENIGN, _ADVERSARIAL = "#3b6fb6", ("#d1495b", "#edae49", "#66a182", "#8d6a9f")


def boxes(path, title, unit, values):
    """Draw a box for each kind of input, in a panel for each defence.

    Args:
        path: The file.
        title: Begins the title of every panel; the defence's name ends it.
        unit: The label of the values.
        values: A dict from the kind of input to a dict (or `pandas.DataFrame`) from the defence
            to an array (n,).
    """
    _by_defence(path, title, unit, values, _boxes)


def histograms(path, title, unit, values):
    """Draw a histogram of each kind of input, in a panel for each defence.

    Args:
        path: The file.
        title: Begins the title of every panel; the defence's name ends it.
        unit: The label of the values.
        values: As for `boxes`.
    """
    _by_defence(path, title, unit, values, _histogram)


def roc(path, title, scores):
    """Draw the ROC curve of every detector, in a panel for each attack.

    The axis of false positives is logarithmic, since only small rates are of use.

    Args:
        path: The file.
        title: Begins the title of every panel; the attack's name ends it.
        scores: A dict from the attack to a dict from the detector to its scores of negatives and
            of positives, two arrays.
    """
    styles = list(itertools.product(("-", "--", ":"), plt.cm.tab10.colors))
    with _panels(path, len(scores), 4.2) as axes:
        for axis, (attack, by_detector) in zip(axes, scores.items(), strict=True):
            smallest = 1.0
            for (detector, pair), (line, color) in zip(
                by_detector.items(), itertools.cycle(styles), strict=False
            ):
                negative, positive = pair
                labels = np.arange(len(negative) + len(positive)) >= len(negative)
                false, true, _ = roc_curve(labels, np.append(negative, positive))
                style = {"color": color, "label": detector, "linewidth": 1.3}
                # The curve starts at the smallest rate that so many negatives can show.
                smallest = min(smallest, 1 / len(negative))
                axis.plot(np.maximum(false, 1 / len(negative)), true, line, **style)
            for rate in _RATES:
                axis.axvline(rate, color="#888888", linestyle=":", linewidth=1)
            axis.set(title=f"{title} {attack}", xscale="log", xlim=(smallest, 1))
            axis.set(xlabel="negatives flagged", ylabel="adversarial inputs flagged")
            axis.set(ylim=(0, 1.01))
            axis.xaxis.set_major_formatter("{x:g}")
        handles = axes[0].get_legend_handles_labels()
        axes[0].figure.legend(*handles, frameon=False, loc="outside lower center", ncols=3)


def scatter(path, title, units, points):
    """Draw points, in a panel for each group and a color for each kind.

    Args:
        path: The file.
        title: Begins the title of every panel; the group's name ends it.
        units: The labels of both axes.
        points: A dict from the group to a dict from the kind, of which the first is benign, to
            the coordinates, two arrays (n,).
    """
    with _panels(path, len(points), 3.8) as axes:
        for axis, (group, kinds) in zip(axes, points.items(), strict=True):
            for (kind, (x, y)), color in zip(kinds.items(), (_BENIGN, *_ADVERSARIAL), strict=False):
                axis.scatter(x, y, s=14, color=color, label=kind, alpha=0.8)
            axis.set(title=f"{title} {group}", xlabel=units[0], ylabel=units[1])
            axis.set(xlim=(0, None), ylim=(0, None))
        axes[0].legend(frameon=False, fontsize=8)


def distances(path, title, matrix):
    """Draw a matrix of distances, each with its value.

    Args:
        path: The file.
        title: The title.
        matrix: A square `pandas.DataFrame`.
    """
    colors = {"cmap": "Blues", "vmax": 1.3 * matrix.to_numpy().max()}
    _matrix(path, title, matrix, "{:.0f}", **colors)


def areas(path, title, matrix):
    """Draw a matrix of areas under ROC curves, each with its value: blue is good, red is inverted.

    Args:
        path: The file.
        title: The title.
        matrix: A `pandas.DataFrame`; missing values stay blank.
    """
    _matrix(path, title, matrix, "{:.2f}", cmap="RdBu", vmin=0, vmax=1)


def pictures(path, rows, captions):
    """Draw benign inputs, their adversarial counterparts, and the perturbations, side by side.

    Args:
        path: The file.
        rows: A list of pairs, a benign input and its adversarial counterpart, float32 in [0, 1],
            (height, width, channels).
        captions: Two strings for each row, below the two inputs.
    """
    figure, axes = plt.subplots(
        len(rows), 3, figsize=(7, 2.4 * len(rows)), squeeze=False, layout="constrained"
    )
    for (benign, adversarial), names, three in zip(rows, captions, axes, strict=True):
        change = adversarial - benign
        largest = max(float(abs(change).max()), 1e-6)
        images = (benign, adversarial, 0.5 + change / (2 * largest))
        texts = (*names, f"the perturbation, × {0.5 / largest:.1f} on grey")
        for axis, image, text in zip(three, images, texts, strict=True):
            axis.imshow(np.clip(image, 0, 1).squeeze(), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(text, fontsize=8)
    _save(figure, path)


def grid(path, names, rows):
    """Draw rows of pictures, each with a caption.

    Args:
        path: The file.
        names: The names of the rows.
        rows: A pair for each row: images, float32 in [0, 1], (n, height, width, channels), and a
            caption for each.
    """
    columns = max(len(images) for images, _ in rows)
    size = (0.9 * columns + 0.4, 1.05 * len(rows))
    figure, axes = plt.subplots(
        len(rows), columns, figsize=size, squeeze=False, layout="constrained"
    )
    for name, line, (images, captions) in zip(names, axes, rows, strict=True):
        line[0].set_ylabel(name, fontsize=7)
        for axis, image, caption in zip(line, images, captions, strict=False):
            axis.imshow(np.clip(image, 0, 1).squeeze(), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(caption, fontsize=6, labelpad=1)
    _save(figure, path)


def _matrix(path, title, matrix, form, **colors):
    size = 2 + 0.6 * np.array(matrix.shape[::-1])
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    image = axis.imshow(matrix, aspect="auto", **colors)
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            dark = np.dot(image.to_rgba(value)[:3], (0.3, 0.6, 0.1)) < 0.5
            style = {"color": "white" if dark else "black", "fontsize": 8}
            axis.text(column, row, form.format(value), ha="center", va="center", **style)
    axis.set_xticks(range(matrix.shape[1]), matrix.columns, rotation=45, ha="right")
    axis.set_yticks(range(matrix.shape[0]), matrix.index)
    axis.set_title(title)
    _save(figure, path)


def _by_defence(path, title, unit, values, draw):
    defences = list(values["benign"])
    with _panels(path, len(defences), 3.4) as axes:
        for axis, defence in zip(axes, defences, strict=True):
            draw(axis, unit, {kind: by_defence[defence] for kind, by_defence in values.items()})
            axis.set_title(f"{title} {defence}")


def _boxes(axis, unit, values):
    boxes = axis.boxplot(list(values.values()), patch_artist=True, flierprops={"markersize": 2})
    for box, color in zip(boxes["boxes"], (_BENIGN, *_ADVERSARIAL), strict=False):
        box.set_facecolor(color)
    plt.setp(boxes["medians"], color="black")
    axis.set_xticks(range(1, len(values) + 1), list(values))
    axis.set_ylabel(unit)
    axis.set_ylim(bottom=0)


def _histogram(axis, unit, values):
    bins = np.linspace(0, max(np.max(each) for each in values.values()), 41)
    for (kind, each), color in zip(values.items(), (_BENIGN, *_ADVERSARIAL), strict=False):
        fill = {"alpha": 0.65} if kind == "benign" else {"histtype": "step", "linewidth": 1.5}
        axis.hist(each, bins, color=color, label=kind, **fill)
    axis.set_xlabel(unit)
    axis.set_ylabel("inputs")
    axis.legend(frameon=False)


@contextlib.contextmanager
def _panels(path, count, height):
    """Lay panels out in two columns, and save them once they are drawn."""
    rows = -(-count // 2)
    figure, axes = plt.subplots(
        rows, 2, figsize=(9, height * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[count:]:
        axis.remove()
    yield axes.flat[:count]
    _save(figure, path)


def _save(figure, path):
    figure.savefig(path, dpi=150)
    plt.close(figure)
