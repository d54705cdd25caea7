"""Detectors on the costs of several defences together (Zhao et al. 2021, Section 4)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from a2d_keras import ZScoreDetector

H = -1.281552  # of the paper: flags 10 % of a normal distribution
_ROWS_PER_NEIGHBOR = 20  # the paper takes K = 100 of 2,000


class Ensemble(NamedTuple):
    """A detector that is fitted on training images, and scores the test images.

    Attributes:
        fit: A function that takes the steps on benign and on adversarial inputs, int64,
            (n, defences) each, and returns a function from steps to scores. Higher scores are
            more adversarial.
        supervised: Whether it learns from adversarial inputs.
    """

    fit: Callable
    supervised: bool


def nearest_neighbors(benign, adversarial, classifier=None):
    """Fit a detector that learns from both kinds. With several defences it is the paper's END.

    Args:
        benign: Steps on benign inputs, int64, (n, defences).
        adversarial: Steps on adversarial inputs, like `benign`.
        classifier: A classifier of scikit-learn. Defaults to K-NN with K a twentieth of the number
            of examples, such as the paper's 100 of 2,000.

    Returns:
        The fitted classifier. Its class True is adversarial.

    Examples:
        >>> steps = np.arange(100)[:, None]
        >>> flags(nearest_neighbors(steps + 100, steps), [[10], [190]])
        array([ True, False])
    """
    rows = np.concatenate([benign, adversarial])
    if classifier is None:
        classifier = KNeighborsClassifier(max(1, len(rows) // _ROWS_PER_NEIGHBOR))
    return classifier.fit(rows, np.arange(len(rows)) >= len(benign))


def z_score(benign, *, h=H, k=2):
    """Fit a detector that learns from benign inputs only.

    Args:
        benign: Steps on benign inputs, int64, (n, defences).
        h: The threshold. Defaults to the paper's -1.281552.
        k: How many defences must vote benign, or 1 if there is only one. Defaults to 2.

    Returns:
        A fitted `a2d_keras.ZScoreDetector`.

    Examples:
        >>> flags(z_score(np.arange(20, 120)[:, None]), [[10], [60]])
        array([ True, False])
    """
    return ZScoreDetector(h=h, k=min(k, np.shape(benign)[1])).fit(benign)


def flags(detector, steps):
    """Return which inputs a detector flags.

    Args:
        detector: A detector from `nearest_neighbors` or `z_score`.
        steps: Steps, int64, (n, defences).

    Returns:
        Whether each input is flagged, bool, (n,).
    """
    predicted = detector.predict(steps)
    return predicted if predicted.dtype == bool else predicted < 0  # outlier detectors return -1


def adversarial_steps(split, *, fooled_only=False, attacks=None):
    """Stack the steps on adversarial inputs.

    Args:
        split: The `baselines.comparison.measurements.Split`.
        fooled_only: Whether to leave out the examples that do not fool. Defaults to False.
        attacks: Names of attacks. Defaults to all.

    Returns:
        The steps, int64, (n, defences).
    """
    chosen = []
    for attack in attacks or split.fooled:
        steps = split.steps[attack].to_numpy()
        chosen.append(steps[split.fooled[attack]] if fooled_only else steps)
    return np.concatenate(chosen)


def _fit_end(benign, adversarial):
    end = nearest_neighbors(benign, adversarial)
    return lambda steps: end.predict_proba(steps)[:, 1]


def _fit_z_score(benign, _):
    ensemble = z_score(benign)
    return lambda steps: -ensemble.score_samples(steps)


ENSEMBLES = {
    "END": Ensemble(_fit_end, supervised=True),
    "Z-score": Ensemble(_fit_z_score, supervised=False),
}
