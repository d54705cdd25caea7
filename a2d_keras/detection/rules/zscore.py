"""Z-scores of attack costs: a scikit-learn outlier detector, and the rule that uses it."""

import math
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import special, stats
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from a2d_keras.detection.conformal import conformal_rank, rows_needed
from a2d_keras.detection.rules.base import CostRule
from a2d_keras.validation import require_rate

_NORMALITY_P = 0.05
_MIN_FOR_NORMALITY = 8
_FEW_ROWS = 20


class ZScoreDetector(OutlierMixin, BaseEstimator):
    """Flag inputs that cost less to attack than benign inputs do (Zhao et al. 2021, Section 4.2).

    Each column of benign costs is transformed towards a normal distribution, by a Box-Cox
    transform if the normality test of D'Agostino and Pearson rejects the column at 5 %. Then every
    cost has a z-score. The score of an input is its k-th largest z-score, and the input is flagged
    exactly if that is below the threshold `h`: it is benign if at least `k` attacks vote benign.

    By default `h` is chosen by conformal prediction: with m benign rows set aside, it is the
    ⌊α(m+1)⌋-th smallest of their scores. A new benign input is then flagged with a probability of
    at most α, for any distribution. A single column needs no rows set aside, since its ranks do
    not depend on the transform.

    Args:
        h: The threshold, a z-score. The paper uses -1.281552. By default it follows from
            `false_positive_rate`.
        false_positive_rate: The rate α of benign inputs that may be flagged, in (0, 1). Defaults
            to 0.05. Ignored if `h` is given.
        k: How many attacks must vote benign. Defaults to half of them, rounded up.
        random_state: Seed of the split into rows that fit the transforms and rows that set the
            threshold, as in scikit-learn. Defaults to 0.

    Attributes:
        lambdas_: Box-Cox parameter of each column, float64, (attacks,); 1 changes nothing.
        means_: Mean of each transformed column, float64, (attacks,).
        scales_: Standard deviation of each transformed column, float64, (attacks,).
        offset_: The threshold h; -inf flags nothing.
        k_: How many attacks must vote benign.
        thresholds_: The smallest cost at which each attack votes benign, float64, (attacks,).

    Examples:
        >>> costs = np.arange(20, 120)[:, None]
        >>> ZScoreDetector().fit(costs).predict([[10], [60]])
        array([-1,  1])
    """

    def __init__(
        self,
        *,
        h: float | None = None,
        false_positive_rate: float = 0.05,
        k: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.h = h
        self.false_positive_rate = false_positive_rate
        self.k = k
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "ZScoreDetector":
        """Learn from benign fingerprints.

        Args:
            X: Costs of benign inputs, finite numbers, (n, attacks).
            y: Ignored.

        Returns:
            This detector.

        Raises:
            ValueError: If `X` does not hold finite numbers, or a parameter is out of range.
        """
        require_rate(self.false_positive_rate)
        X = validate_data(self, X, dtype="float64")
        self.k_ = require_votes(self.k, X.shape[1])
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
        z: np.ndarray = (_box_cox(X, self.lambdas_) - self.means_) / self.scales_
        return z

    def score_samples(self, X: Any) -> np.ndarray:
        """Compute the k-th largest z-score of every input; higher is more normal.

        Args:
            X: Costs, (n, attacks).

        Returns:
            The scores, float64, (n,).
        """
        return np.sort(self.z_scores(X), axis=1)[:, -self.k_]

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute how far every input lies above the threshold. Below zero it is flagged.

        Args:
            X: Costs, (n, attacks).

        Returns:
            The scores minus `offset_`, float64, (n,).
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Return which inputs are adversarial.

        Args:
            X: Costs, (n, attacks).

        Returns:
            -1 for an adversarial input, 1 for a benign one; int64, (n,).
        """
        return np.where(self.score_samples(X) < self.offset_, -1, 1)

    def _split(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Set rows aside for the threshold, which must not come from the rows that were fitted."""
        if self.h is not None or X.shape[1] == 1 or len(X) == 1:
            return X, X
        order = _generator(self.random_state).permutation(len(X))
        half = len(X) // 2
        return X[order[:half]], X[order[half:]]

    def _threshold(self, calibrating: np.ndarray) -> float:
        rank = conformal_rank(len(calibrating), self.false_positive_rate)
        if rank == 0:
            warnings.warn(
                f"{len(calibrating)} benign inputs set aside are too few for a false positive "
                f"rate of {self.false_positive_rate}, so nothing will be flagged; "
                f"{rows_needed(self.false_positive_rate)} are enough. Received: {len(calibrating)}",
                stacklevel=3,
            )
            return -math.inf
        z = (_box_cox(calibrating, self.lambdas_) - self.means_) / self.scales_
        return float(np.sort(np.sort(z, axis=1)[:, -self.k_])[rank - 1])


@keras.saving.register_keras_serializable(package="a2d_keras")
class ZScore(CostRule):
    """Flag inputs by z-scores of their costs among benign costs (Zhao et al. 2021, Section 4.2).

    It is the rule of a `ZScoreDetector`, with a table of the z-scores of all possible costs.

    Args:
        h: The threshold, a z-score; see `ZScoreDetector`. Defaults to None.
        k: How many attacks must vote benign. Defaults to half of them, rounded up.

    Examples:
        >>> ZScore(k=2).get_config()["k"]
        2
    """

    word = "zscore"
    has_thresholds = True

    def __init__(self, h: float | None = None, *, k: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.h = h
        self.k = k

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, for Keras's serialization."""
        return {"name": self.name, "h": self.h, "k": self.k}

    def _prepare_for(self, attacks: int, costs: int) -> None:
        self._k = require_votes(self.k, attacks)
        self._table = self._state("z_scores", (attacks, costs), "float64")
        self._h = self._state("h", (), "float64")

    def require_enough(self, benign: int) -> None:
        """Refuse too few inputs to find the threshold; see `Rule`."""
        needed = rows_needed(self.false_positive_rate, len(self.columns))
        if self.h is None and benign < needed:
            raise ValueError(
                f"A false positive rate of {self.false_positive_rate} needs at least {needed} "
                f"benign inputs. Received: {benign}"
            )

    def _learn(self, benign: np.ndarray, adversarial: np.ndarray | None) -> None:
        """Learn from benign fingerprints."""
        self.require_enough(len(benign))
        detector = ZScoreDetector(h=self.h, false_positive_rate=self.false_positive_rate, k=self._k)
        detector.fit(benign)
        every_cost = np.arange(self._table.shape[1], dtype="float64")
        z_scores = detector.z_scores(np.stack([every_cost] * benign.shape[1], axis=1))
        self._table.assign(z_scores.T)
        self._h.assign(detector.offset_)
        says_benign = z_scores[1:] >= detector.offset_
        first = np.where(says_benign.any(axis=0), says_benign.argmax(axis=0) + 1, len(z_scores))
        self.budgets.assign(np.minimum(first, self.max_iterations))

    def undecided(self, costs: tf.Tensor) -> tf.Tensor:
        """Return which verdicts an attack that has not started could still change."""
        low, high = self._score_bounds(costs)
        return (low < self._h) & (high >= self._h)

    def call(self, costs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the verdicts. The score is the negated k-th largest z-score."""
        low, high = self._score_bounds(costs)
        flagged = high < self._h
        return flagged, tf.cast(-tf.where(flagged, high, low), tf.float32)

    def _score_bounds(self, costs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Bound the k-th largest z-score over all possible costs of attacks not started."""
        table = tf.convert_to_tensor(self._table)
        z_scores = tf.transpose(tf.gather(table, tf.transpose(costs), batch_dims=1))
        return tuple(
            tf.sort(tf.where(costs > 0, z_scores, unknown), axis=-1)[:, -self._k]
            for unknown in (-np.inf, np.inf)
        )


def require_votes(k: int | None, attacks: int) -> int:
    """Refuse a number of votes that the attacks cannot give.

    Args:
        k: How many attacks must vote benign; None for half of them, rounded up.
        attacks: The number of attacks.

    Returns:
        The number of votes.

    Raises:
        ValueError: If `k` is less than 1, or greater than the number of attacks.
    """
    votes = math.ceil(attacks / 2) if k is None else k
    if not 1 <= votes <= attacks:
        raise ValueError(
            f"`k` must lie between 1 and the number of attacks, {attacks}. Received: {votes}"
        )
    return votes


def _generator(random_state: int | np.random.RandomState | None) -> np.random.Generator:
    if isinstance(random_state, np.random.RandomState):
        random_state = int(random_state.randint(2**31))
    return np.random.default_rng(random_state)


def _box_cox_lambda(column: np.ndarray) -> float:
    """Fit a Box-Cox transform if it is defined and needed; 1 does not change the shape."""
    if len(column) < _MIN_FOR_NORMALITY or np.ptp(column) == 0 or column.min() <= 0:
        return 1.0
    if not stats.normaltest(column).pvalue < _NORMALITY_P:
        return 1.0
    transformed, fitted = stats.boxcox(column)
    # If most costs equal the largest, the power grows until its results overflow.
    with np.errstate(over="ignore"):
        return float(fitted) if np.isfinite(transformed.std()) else 1.0


def _box_cox(X: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
    positive = np.maximum(X, np.finfo("float64").tiny)
    return np.where(lambdas == 1, X - 1, special.boxcox(positive, lambdas))


def _inverse_box_cox(X: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
    return np.where(lambdas == 1, X + 1, special.inv_boxcox(X, lambdas))
