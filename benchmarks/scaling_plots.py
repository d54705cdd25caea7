"""The plots of scaling, as PNG files."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def side_by_side(path, panels):
    """Draw curves over logarithmic axes, panel by panel.

    Args:
        path: The file.
        panels: A list of dicts: `title`; `x` and `y`, the axes' labels; and `curves`, a dict from
            the name to its points, a list of pairs. Optional are `extrapolated`, a dict like
            `curves` that is drawn hollow, and `from_zero`, True for a linear y axis from 0.
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.8 * len(panels), 3.6), squeeze=False, layout="constrained"
    )
    for axis, panel in zip(axes.flat, panels, strict=True):
        for name, points in panel["curves"].items():
            axis.plot(*zip(*points, strict=True), "o-", label=name)
        for name, points in panel.get("extrapolated", {}).items():
            axis.plot(*zip(*points, strict=True), "o--", color="grey", mfc="none", label=name)
        axis.set(title=panel["title"], xlabel=panel["x"], ylabel=panel["y"], xscale="log")
        if panel.get("from_zero"):
            axis.set_ylim(0, 1.3 * axis.dataLim.ymax)
        else:
            axis.set_yscale("log")
        axis.spines[["top", "right"]].set_visible(False)
        if len(panel["curves"]) > 1 or "extrapolated" in panel:
            axis.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
