"""Fingerprints to verdicts. These detectors see numbers, never models."""

import math
import warnings
from typing import Any

import numpy as np
from scipy import special, stats
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from a2d_keras.validation import require_rate

_NORMALITY_P = 0.05
_FEWEST_FOR_NORMALITY = 8
_FEW_ROWS = 20


class ZScoreDetector(OutlierMixin, BaseEstimator):
    """Flag inputs that cost less to attack than benign inputs do (Zhao et al. 2021, Section 4.2).

    Each column of benign costs is brought near to a normal distribution (by a Box-Cox transform,
    where the normality test of D'Agostino and Pearson rejects it at 5 %), and gives every cost a
    z-score. The score of an input is its k-th largest z-score, and the input is flagged exactly
    when that is below the threshold `h`: it is benign if at least `k` attacks say benign.

    By default `h` is chosen by conformal prediction: with m benign rows set aside, the
    ⌊α(m+1)⌋-th smallest of their scores. A fresh benign input is then flagged with a probability
    of at most α, whatever the distribution. One column alone needs nothing set aside, as its
    ranks do not depend on the transform.

    Args:
        h: The threshold, a z-score; the paper has -1.281552. By default it follows from
            `false_positive_rate`.
        false_positive_rate: The rate α of benign inputs that may be flagged, in (0, 1). Defaults
            to 0.05. Not used where `h` is given.
        k: How many attacks must say benign. Defaults to half of them, rounded up.
        seed: Seed of the split into rows that fit the transforms and rows that set the
            threshold. Defaults to 0.

    Attributes:
        lambdas_: Box-Cox parameter of each column, float64, (attacks,); 1 changes nothing.
        means_: Mean of each transformed column, float64, (attacks,).
        scales_: Standard deviation of each transformed column, float64, (attacks,).
        offset_: The threshold h; -inf flags nothing.
        k_: How many attacks must say benign.
        thresholds_: The cost at which each attack begins to say benign, float64, (attacks,).

    Examples:
        >>> costs = np.arange(20, 120)[:, None]
        >>> ZScoreDetector().fit(costs).predict([[10], [60]])
        array([-1,  1])
    """

    def __init__(
        self,
        h: float | None = None,
        false_positive_rate: float = 0.05,
        k: int | None = None,
        seed: int = 0,
    ) -> None:
        self.h = h
        self.false_positive_rate = false_positive_rate
        self.k = k
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> "ZScoreDetector":
        """Learn from benign fingerprints.

        Args:
            X: Costs of benign inputs, finite numbers, (n, attacks).
            y: Ignored.

        Returns:
            This detector.

        Raises:
            ValueError: If `X` holds no finite numbers, or a parameter is out of its range.
        """
        require_rate(self.false_positive_rate)
        X = validate_data(self, X, dtype="float64")
        self.k_ = self._checked_k(X.shape[1])
        if len(X) < _FEW_ROWS:
            warnings.warn(
                f"A detector learns little from fewer than {_FEW_ROWS} benign inputs. "
                f"Received: {len(X)}",
                stacklevel=2,
            )
        fitting, calibrating = self._split(X)
        self.lambdas_ = np.array([_box_cox_lambda(column) for column in fitting.T])
        transformed = _box_cox(fitting, self.lambdas_)
        self.means_ = transformed.mean(axis=0)
        deviations = transformed.std(axis=0)
        self.scales_ = np.where(deviations > 0, deviations, 1.0)  # constant costs have no scale
        self.offset_ = self._threshold(calibrating) if self.h is None else float(self.h)
        back = self.means_ + self.offset_ * self.scales_
        self.thresholds_ = _inverse_box_cox(back, self.lambdas_)
        return self

    def z_scores(self, X: Any) -> np.ndarray:
        """Compute the z-score of every cost.

        Args:
            X: Costs, (n, attacks).

        Returns:
            The z-scores, float64, (n, attacks).
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype="float64", reset=False)
        return (_box_cox(X, self.lambdas_) - self.means_) / self.scales_

    def score_samples(self, X: Any) -> np.ndarray:
        """Compute the k-th largest z-score of every input; higher is more normal.

        Args:
            X: Costs, (n, attacks).

        Returns:
            The scores, float64, (n,).
        """
        return np.sort(self.z_scores(X), axis=1)[:, -self.k_]

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute how far every input lies above the threshold; below zero it is flagged.

        Args:
            X: Costs, (n, attacks).

        Returns:
            The scores less `offset_`, float64, (n,).
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Tell which inputs are adversarial.

        Args:
            X: Costs, (n, attacks).

        Returns:
            -1 for an adversarial input, 1 for a benign one; int64, (n,).
        """
        return np.where(self.score_samples(X) < self.offset_, -1, 1)

    def _checked_k(self, columns: int) -> int:
        k = math.ceil(columns / 2) if self.k is None else self.k
        if not 1 <= k <= columns:
            raise ValueError(
                f"`k` must lie between 1 and the number of attacks, {columns}. Received: {k}"
            )
        return k

    def _split(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Set rows aside for the threshold, where it must not be set by those that were fitted."""
        if self.h is not None or X.shape[1] == 1 or len(X) == 1:
            return X, X
        order = np.random.default_rng(self.seed).permutation(len(X))
        half = len(X) // 2
        return X[order[:half]], X[order[half:]]

    def _threshold(self, calibrating: np.ndarray) -> float:
        rank = conformal_rank(len(calibrating), self.false_positive_rate)
        if rank == 0:
            warnings.warn(
                f"{len(calibrating)} benign inputs set aside are too few for a false positive "
                f"rate of {self.false_positive_rate}, so nothing will be flagged; "
                f"{rows_needed(self.false_positive_rate)} would do. Received: {len(calibrating)}",
                stacklevel=3,
            )
            return -math.inf
        z = (_box_cox(calibrating, self.lambdas_) - self.means_) / self.scales_
        return float(np.sort(np.sort(z, axis=1)[:, -self.k_])[rank - 1])


def rows_needed(false_positive_rate: float, attacks: int = 1) -> int:
    """Count the benign inputs below which a detector could flag nothing.

    Args:
        false_positive_rate: The rate α of benign inputs that may be flagged.
        attacks: The number of attacks; with several, half of the inputs fit their transforms.

    Returns:
        The smallest number of inputs that sets a threshold.
    """
    rows = max(1, math.ceil(1 / false_positive_rate - 1 - 1e-9))
    return rows if attacks == 1 else 2 * rows - 1


def conformal_rank(rows: int, false_positive_rate: float) -> int:
    """Choose the order statistic that is the conformal threshold.

    Args:
        rows: The number m of benign scores.
        false_positive_rate: The rate α of benign inputs that may be flagged.

    Returns:
        ⌊α(m+1)⌋, the rank from below, from 1; 0 where m is too small.

    """
    return math.floor(false_positive_rate * (rows + 1) + 1e-9)  # 0.29 * 100 is below 29


def _box_cox_lambda(column: np.ndarray) -> float:
    """Fit a Box-Cox transform where it is defined and needed; 1 leaves the shape alone."""
    if len(column) < _FEWEST_FOR_NORMALITY or np.ptp(column) == 0 or column.min() <= 0:
        return 1.0
    if not stats.normaltest(column).pvalue < _NORMALITY_P:
        return 1.0
    transformed, fitted = stats.boxcox(column)
    # Where most costs are the largest, the power grows until nothing can hold what it makes.
    with np.errstate(over="ignore"):
        return float(fitted) if np.isfinite(transformed.std()) else 1.0


def _box_cox(X: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
    positive = np.maximum(X, np.finfo("float64").tiny)
    return np.where(lambdas == 1, X - 1, special.boxcox(positive, lambdas))


def _inverse_box_cox(X: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
    return np.where(lambdas == 1, X + 1, special.inv_boxcox(X, lambdas))
