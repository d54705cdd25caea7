"""Tables that a command writes: one row per input, one batch at a time."""

import csv
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

import keras
import numpy as np

from a2d_keras.cli.readers import Reader
from a2d_keras.files import replace_atomically

BATCH_SIZE = 1024  # inputs in memory

Check = Callable[[np.ndarray], Any]
Rows = Iterable[Sequence[Any]]
Write = Callable[[Sequence[Any]], Any]


def write_table(
    path: str, header: Sequence[str], reader: Reader, check: Check, rows: Callable[..., Rows]
) -> int:
    """Write a file with a row for each input.

    Args:
        path: The file, replaced only once all rows are written: JSON lines if it ends in `.jsonl`,
            and otherwise CSV.
        header: The names of the columns; the first holds the names of the inputs.
        reader: The inputs.
        check: Raises `ValueError` for a batch of inputs that cannot be used.
        rows: Called with each batch, returns the other columns of its rows.

    Returns:
        The number of inputs.

    Raises:
        ValueError: If an input cannot be read or used, if there are no inputs, or if the file
            cannot be written.
    """
    with replace_atomically(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        count, done = count_checked(reader, check), 0
        bar = keras.utils.Progbar(count, verbose=verbosity(), unit_name="input")
        write = _json_writer(file, header) if path.endswith(".jsonl") else _csv_writer(file, header)
        for names, images in reader.batches(BATCH_SIZE):
            for name, row in zip(names, rows(images), strict=True):
                write([name, *row])
            done += len(names)
            bar.update(done)
    return count


def _csv_writer(file: TextIO, header: Sequence[str]) -> Write:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    return writer.writerow


def _json_writer(file: TextIO, header: Sequence[str]) -> Write:
    def write(row: Sequence[Any]) -> None:
        plain = [_to_json(value) for value in row]
        file.write(json.dumps(dict(zip(header, plain, strict=True))) + "\n")

    return write


def _to_json(value: Any) -> Any:
    """Turn a number into one of JSON, which lacks NaN: null. Floats stay as short as in CSV."""
    if isinstance(value, np.floating):
        return float(str(value)) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def count_checked(reader: Reader, check: Check) -> int:
    """Read, check and count all inputs, so that a bad file stops a long run before it begins.

    Args:
        reader: The inputs.
        check: Raises `ValueError` for a batch of inputs that cannot be used.

    Returns:
        The number of inputs.

    Raises:
        ValueError: If an input cannot be read or used, or if there are no inputs.
    """
    count = 0
    for names, images in reader.batches(BATCH_SIZE):
        check(images)
        count += len(names)
    if count == 0:
        raise ValueError(f"There must be at least one input. Received: none in {reader.source}")
    return count


def verbosity() -> int:
    """Return whether to show progress: on a terminal only, to keep it out of log files.

    Returns:
        1 or 0, like Keras's `verbose`.
    """
    return int(sys.stderr.isatty())
