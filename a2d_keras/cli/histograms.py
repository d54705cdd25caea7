"""A picture of a p-value: each statistic of an input among those of benign inputs."""

import inspect
import math
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import lines, patches

from a2d_keras.cli.picture import (
    BARS,
    BENIGN,
    INPUT,
    THRESHOLD,
    Subject,
    make_canvas,
    save,
    show_input,
)

_SHOWN = (0.005, 0.995)  # quantiles between which benign values are always shown
_ROOM = 0.6  # beyond them at most, as a share of their distance, before a value is "off the scale"
_WIDTH = 52  # of a line of text below a panel
_MIN_SHOWN_P = 1e-4
_SUSPICIOUS = {"low": "small values are", "high": "large values are", "both": "both ends are"}
_SHADE: dict[str, Any] = {"color": INPUT, "alpha": 0.15, "linewidth": 0}
_LINE: dict[str, Any] = {"color": INPUT, "linewidth": 2.5}
_LIMIT: dict[str, Any] = {"color": THRESHOLD, "linestyle": "--"}


class Measure(NamedTuple):
    """One statistic of the input.

    Attributes:
        name: Its name.
        meaning: What it measures, in a sentence.
        tail: Which values are suspicious: `"low"`, `"high"` or `"both"`.
        value: Its value for the input.
        p_value: The share of benign inputs with a value at least as suspicious.
        benign: Evenly spaced quantiles of the benign values, ascending.
    """

    name: str
    meaning: str
    tail: str
    value: float
    p_value: float
    benign: np.ndarray


class Verdict(NamedTuple):
    """What all statistics together say.

    Attributes:
        score: The score of the input.
        p_value: The share of benign inputs with a score at least as high.
        rate: The false positive rate, and so the largest p-value that is flagged.
        benign: The scores of benign inputs.
        threshold: The score above which inputs are flagged.
    """

    score: float
    p_value: float
    rate: float
    benign: np.ndarray
    threshold: float


def draw(
    path: pathlib.Path, subject: Subject, measures: Sequence[Measure], verdict: Verdict
) -> None:
    """Draw the input, a histogram for each statistic, and one for the score.

    Args:
        path: The file to write; its suffix is the format.
        subject: The input.
        measures: A `Measure` for each statistic.
        verdict: The `Verdict`.
    """
    panels = len(measures) + 2
    columns = 2 if panels == 4 else 3
    rows = math.ceil(panels / columns)
    reason = f" ({show_p(verdict.p_value)})"
    canvas = make_canvas(subject, height=2 + 3.4 * rows, reason=reason)
    first, *others = canvas.subplots(rows, columns, squeeze=False).flat
    show_input(first, subject)
    for axes, measure in zip(others, measures, strict=False):
        _show_measure(axes, measure, verdict.rate)
    _show_score(others[len(measures)], verdict)
    for unused in others[len(measures) + 1 :]:
        unused.set_axis_off()
    about = {"title": _about(verdict.rate), "loc": "outside lower center", "frameon": False}
    canvas.legend(*_legend(verdict.rate), ncols=4, **about)
    save(canvas, path)


def show_p(p_value: float) -> str:
    """Write a p-value for people.

    Args:
        p_value: The p-value.

    Returns:
        Such as `p = 0.031` or `p < 0.0001`.

    Examples:
        >>> show_p(0.03125), show_p(1e-9)
        ('p = 0.031', 'p < 0.0001')
    """
    return f"p < {_MIN_SHOWN_P:g}" if p_value < _MIN_SHOWN_P else f"p = {p_value:.2g}"


def first_sentence(thing: Any) -> str:
    """Return the first sentence of the documentation of a class's object.

    Args:
        thing: The object.

    Returns:
        The sentence without its full stop, in one line.

    Examples:
        >>> first_sentence(1).startswith("int")
        True
    """
    return " ".join((inspect.getdoc(type(thing)) or "").partition("\n\n")[0].split()).rstrip(".")


