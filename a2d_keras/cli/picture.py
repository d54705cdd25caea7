"""A picture of a verdict on costs: the adversarial example found, and its cost among others."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colors, figure

BENIGN, INPUT, THRESHOLD = "#3b6fb6", "#d1495b", "#555555"
BARS = 30
_MARGIN = 0.5  # above the bars, for the legend, as a share of their height
_FAINT = 0.35  # how much is seen of the image below the change
_ABOUT = (
    "The detector attacks every input. An adversarial input lies just across a decision boundary, "
    "so its prediction changes after far fewer steps than that of a benign input."
)


class Subject(NamedTuple):
    """An input with a verdict.

    Attributes:
        name: Its name.
        image: The input, scaled from the bounds to [0, 1], float, (height, width) or
            (height, width, channels).
        prediction: The class predicted for it, and how sure the classifier is.
        flagged: Whether it was flagged.
    """

    name: str
    image: np.ndarray
    prediction: str
    flagged: bool


class Finding(NamedTuple):
    """What one attack of the detector did to the input.

    Attributes:
        attack: The attack's name.
        adversarial: The example it found, or the last one it tried, scaled and shaped like the
            image.
        effect: Where the change counts, the largest effect being 1, float, (height, width).
        prediction: The class predicted for that example, and how sure the classifier is.
        success: Whether it differs from the class predicted for the input.
        cost: The number of steps.
        benign_costs: How many benign inputs had each cost, from 0 up, int64, (costs,).
        threshold: The smallest cost that counts as benign; None if the rule has no threshold.
    """

    attack: str
    adversarial: np.ndarray
    effect: np.ndarray
    prediction: str
    success: bool
    cost: int
    benign_costs: np.ndarray
    threshold: int | None


def draw(path: pathlib.Path, subject: Subject, findings: Sequence[Finding]) -> None:
    """Draw a row for each attack: the input, the example found, the change, and the cost.

    Args:
        path: The file to write; its suffix is the format.
        subject: The input.
        findings: A `Finding` for each attack.
    """
    rows = len(findings)
    canvas = make_canvas(subject, height=1.2 + 3.3 * rows)
    canvas.supxlabel(_ABOUT, fontsize=10)
    panels = canvas.subplots(rows, 4, squeeze=False, width_ratios=(1, 1, 1, 1.7))
    for (original, found, change, costs), finding in zip(panels, findings, strict=True):
        show_input(original, subject)
        show_image(found, finding.adversarial, _outcome(finding))
        _show_change(change, finding, subject.image)
        _show_costs(costs, finding)
    save(canvas, path)


def make_canvas(subject: Subject, *, height: float, reason: str = "") -> Any:
    """Make an empty picture, with the verdict as its title.

    Args:
        subject: The input.
        height: The height in inches.
        reason: The end of the title. Defaults to nothing.

    Returns:
        A figure of matplotlib.
    """
    canvas = figure.Figure(figsize=(14, height), layout="constrained")
    verdict = "flagged as adversarial" if subject.flagged else "not flagged"
    color = INPUT if subject.flagged else BENIGN
    canvas.suptitle(f"{subject.name}: {verdict}{reason}", fontsize=15, color=color)
    return canvas


def show_input(axes: Any, subject: Subject) -> None:
    """Show the input and its prediction.

    Args:
        axes: Where to.
        subject: The input.
    """
    show_image(axes, subject.image, f"the input:\nclassified as {subject.prediction}")


def show_image(axes: Any, image: np.ndarray, title: str, **options: Any) -> None:
    """Show an image.

    Args:
        axes: Where to.
        image: The image, scaled to [0, 1].
        title: Its title.
        **options: Those of matplotlib's `imshow`.
    """
    pixels = np.clip(image, 0, 1) if image.ndim == 3 and image.shape[-1] > 1 else image
    axes.imshow(pixels.squeeze(), **{"cmap": "gray", "vmin": 0, "vmax": 1, **options})
    axes.set_title(title, fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])


def save(canvas: Any, path: pathlib.Path) -> None:
    """Write a picture.

    Args:
        canvas: The figure.
        path: The file to write; its suffix is the format.
    """
    canvas.savefig(path, format=path.suffix[1:] or "png", dpi=120)


def _outcome(finding: Finding) -> str:
    if finding.success:
        return (
            f"after {_steps(finding.cost)} of {finding.attack}:\nclassified as {finding.prediction}"
        )
    return f"after {_steps(finding.cost)} of {finding.attack}:\nstill {finding.prediction}"


def _show_change(axes: Any, finding: Finding, image: np.ndarray) -> None:
    """Show where the change counts, in red over the faint image."""
    grey = np.clip(image.reshape(*image.shape[:2], -1)[..., :3].mean(axis=-1), 0, 1)
    largest = np.abs(finding.adversarial - image).max()
    title = f"the change, at most {100 * largest:.2g} % of the range\n(red: where it counts)"
    show_image(axes, 1 - _FAINT * (1 - grey), title)
    red = colors.to_rgba_array(INPUT)[0, :3]
    layer = np.broadcast_to(red, (*finding.effect.shape, 3))
    axes.imshow(np.concatenate([layer, finding.effect[..., None]], axis=-1))


def _show_costs(axes: Any, finding: Finding) -> None:
    counts = finding.benign_costs
    max_cost = max(np.flatnonzero(counts).max(), finding.cost)
    axes.hist(
        np.arange(len(counts)),
        np.linspace(0, max_cost + 1, BARS + 1),
        weights=counts,
        color=BENIGN,
        label=f"{counts.sum():,} benign inputs, from `adapt`",
    )
    if finding.threshold is not None:
        label = f"flagged below {_steps(finding.threshold)}"
        axes.axvline(finding.threshold, color=THRESHOLD, linestyle="--", label=label)
    axes.axvline(finding.cost, color=INPUT, linewidth=2.5, label=f"this input: {finding.cost}")
    cheaper = f"{counts[: finding.cost].sum():,} of {counts.sum():,}"
    axes.set_title(f"{cheaper} benign inputs\nneed fewer steps{_vote(finding)}", fontsize=11)
    axes.set_xlabel("steps until the prediction changes")
    axes.set_ylabel("benign inputs")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=_MARGIN)
    axes.legend(frameon=False, fontsize=9)


def _vote(finding: Finding) -> str:
    if finding.threshold is None:
        return ""
    return f": {'adversarial' if finding.cost < finding.threshold else 'benign'}"


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"
