"""The pictures of a report. They need matplotlib."""

import io
from typing import Any

import numpy as np
from matplotlib import colormaps, figure

from a2d_keras.redteam.result import RedTeamResult

_SHOWN = 6  # rows of pictures
_RATES = (0.05, 0.5)
_SMALLEST = 1e-6  # change, to be magnified


def roc(result: RedTeamResult) -> bytes | None:
    """Draw the ROC curve of the detector against each adversary that fools the classifier.

    The axis of benign inputs is logarithmic, from the smallest rate that so many can show.

    Args:
        result: The result.

    Returns:
        A PNG file; None if nothing fools.
    """
    curves = {name: result.roc(name) for name in result.crafted}
    curves = {name: curve for name, curve in curves.items() if len(curve[0])}
    if not curves:
        return None
    canvas = figure.Figure(figsize=(8.2, 5), layout="constrained")
    axes, smallest = canvas.subplots(), 1 / len(result.benign.score)
    for number, (name, (false, true)) in enumerate(curves.items()):
        line: Any = {
            "color": colormaps["tab10"](number % 10),
            "linestyle": ("-", "--")[number // 10 % 2],
        }
        axes.plot(np.maximum(false, smallest), true, label=name, linewidth=1.6, **line)
    for rate in _RATES:
        axes.axvline(rate, color="#888888", linestyle=":", linewidth=1)
    axes.set(xlabel="benign inputs flagged", ylabel="adversarial inputs flagged")
    axes.set(xscale="log", xlim=(smallest, 1), ylim=(-0.01, 1.01))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.spines[["top", "right"]].set_visible(False)
    canvas.legend(frameon=False, loc="outside right upper", fontsize=9)  # where no curve is
    return _png(canvas)


def pictures(result: RedTeamResult) -> bytes | None:
    """Draw inputs that got through: before, after, and the change.

    Args:
        result: The result.

    Returns:
        A PNG file; None if nothing got through, or inputs are no images.
    """
    shown = [(name, np.flatnonzero(result.succeeds(name))[:1]) for name in result.crafted]
    rows = [(name, found[0]) for name, found in shown if len(found)][:_SHOWN]
    if not rows or not result.defence.classifier.takes_images:
        return None
    canvas = figure.Figure(figsize=(7.5, 2.9 * len(rows)), layout="constrained")
    for axes, (name, row) in zip(canvas.subplots(len(rows), 3, squeeze=False), rows, strict=True):
        before, after = (_image(result, x[row]) for x in (result.x, result.crafted[name].x))
        largest = max(float(np.abs(after - before).max()), _SMALLEST)
        became = result.crafted[name].verdicts.labels[row]
        _show(axes[0], before, f"benign: class {result.y[row]}")
        _show(axes[1], after, f"{name}:\nclass {became}, not flagged")
        change = 0.5 + (after - before) / (2 * largest)
        _show(axes[2], change, f"the change, of at most {largest:.3f}\n(grey: none)")
    return _png(canvas)


def _image(result: RedTeamResult, x: np.ndarray) -> np.ndarray:
    """Scale an image to [0, 1], with its channels last."""
    classifier = result.defence.classifier
    scaled = np.asarray(classifier.to_unit(x[None]))[0] - classifier.unit.bounds[0]
    scaled = scaled / classifier.unit.range
    return scaled if classifier.data_format == "channels_last" else np.moveaxis(scaled, 0, -1)


def _show(axes: Any, image: np.ndarray, title: str) -> None:
    channels = 3 if image.shape[-1] >= 3 else 1
    shown = np.clip(image[..., :channels], 0, 1)
    axes.imshow(shown.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set(xticks=[], yticks=[])


def _png(canvas: Any) -> bytes:
    file = io.BytesIO()
    canvas.savefig(file, format="png", dpi=130)
    return file.getvalue()
