"""Where a `DetectionLog` writes: JSON lines, TensorBoard, Prometheus, or a function."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import tensorflow as tf

Record = dict[str, Any]
Write = Callable[[Record], Any]


def writing_to(place: Any) -> Write:
    """Return what writes the record of a batch to a place.

    Args:
        place: A path of a file for JSON lines, a `tf.summary.SummaryWriter`, a
            `prometheus_client.CollectorRegistry`, or a function of the record.

    Returns:
        A function that takes a record, as `DetectionLog` describes it.

    Raises:
        ValueError: If it is none of these, or the registry has a log already.
        OSError: If the file cannot be written.
    """
    if isinstance(place, (str, os.PathLike)):
        return _to_file(place)
    if isinstance(place, tf.summary.SummaryWriter):
        return _to_tensorboard(place)
    prometheus = sys.modules.get("prometheus_client")  # optional, and a registry has imported it
    if prometheus is not None and isinstance(place, prometheus.CollectorRegistry):
        return _to_prometheus(place, prometheus)
    if not callable(place):
        raise ValueError(
            "A log is written to a path, a `tf.summary.SummaryWriter`, a "
            f"`prometheus_client.CollectorRegistry` or a function. Received: {place!r}"
        )
    function: Write = place
    return function


def _to_file(path: str | os.PathLike[str]) -> Write:
    open(path, "a").close()  # refuse now a path that cannot be written

    def write(record: Record) -> None:
        with open(path, "a", encoding="utf-8") as file:  # closed, so the line is written
            file.write(json.dumps(record) + "\n")

    return write


def _to_tensorboard(writer: tf.summary.SummaryWriter) -> Write:
    total = {"inputs": 0, "alarms": 0}

    def write(record: Record) -> None:
        for name in total:
            total[name] += record[name]
        with writer.as_default(step=total["inputs"]):
            tf.summary.scalar("flagged_share", record["flagged"] / record["inputs"])
            tf.summary.scalar("window_flagged_share", _window_share(record))
            tf.summary.scalar("alarms", total["alarms"])
        writer.flush()

    return write


def _to_prometheus(registry: Any, prometheus: Any) -> Write:
    """Count under the names of `examples/serving`, which also has the p-value of each input."""
    counters = {
        "inputs": prometheus.Counter("a2d_inputs", "Inputs judged", registry=registry),
        "flagged": prometheus.Counter(
            "a2d_flagged", "Inputs flagged as adversarial", registry=registry
        ),
        "alarms": prometheus.Counter("a2d_alarms", "Alarms raised", registry=registry),
    }
    share = prometheus.Gauge(
        "a2d_window_flagged_share", "Share of the last inputs that is flagged", registry=registry
    )
    median = prometheus.Gauge(
        "a2d_median", "Median of a column in the last batch", ["column"], registry=registry
    )

    def write(record: Record) -> None:
        for name, counter in counters.items():
            counter.inc(record[name])
        share.set(_window_share(record))
        for column, value in record["median"].items():
            median.labels(column).set(float("nan") if value is None else value)

    return write


def _window_share(record: Record) -> float:
    return float(record["window_flagged"] / record["window_inputs"])
