"""A picture of a verdict: what the defence found, and what that cost among benign inputs."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import figure

_BENIGN, _INPUT, _THRESHOLD = "#3b6fb6", "#d1495b", "#555555"
_BARS = 30
_ROOM = 0.5  # above the bars, for the legend, as a share of their height
_LEAST_CHANGE = 0.0005  # beyond which nothing is magnified
_ABOUT = (
    "The defence attacks every input. An adversarial input lies just across the border between two "
    "answers, so it gives way in far fewer steps than benign inputs do."
)


class Finding(NamedTuple):
    """What one attack of the defence did to the input.

    Attributes:
        attack: The attack's name.
        adversarial: The example it found, or the last it tried, float32, (*input_shape,).
        prediction: The classifier's answer to that.
        success: Whether that differs from the answer to the input.
        cost: The steps it took.
        benign_costs: How many benign inputs had each cost, from 0 up, int64, (costs,).
        threshold: The smallest cost that counts as benign; None where there is none.
    """

    attack: str
    adversarial: np.ndarray
    prediction: int | None
    success: bool
    cost: int
    benign_costs: np.ndarray
    threshold: int | None


def draw(
    path: pathlib.Path,
    name: str,
    image: np.ndarray,
    prediction: int | None,
    flagged: bool,
    findings: Sequence[Finding],
) -> None:
    """Draw a row for each attack: the input, what became of it, the change, and what it cost.

    Args:
        path: The file to write; its suffix says what kind.
        name: What to call the input.
        image: The input, scaled from the bounds to [0, 1], float32, (height, width) or
            (height, width, channels).
        prediction: The classifier's answer to it.
        flagged: The verdict.
        findings: A `Finding` for each attack, their examples scaled likewise.
    """
    rows = len(findings)
    canvas = figure.Figure(figsize=(14, 1.2 + 3.3 * rows), layout="constrained")
    verdict = "flagged as adversarial" if flagged else "not flagged"
    canvas.suptitle(f"{name}: {verdict}", fontsize=15, color=_INPUT if flagged else _BENIGN)
    canvas.supxlabel(_ABOUT, fontsize=10)
    panels = canvas.subplots(rows, 4, squeeze=False, width_ratios=(1, 1, 1, 1.7))
    for (original, found, change, costs), finding in zip(panels, findings, strict=True):
        _show(original, image, f"the input:\nclassified as {prediction}")
        _show(found, finding.adversarial, _outcome(finding))
        _show_change(change, finding.adversarial - image)
        _show_costs(costs, finding)
    canvas.savefig(path, format=path.suffix[1:] or "png", dpi=120)


def _outcome(finding: Finding) -> str:
    if finding.success:
        return (
            f"after {_steps(finding.cost)} of {finding.attack}:\nclassified as {finding.prediction}"
        )
    return f"{finding.attack} gave up after {_steps(finding.cost)}:\nstill {finding.prediction}"


def _show(axes: Any, image: np.ndarray, title: str, **options: Any) -> None:
    pixels = np.clip(image, 0, 1) if image.ndim == 3 and image.shape[-1] > 1 else image
    axes.imshow(pixels.squeeze(), **{"cmap": "gray", "vmin": 0, "vmax": 1, **options})
    axes.set_title(title, fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])


def _show_change(axes: Any, change: np.ndarray) -> None:
    """Show a change around mid-grey, or in blue and red where there is one channel."""
    largest = np.abs(change).max()
    factor = max(round(0.5 / max(largest, _LEAST_CHANGE)), 1)
    title = f"the change, magnified {factor}×"
    if change.ndim == 3 and change.shape[-1] > 1:
        _show(axes, 0.5 + factor * change[..., :3], f"{title}\n(grey: unchanged)")
    else:
        shown = 0.5 + factor * change
        _show(axes, shown, f"{title}\n(red: brighter, blue: darker)", cmap="RdBu_r")


def _show_costs(axes: Any, finding: Finding) -> None:
    counts = finding.benign_costs
    most = max(np.flatnonzero(counts).max(), finding.cost)
    axes.hist(
        np.arange(len(counts)),
        np.linspace(0, most + 1, _BARS + 1),
        weights=counts,
        color=_BENIGN,
        label=f"{counts.sum():,} benign inputs, from `adapt`",
    )
    if finding.threshold is not None:
        label = f"flagged below {_steps(finding.threshold)}"
        axes.axvline(finding.threshold, color=_THRESHOLD, linestyle="--", label=label)
    axes.axvline(finding.cost, color=_INPUT, linewidth=2.5, label=f"this input: {finding.cost}")
    cheaper = f"{counts[: finding.cost].sum():,} of {counts.sum():,}"
    axes.set_title(f"{cheaper} benign inputs\ngive way in fewer steps{_vote(finding)}", fontsize=11)
    axes.set_xlabel("steps until the classifier's answer changes")
    axes.set_ylabel("benign inputs")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=_ROOM)
    axes.legend(frameon=False, fontsize=9)


def _vote(finding: Finding) -> str:
    if finding.threshold is None:
        return ""
    return f": {'adversarial' if finding.cost < finding.threshold else 'benign'}"


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"
