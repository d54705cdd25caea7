"""The paper's figures (Zhao et al. 2021), to be printed beside ours."""

from typing import NamedTuple


class Figures(NamedTuple):
    """What the paper reports of one data set.

    Attributes:
        table_2: AUROC, a dict from the attack to a dict from the detector.
        table_3: A dict from the defence to its threshold, mean adversarial steps, adversarial
            accuracy and mean benign steps.
        table_7: A dict from the parameter and its value to benign and adversarial accuracy.
        figure_6: The mean accuracy of K-NN detectors, a dict from the defence.
    """

    table_2: dict
    table_3: dict
    table_7: dict
    figure_6: dict


_DETECTORS = ("JSMA_d", "BIM_d", "BIM2_d", "DBA_d", "BL1", "BL2")
_ENSEMBLE = ("JSMA_d", "BIM_d", "BIM2_d", "DBA_d", "ensemble")


def _row(names, *values):
    return dict(zip(names, values, strict=True))


NONE = Figures({}, {}, {}, {})
_MNIST = Figures(
    table_2={
        "FGSM": _row(_DETECTORS, 0.9653, 0.9922, 0.9883, 0.9504, 0.8267, 0.9161),
        "BIM-a": _row(_DETECTORS, 0.9986, 0.9996, 0.9995, 0.9625, 0.9786, 0.9695),
        "JSMA": _row(_DETECTORS, 0.9923, 0.9922, 0.9914, 0.9497, 0.9855, 0.9656),
        "C&W": _row(_DETECTORS, 1.0, 1.0, 1.0, 0.9672, 0.9794, 0.9502),
    },
    table_3={
        "JSMA_d": (53, 20, 0.954, 240),
        "BIM_d": (122, 16, 0.998, 148),
        "BIM2_d": (189, 38, 0.996, 352),
        "DBA_d": (195, 92, 0.882, 319),
    },
    table_7={
        ("K", "5"): (0.988, 0.9373),
        ("K", "10"): (0.986, 0.9465),
        ("K", "25"): (0.986, 0.9545),
        ("K", "50"): (0.985, 0.962),
        ("K", "100"): (0.979, 0.9685),
        ("K", "150"): (0.977, 0.9715),
        ("K", "200"): (0.976, 0.9753),
        ("ratio", "1:0.5"): (0.981, 0.9643),
        ("ratio", "1:0.8"): (0.979, 0.9658),
        ("ratio", "1:1"): (0.979, 0.9685),
        ("ratio", "1:1.2"): (0.977, 0.9705),
        ("ratio", "1:2"): (0.971, 0.9768),
        ("z", "-1"): (0.875, 0.9918),
        ("z", "-1.281552"): (0.926, 0.987),
        ("z", "-1.644854"): (0.963, 0.9763),
        ("z", "-1.959964"): (0.979, 0.9635),
        ("z", "-2"): (0.98, 0.962),
        ("k", "1"): (0.972, 0.8835),
        ("k", "2"): (0.926, 0.987),
        ("k", "3"): (0.883, 0.994),
        ("k", "4"): (0.775, 0.9963),
        ("classifier", "K-NN"): (0.979, 0.9685),
        ("classifier", "SVM"): (0.975, 0.9643),
        ("classifier", "decision tree"): (0.994, 0.9078),
        ("classifier", "random forest"): (0.994, 0.9068),
    },
    figure_6=_row(_ENSEMBLE, 0.9084, 0.9809, 0.9617, 0.8742, 0.9936),
)
_CIFAR10 = Figures(
    table_2={
        "FGSM": _row(_DETECTORS, 0.6537, 0.7120, 0.6474, 0.6977, 0.7015, 0.7891),
        "BIM-a": _row(_DETECTORS, 0.8558, 0.8636, 0.8610, 0.8276, 0.8255, 0.8496),
        "JSMA": _row(_DETECTORS, 0.9459, 0.9550, 0.9526, 0.9452, 0.8421, 0.9475),
        "C&W": _row(_DETECTORS, 0.9905, 0.9984, 0.9988, 0.9833, 0.9217, 0.9799),
    },
    table_3={
        "JSMA_d": (13, 6, 0.926, 33),
        "BIM_d": (35, 14, 0.930, 65),
        "BIM2_d": (71, 29, 0.927, 129),
        "DBA_d": (409, 252, 0.877, 744),
    },
    table_7={},
    figure_6=_row(_ENSEMBLE, 0.8631, 0.8790, 0.8755, 0.8523, 0.9231),
)
FIGURES = {"mnist": _MNIST, "cifar10": _CIFAR10}