def _about(rate: float) -> str:
    return (
        "p is the share of benign inputs that are at least as suspicious. No statistic decides "
        f"alone:\nan input is flagged if all of them together have p ≤ {rate:g}."
    )


def _legend(rate: float) -> tuple[list[Any], list[str]]:
    """Describe what stands for what in all panels."""
    meanings = {
        "benign inputs, from `adapt`": patches.Patch(color=BENIGN),
        "this input": lines.Line2D([], [], **_LINE),
        f"where the most suspicious {100 * rate:g} % of benign inputs lie": patches.Patch(**_SHADE),
        "flagged beyond this score": lines.Line2D([], [], **_LIMIT),
    }
    return list(meanings.values()), list(meanings)


def _show_measure(axes: Any, measure: Measure, rate: float) -> None:
    low, high = _window(measure.benign, measure.value)
    _show_benign(axes, measure.benign, low, high)
    share = rate / 2 if measure.tail == "both" else rate
    if measure.tail in ("low", "both"):
        axes.axvspan(low, np.quantile(measure.benign, share), **_SHADE)
    if measure.tail in ("high", "both"):
        axes.axvspan(np.quantile(measure.benign, 1 - share), high, **_SHADE)
    _mark(axes, measure.value, low, high)
    title = f"{measure.name}: {measure.value:.3g}\n{show_p(measure.p_value)}"
    _finish(axes, title, f"{measure.meaning}; {_SUSPICIOUS[measure.tail]} suspicious")
    if measure.p_value <= rate:
        axes.title.set_color(INPUT)


def _show_score(axes: Any, verdict: Verdict) -> None:
    low, high = _window(verdict.benign, max(verdict.score, verdict.threshold))
    _show_benign(axes, verdict.benign, low, high)
    axes.axvline(verdict.threshold, **_LIMIT)
    axes.axvspan(verdict.threshold, high, **_SHADE)
    _mark(axes, verdict.score, low, high)
    title = f"all together: a score of {verdict.score:.3g}\n{show_p(verdict.p_value)}"
    meaning = "The score: the sum of −log p of the statistics"
    _finish(axes, title, f"{meaning}; flagged above {verdict.threshold:.3g}")
    axes.title.set(color=INPUT if verdict.p_value <= verdict.rate else BENIGN, weight="bold")


def _window(benign: np.ndarray, value: float) -> tuple[float, float]:
    """Choose the values to show: nearly all benign ones, and the input's, unless far away."""
    low, high = (float(q) for q in np.quantile(benign, _SHOWN))
    span = (high - low) or max(abs(low), 1.0)
    if not math.isfinite(value):
        return low - 0.05 * span, high + 0.05 * span
    left = min(low, max(value, low - _ROOM * span))
    right = max(high, min(value, high + _ROOM * span))
    return left - 0.05 * span, right + 0.05 * span


def _show_benign(axes: Any, benign: np.ndarray, low: float, high: float) -> None:
    shares = np.full(len(benign), 100 / len(benign))
    axes.hist(benign, np.linspace(low, high, BARS + 1), weights=shares, color=BENIGN)
    axes.set_xlim(low, high)


def _mark(axes: Any, value: float, low: float, high: float) -> None:
    """Draw a line at the input's value, or an arrow at the side where it lies beyond."""
    if low <= value <= high:
        axes.axvline(value, **_LINE)
    elif math.isfinite(value):
        place, text, side = (0.985, "off the scale  ▶", "right")
        if value < low:
            place, text, side = (0.015, "◀  off the scale", "left")
        axes.text(place, 0.5, text, transform=axes.transAxes, ha=side, color=INPUT, weight="bold")


def _finish(axes: Any, title: str, meaning: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(textwrap.fill(meaning, _WIDTH), fontsize=9)
    axes.set_ylabel("% of benign inputs", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
