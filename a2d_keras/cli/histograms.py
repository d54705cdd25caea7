"""A picture of a p-value: each statistic of an input among those of benign inputs."""

import inspect
import math
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from a2d_keras.cli.picture import (
    BARS,
    BENIGN,
    INPUT,
    MARGIN,
    THRESHOLD,
    Subject,
    make_canvas,
    save,
    show_input,
)

_COLUMNS = 3
_SHOWN = (0.005, 0.995)  # quantiles between which benign values are always shown
_ROOM = 0.6  # beyond them at most, as a share of their distance, before a value is "off the scale"
_SHADE = 0.12
_WIDTH = 52  # of a line of text below a panel
_MIN_SHOWN_P = 1e-4
_SUSPICIOUS = {"low": "the lowest {} of benign values", "high": "the highest {} of benign values"}
_SUSPICIOUS["both"] = "the outermost {} of benign values"


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
    rows = math.ceil((len(measures) + 2) / _COLUMNS)
    reason = f" ({show_p(verdict.p_value)})"
    canvas = make_canvas(subject, _about(verdict.rate), height=1.4 + 3.6 * rows, reason=reason)
    first, *others = canvas.subplots(rows, _COLUMNS, squeeze=False).flat
    show_input(first, subject)
    for axes, measure in zip(others, measures, strict=False):
        _show_measure(axes, measure, verdict.rate)
    _show_score(others[len(measures)], verdict)
    for unused in others[len(measures) + 1 :]:
        unused.set_axis_off()
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
        "Blue: benign inputs, from `adapt`. Red: this input. p is the share of benign inputs that "
        "are at least as suspicious.\nNo statistic decides alone: an input is flagged if all of "
        f"them together have p ≤ {rate:g}."
    )


def _show_measure(axes: Any, measure: Measure, rate: float) -> None:
    low, high = _window(measure.benign, measure.value)
    _show_benign(axes, measure.benign, low, high)
    share = rate / 2 if measure.tail == "both" else rate
    suspicious = {
        "low": (low, np.quantile(measure.benign, share)),
        "high": (np.quantile(measure.benign, 1 - share), high),
    }
    for side in ("low", "high") if measure.tail == "both" else (measure.tail,):
        shade = axes.axvspan(*suspicious[side], color=INPUT, alpha=_SHADE, linewidth=0)
    shade.set_label(f"suspicious: {_SUSPICIOUS[measure.tail].format(f'{100 * rate:g} %')}")
    _mark(axes, measure.value, low, high)
    _finish(axes, f"{measure.name}\n{show_p(measure.p_value)}", measure.meaning)


def _show_score(axes: Any, verdict: Verdict) -> None:
    low, high = _window(verdict.benign, max(verdict.score, verdict.threshold))
    _show_benign(axes, verdict.benign, low, high)
    label = f"flagged above {verdict.threshold:.3g}"
    axes.axvline(verdict.threshold, color=THRESHOLD, linestyle="--", label=label)
    axes.axvspan(verdict.threshold, high, color=INPUT, alpha=_SHADE, linewidth=0)
    _mark(axes, verdict.score, low, high)
    title = f"all statistics together\n{show_p(verdict.p_value)}"
    _finish(axes, title, "The score: the sum of −log p of each statistic")


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
    edges = np.linspace(low, high, BARS + 1)
    axes.hist(benign, edges, weights=shares, color=BENIGN, label="benign inputs")
    axes.set_xlim(low, high)


def _mark(axes: Any, value: float, low: float, high: float) -> None:
    """Draw a line at the input's value, or an arrow at the side where it lies beyond."""
    if not math.isfinite(value):
        return
    label = f"this input: {value:.3g}"
    if low <= value <= high:
        axes.axvline(value, color=INPUT, linewidth=2.5, label=label)
        return
    marker, edge = (">", 0.985) if value > high else ("<", 0.015)
    axes.plot(
        *(edge, 0.5, marker),
        color=INPUT,
        markersize=14,
        transform=axes.transAxes,
        linestyle="none",
        label=f"{label}, off the scale",
    )


def _finish(axes: Any, title: str, meaning: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(textwrap.fill(meaning, _WIDTH), fontsize=9)
    axes.set_ylabel("% of benign inputs", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=MARGIN)
    axes.legend(frameon=False, fontsize=9, loc="upper center")
