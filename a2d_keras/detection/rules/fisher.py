"""`Fisher`: from the p-values of several statistics to one, with a promised false positive rate."""

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.detection.conformal import conformal_rank, rows_needed
from a2d_keras.detection.rules.base import Rule
from a2d_keras.validation import require_rate

_POINTS = 1024  # of each statistic's benign distribution
_MAX_CALIBRATION = 10_000
_TAIL_SHARE = 0.1  # of the benign inputs, whose mean excess is the scale of a tail
_MAX_SURPRISE = 500.0  # largest -log p of one statistic
_LEVELS = 1000  # of a score in each unit; a finer difference may be one of rounding
_ROUNDING = 1e-5  # relative, for large scores


@keras.saving.register_keras_serializable(package="a2d_keras")
class Fisher(Rule):
    """Flag inputs whose statistics are jointly improbable among benign inputs (Fisher 1932).

    Each statistic becomes a p-value, its rank among benign inputs; with two tails, it is twice the
    smaller one, at most 1. Beyond the most extreme benign value the tail goes on exponentially, so
    that ranks do not tie there. The score is the sum of -log p.

    The ranks come from the first half of the benign inputs, as does whatever the statistics learn
    and choose. The second half meets the finished score only, and turns it into the p-value of the
    input: (1 + the number of calibration scores at least as large) / (n + 1). Scores have three
    decimals, and count as equal if only the last one tells them apart. An input is flagged exactly
    if its p-value is at most the false positive rate α. So, averaged over calibrations, at most a
    share α of benign inputs is flagged, whatever the statistics are (conformal prediction).

    Examples:
        >>> Fisher().needs_adversarial
        False
    """

    word = "fisher"

    @property
    def count(self) -> int:
        """The number of benign inputs that calibrate the score."""
        return int(keras.ops.convert_to_numpy(self._count))

    @property
    def benign_quantiles(self) -> np.ndarray:
        """Evenly spaced quantiles of each statistic, from its smallest to its largest benign value.

        They are float32, (statistics, 1024), and come from the first half of the benign inputs.
        """
        return np.asarray(keras.ops.convert_to_numpy(self._points))

    @property
    def benign_scores(self) -> np.ndarray:
        """The scores of the benign inputs that calibrate, ascending; float32, (count,)."""
        return np.asarray(keras.ops.convert_to_numpy(self._calibration))[: self.count]

    @property
    def thresholds(self) -> np.ndarray:
        """The score above which inputs are flagged, float32, (1,). Infinite before `learn`."""
        if not self.count:
            return np.full(1, np.inf, "float32")
        rank = conformal_rank(self.count, self.false_positive_rate)
        return self.benign_scores[[-rank]]

    def promise(self, false_positive_rate: float) -> None:
        """Promise another false positive rate. Nothing is learned anew.

        Args:
            false_positive_rate: The rate α of benign inputs that may be flagged.

        Raises:
            ValueError: If α does not lie between 0 and 1, or is too small for the number of
                inputs that calibrated the score.
        """
        require_rate(false_positive_rate)
        if self.count:
            _require_enough(self.count, false_positive_rate)
        self.false_positive_rate = false_positive_rate
        self._rate.assign(false_positive_rate)

    def require_enough(self, benign: int) -> None:
        """Refuse too few inputs to calibrate the score, which half of them do; see `Rule`."""
        _require_enough(benign // 2, self.false_positive_rate)

    def learn(self, fitting: np.ndarray, calibrating: np.ndarray) -> None:
        """Learn from the statistics of benign inputs.

        Args:
            fitting: Those of the first half, float32, (n, statistics).
            calibrating: Those of the second half, which nothing was learned from, float32,
                (m, statistics). The first 10,000 count.

        Raises:
            ValueError: If there are too few for the false positive rate.
        """
        _require_enough(len(calibrating), self.false_positive_rate)
        ordered = np.sort(fitting.astype("float64"), axis=0)
        self._points.assign(np.quantile(ordered, np.linspace(0, 1, _POINTS), axis=0).T)
        self._scales.assign(_tail_scales(ordered))
        self._size.assign(len(fitting))
        scores = np.sort(self._score(tf.constant(calibrating[:_MAX_CALIBRATION], tf.float32)))
        self._calibration.assign(
            np.pad(scores, (0, _MAX_CALIBRATION - len(scores)), constant_values=np.inf)
        )
        self._count.assign(len(scores))
        self._rate.assign(self.false_positive_rate)

    def p_values(self, values: tf.Tensor) -> tf.Tensor:
        """Compute the p-value of each statistic alone. Graph code.

        Args:
            values: The statistics, float32, (n, statistics).

        Returns:
            The p-values among the benign inputs that were ranked, float32, (n, statistics).
        """
        return tf.exp(-self._surprises(values))

    def acceptance(self, surprise: float) -> np.ndarray:
        """Return the values of each statistic that are no more surprising than this.

        With k statistics and the threshold t of the score, an input whose statistics all lie
        within `acceptance(t / k)` is not flagged.

        Args:
            surprise: The largest -log p of one statistic.

        Returns:
            The smallest and the largest such value, float64, (statistics, 2), infinite on a side
            that is not suspicious.
        """
        points, scales = (
            np.asarray(keras.ops.convert_to_numpy(w), "float64")
            for w in (self._points, self._scales)
        )
        least = np.log(float(keras.ops.convert_to_numpy(self._size)) + 1)
        found = np.full((len(points), 2), [-np.inf, np.inf])
        for place, (column, ranks) in enumerate(zip(self.columns, points, strict=True)):
            limit = surprise + (np.log(2) if column.tail == "both" else 0.0)
            beyond = max(limit - least, 0.0) * scales[place]
            share = np.exp(-limit) if limit < least else 0.0
            low, high = np.interp([share, 1 - share], np.linspace(0, 1, _POINTS), ranks)
            if column.tail in ("low", "both"):
                found[place, 0] = low - beyond[0]
            if column.tail in ("high", "both"):
                found[place, 1] = high + beyond[1]
        return found

    def call(self, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the verdicts.

        Args:
            values: The statistics, float32, (n, statistics).

        Returns:
            Whether each input is adversarial, bool, (n,); its score, float32, (n,), higher is more
            adversarial; and its p-value, float32, (n,).
        """
        score = self._score(values)
        flagged, p_value = self.judge(score, tf.convert_to_tensor(self._rate))
        return flagged, score, p_value

    def judge(
        self, score: tf.Tensor, false_positive_rate: float | tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Judge scores at any false positive rate. Graph code.

        Args:
            score: Scores of inputs, float32, (n,).
            false_positive_rate: The rate α, a float64 tensor or a number.

        Returns:
            Whether each input is adversarial, bool, (n,), and its p-value, float32, (n,).
        """
        count = tf.convert_to_tensor(self._count)
        calibration = tf.convert_to_tensor(self._calibration)
        least = score * (1 - _ROUNDING) - 1.5 / _LEVELS
        below = tf.searchsorted(calibration, least, out_type=tf.int64)
        rank = 1 + count - tf.minimum(below, count)
        rows = tf.cast(count + 1, tf.float64)
        # As `conformal_rank`: in floats, 0.29 * 100 < 29.
        flagged = tf.cast(rank, tf.float64) <= tf.floor(false_positive_rate * rows + 1e-9)
        return flagged, tf.cast(tf.cast(rank, tf.float64) / rows, tf.float32)

    def _prepare(self) -> None:
        statistics = len(self.columns)
        self._points = self._state("points", (statistics, _POINTS), "float32")
        self._scales = self._state("scales", (statistics, 2), "float32")
        self._size = self._state("size", (), "int64")
        self._calibration = self._state("calibration", (_MAX_CALIBRATION,), "float32")
        self._count = self._state("count", (), "int64")
        self._rate = self._state("rate", (), "float64")

    def _score(self, values: tf.Tensor) -> tf.Tensor:
        score = tf.reduce_sum(self._surprises(values), axis=-1)
        return tf.round(score * _LEVELS) / _LEVELS

    def _surprises(self, values: tf.Tensor) -> tf.Tensor:
        """Compute -log p of each statistic; what is not finite is as improbable as can be."""
        low, high = self._low_and_high(tf.transpose(values))
        tails = [column.tail for column in self.columns]
        both = -tf.math.log(2.0) + tf.maximum(low, high)
        surprises = tf.where(
            tf.constant([[tail == "both"] for tail in tails]),
            tf.maximum(both, 0.0),
            tf.where(tf.constant([[tail == "low"] for tail in tails]), low, high),
        )
        surprises = tf.where(tf.math.is_finite(values), tf.transpose(surprises), np.inf)
        return tf.minimum(surprises, _MAX_SURPRISE)

    def _low_and_high(self, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Compute -log p in both tails, for values of shape (statistics, n)."""
        points, scales = tf.convert_to_tensor(self._points), tf.convert_to_tensor(self._scales)
        at_most = _rank(points, values, "right")
        least = -tf.math.log(tf.cast(self._size + 1, tf.float32))
        low = tf.maximum(tf.math.log(at_most), least)
        high = tf.maximum(tf.math.log(1 - _rank(points, values, "left")), least)
        below = tf.maximum(points[:, :1] - values, 0) / scales[:, :1]
        above = tf.maximum(values - points[:, -1:], 0) / scales[:, 1:]
        return below - low, above - high


def _rank(points: tf.Tensor, values: tf.Tensor, side: str) -> tf.Tensor:
    """Return the share of benign inputs below values (or not above, from the right)."""
    place = tf.searchsorted(points, values, side=side)
    before = tf.gather(points, tf.maximum(place - 1, 0), batch_dims=1)
    after = tf.gather(points, tf.minimum(place, _POINTS - 1), batch_dims=1)
    part = tf.math.divide_no_nan(values - before, after - before)
    rank = (tf.cast(place - 1, tf.float32) + part) / (_POINTS - 1)
    return tf.clip_by_value(rank, 0.0, 1.0)


def _tail_scales(ordered: np.ndarray) -> np.ndarray:
    """Estimate how fast each tail falls: its mean excess beyond a quantile; (statistics, 2)."""
    low, high = np.quantile(ordered, [_TAIL_SHARE, 1 - _TAIL_SHARE], axis=0)
    excess = np.stack(
        [
            np.maximum(low - ordered, 0).mean(axis=0),
            np.maximum(ordered - high, 0).mean(axis=0),
        ],
        axis=1,
    )
    size = np.maximum(np.abs(ordered).max(axis=0), 1e-12)[:, None]
    scales: np.ndarray = np.maximum(excess / _TAIL_SHARE, 1e-6 * size)  # equal values have none
    return scales


def _require_enough(calibrating: int, false_positive_rate: float) -> None:
    if not conformal_rank(calibrating, false_positive_rate):
        raise ValueError(
            f"A false positive rate of {false_positive_rate} needs at least "
            f"{2 * rows_needed(false_positive_rate)} benign inputs, half of them to calibrate. "
            f"Received: {calibrating} to calibrate"
        )
