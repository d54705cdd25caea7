"""The callback that counts, logs and watches."""

import collections
import datetime
import functools
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from scipy import stats

from a2d_keras.callbacks.detection_log.places import writing_to
from a2d_keras.detection.guarded_model import GuardedModel
from a2d_keras.validation import require_rate, require_whole
from a2d_keras.warn import warn

_BACK_TO_NORMAL = 0.05  # the p-value that ends an excursion, so that alarms do not flutter


class DetectionLog(keras.callbacks.Callback):
    """Count and log the inputs that a guarded model flags, and raise an alarm at too many.

    Use it as `guarded.predict(x, callbacks=[log])`. One log may serve many calls from many
    threads: its window slides over all inputs in the order of their verdicts, however they are
    batched.

    An exact one-sided binomial test on the last `window` inputs raises an alarm: benign inputs,
    flagged at the calibrated rate, would reach the number of flagged inputs with a probability
    below `significance`. The next alarm can come only after that probability has returned to
    0.05 or more. With the defaults, 10 million benign inputs flagged at exactly the calibrated
    rate raised no alarm.

    Args:
        to: Where every batch is written, one place or a list of them:

            - a path: a file to which a line of JSON is appended, the record below;
            - a `tf.summary.SummaryWriter`, for TensorBoard, which must be installed; its step is
              the number of inputs so far;
            - a `prometheus_client.CollectorRegistry` (extra `prometheus`) without another log, such
              as `prometheus_client.REGISTRY`: counters `a2d_inputs`, `a2d_flagged` and
              `a2d_alarms`, and gauges `a2d_window_flagged_share` and `a2d_median`;
            - a function of the record.

            The record is a dict: `time`; `batch`; its `inputs`, `flagged` and `alarms`; the
            window's `window_inputs`, `window_flagged` and `p_value`; and under `median` the
            median of every number that the model gives for an input: its score, its p-value if
            there is one, and each statistic or cost, or None if none is finite. Benign inputs
            have a median p-value near 0.5. Defaults to no place.
        on_alarm: Called at an alarm with a dict: `time`, and the window's `window_inputs`,
            `window_flagged` and `p_value`. If it raises, there is a warning. Defaults to None.
        window: The number of last inputs that the test counts. Defaults to 1000.
        significance: The probability below which chance does not explain the flagged inputs, at
            most 0.05. Defaults to 1e-6.
        false_positive_rate: The rate at which benign inputs are flagged. Defaults to the
            detector's, as it is then. The rule `"knn"` does not calibrate it: give the rate that
            you measured.

    Attributes:
        inputs: Inputs seen.
        flagged: Inputs flagged.
        alarms: Alarms raised.

    Raises:
        ValueError: If an argument is invalid, the registry has a log already, or the model is not
            a `GuardedModel`.
        OSError: If the file cannot be written.

    Examples:
        >>> from a2d_keras import guard
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> x = np.random.default_rng(0).uniform(size=(100, 4))
        >>> guarded = guard(model)
        >>> guarded.adapt(x, verbose=0)
        >>> log = DetectionLog(on_alarm=print)
        >>> verdicts = guarded.predict(x, verbose=0, callbacks=[log])
        >>> log.inputs, log.flagged <= 5, log.alarms
        (100, True, 0)
    """

    def __init__(
        self,
        to: Any = (),
        *,
        on_alarm: Callable[[dict[str, Any]], Any] | None = None,
        window: int = 1000,
        significance: float = 1e-6,
        false_positive_rate: float | None = None,
    ) -> None:
        super().__init__()
        if not (on_alarm is None or callable(on_alarm)):
            raise ValueError(f"`on_alarm` must be callable. Received: {on_alarm!r}")
        if not 0 < significance <= _BACK_TO_NORMAL:
            raise ValueError(
                f"`significance` must lie between 0 and {_BACK_TO_NORMAL}. Received: {significance}"
            )
        require_whole("window", window)
        if false_positive_rate is not None:
            require_rate(false_positive_rate)
        one = isinstance(to, (str, os.PathLike)) or not isinstance(to, Iterable)
        self._writes = [writing_to(place) for place in ([to] if one else to)]
        self.on_alarm = on_alarm
        self.window = window
        self.significance = significance
        self.false_positive_rate = false_positive_rate
        self.inputs = self.flagged = self.alarms = 0
        self._recent: collections.deque[bool] = collections.deque(maxlen=window)
        self._alarmed = False
        self._lock = threading.Lock()

    def set_model(self, model: keras.Model) -> None:
        """Refuse a model that is not guarded."""
        if not isinstance(model, GuardedModel):
            raise ValueError(
                "A DetectionLog is for `predict` of a guarded model. "
                f"Received: {type(model).__name__} {model.name!r}"
            )
        super().set_model(model)

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count and log the flagged inputs, and raise the alarms."""
        outputs = logs.get("outputs", logs)  # newer versions of Keras unpack
        columns = self.model.detector.columns(outputs)  # and turn a single output into a number
        flags = columns["is_adversarial"]
        if not len(flags):
            return
        with self._lock:
            alarms = [alarm for flag in flags if (alarm := self._slide(bool(flag)))]
            self.inputs += len(flags)
            self.flagged += int(flags.sum())
            self.alarms += len(alarms)
            self._log(int(batch), columns, len(alarms))
        if self.on_alarm is not None:
            for alarm in alarms:  # outside the lock, since it may call `predict` with this log
                self._call(self.on_alarm, alarm)

    def _call(self, on_alarm: Callable[[dict[str, Any]], Any], alarm: dict[str, Any]) -> None:
        """Call the user's function. If it fails, the verdicts must not be lost."""
        try:
            on_alarm(alarm)
        except Exception as error:
            warn(
                "`on_alarm` failed, and the verdicts are returned all the same. "
                f"Received: {type(error).__name__}: {error}, for {alarm}"
            )

    def _slide(self, flag: bool) -> dict[str, Any] | None:
        """Move the window by one input, and return an alarm if an excursion begins."""
        self._recent.append(flag)
        state = self._state()
        begins = state["p_value"] < self.significance and not self._alarmed
        over = state["p_value"] >= _BACK_TO_NORMAL
        self._alarmed = begins or (self._alarmed and not over)
        return {"time": _now(), **state} if begins else None

    def _state(self) -> dict[str, Any]:
        rate = self.false_positive_rate or self.model.detector.false_positive_rate
        inputs, flagged = len(self._recent), sum(self._recent)
        return {
            "window_inputs": inputs,
            "window_flagged": flagged,
            "p_value": _p_value(flagged, inputs, rate),
        }

    def _log(self, batch: int, columns: dict[str, np.ndarray], alarms: int) -> None:
        flags = columns["is_adversarial"]
        record = {
            "time": _now(),
            "batch": batch,
            "inputs": len(flags),
            "flagged": int(flags.sum()),
            **self._state(),
            "alarms": alarms,
            "median": _medians(columns),
        }
        for write in self._writes:
            write(record)


@functools.lru_cache(maxsize=10_000)
def _p_value(flagged: int, inputs: int, rate: float) -> float:
    """Compute the probability that at least this many of these benign inputs are flagged."""
    return float(stats.binomtest(flagged, inputs, rate, alternative="greater").pvalue)


def _medians(columns: dict[str, np.ndarray]) -> dict[str, float | None]:
    """Compute the median of each column of numbers. JSON lacks NaN, so None if none is finite."""
    medians = {}
    for name, values in columns.items():
        if values.dtype.kind != "b":
            finite = values[np.isfinite(values)]
            medians[name] = float(np.median(finite)) if len(finite) else None
    return medians


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
