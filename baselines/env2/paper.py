"""The paper's figures of Env2 (Zhao et al. 2021), to print next to ours.

Table 3 and Figure 6 have one classifier for each data set, so Env1 prints the same.
"""

from baselines.comparison import Published
from baselines.env1 import paper as env1

_DETECTORS = ("JSMA_d", "BIM_d", "BIM2_d", "DBA_d", "BL3")
_PHOTOGRAPHS = ("JSMA_d", "BIM_d", "BIM2_d", "DBA_d", "BL4")
_ENSEMBLE = ("JSMA_d", "BIM_d", "BIM2_d", "DBA_d", "ensemble")
AS_CODED = " as coded"  # ends the name of an attack in the form of BL3's authors


def _rows(names, rows):
    return {attack: dict(zip(names, values, strict=True)) for attack, values in rows.items()}


_MNIST = Published(
    table_2=_rows(
        _DETECTORS,
        {
            "FGSM": (0.9665, 0.9883, 0.9846, 0.9595, 0.9617),
            "JSMA": (0.9971, 0.9984, 0.9974, 0.984, 0.9941),
            "DeepFool": (0.9918, 0.9971, 0.9951, 0.9587, 0.9817),
            "C&W": (0.9456, 0.9870, 0.9769, 0.8672, 0.9576),
            "BB": (0.9746, 0.9895, 0.9852, 0.9535, 0.9677),
        },
    ),
    table_3={**env1.FIGURES["mnist"].table_3, "BL3 as coded": (None, 66, 0.964, 463)},
    table_7={},
    figure_6=env1.FIGURES["mnist"].figure_6,
)
_CIFAR10 = Published(
    table_2=_rows(
        _DETECTORS,
        {
            "FGSM": (0.8808, 0.8994, 0.8998, 0.8746, 0.8617),
            "JSMA": (0.9774, 0.9890, 0.9873, 0.9566, 0.9682),
            "DeepFool": (0.9832, 0.9898, 0.9902, 0.9769, 0.9614),
            "C&W": (0.8842, 0.9176, 0.9175, 0.9004, 0.9063),
        },
    ),
    table_3={**env1.FIGURES["cifar10"].table_3, "BL3 as coded": (None, 67, 0.906, 376)},
    table_7={},
    figure_6=env1.FIGURES["cifar10"].figure_6,
)
_IMAGENET = Published(
    table_2=_rows(
        _PHOTOGRAPHS,
        {
            "FGSM": (0.973, 0.9763, 0.9782, 0.9625, 0.9617),
            "JSMA": (0.9962, 0.9805, 0.99, 0.9937, 0.9695),
            "DeepFool": (0.9958, 0.9793, 0.9892, 0.9891, 0.9924),
            "C&W": (0.9873, 0.9731, 0.9801, 0.9924, 0.9636),
        },
    ),
    table_3={
        "JSMA_d": (11, 6, 0.954, 67),
        "BIM_d": (2, 1, 0.952, 4),
        "BIM2_d": (2, 1, 0.967, 7),
        "DBA_d": (219, 143, 0.939, 451),
    },
    table_7={},
    figure_6=dict(zip(_ENSEMBLE, (0.9344, 0.9408, 0.9508, 0.9164, 0.9448), strict=True)),
)
FIGURES = {"mnist": _MNIST, "cifar10": _CIFAR10, "imagenet": _IMAGENET}


def of_attack(published, attack):
    """Find the paper's row of Table 2 for an attack, also under its name as coded.

    Args:
        published: The `baselines.comparison.Published`.
        attack: The name.

    Returns:
        A dict from the detector to the AUROC; empty if there is none.
    """
    return published.table_2.get(attack.removesuffix(AS_CODED), {})
