"""The settings of Env1 of the paper (Zhao et al. 2021, Section 5.2)."""

import functools

from a2d_keras import DeepFool
from baselines.comparison import Halves
from baselines.registry import BASELINES

LABELS = {
    "KD+BU": "BL1",
    "LID": "BL2",
    "mutation testing": "BL3",
    "Dissector": "BL4",
}  # the paper's names of the baselines
NAMES = {
    **{paper: ours for ours, paper in LABELS.items()},
    "END": "K-NN of all defences",
    "Z-score": "of all defences",
}  # the report spells the paper's names out
FIGURE_3 = Halves(
    defence="JSMA_d",
    kinds=("benign", "FGSM", "BIM-a", "DeepFool", "C&W"),
    extra={"DeepFool": DeepFool()},
)


def detectors(settings):
    """List the detectors: the defences of a data set, and every baseline in the registry.

    Args:
        settings: The `models.record.Settings`.

    Returns:
        A dict, as `baselines.comparison.compare` takes it.
    """
    return {**settings.defences, **rivals(settings)}


def rivals(settings):
    """List every baseline in the registry, under the paper's names and in their order.

    Args:
        settings: The `models.record.Settings`.

    Returns:
        A dict from the name to a function that makes the baseline from a model and its data.
    """
    makers = {
        LABELS.get(name, name): functools.partial(
            baseline.from_data, **settings.baselines.get(name, {})
        )
        for name, baseline in BASELINES.items()
    }
    return dict(sorted(makers.items()))
