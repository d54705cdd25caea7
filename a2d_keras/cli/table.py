"""Tables that a command writes: one row per input, one batch at a time."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TextIO

import numpy as np

from a2d_keras.cli.readers import Reader, Row
from a2d_keras.cli.sources import listed
from a2d_keras.files import replace_atomically
from a2d_keras.progress import stage

BATCH_SIZE = 1024  # inputs in memory

Check = Callable[[np.ndarray], Any]
Rows = Iterable[Sequence[Any]]
Write = Callable[[Sequence[Any]], Any]


class Read(NamedTuple):
    """What became of all inputs of a source.

    Attributes:
        inputs: The number of inputs that could be read.
        errors: Why others could not, by their names.
        skipped: The names of the files that were skipped.
    """

    inputs: int
    errors: dict[str, str]
    skipped: tuple[str, ...]

    @property
    def clause(self) -> str:
        """What people have to know of it: sentences, or nothing."""
        said = ""
        if self.errors:
            files = f"{len(self.errors)} could not be read, see the column `error`"
            said += f" {files}: {listed(list(self.errors))}."
        if self.skipped:
            said += f" {len(self.skipped)} skipped, no PNG or JPEG: {listed(self.skipped)}."
        return said

    @property
    def summary(self) -> dict[str, Any]:
        """The same for programs."""
        rows = [{"input": name, "error": error} for name, error in self.errors.items()]
        return {"errors": rows, "skipped": list(self.skipped)}


def write_table(
    path: str, header: Sequence[str], reader: Reader, check: Check, rows: Callable[..., Rows]
) -> Read:
    """Write a file with a row for each input.

    Args:
        path: The file, replaced only once all rows are written: JSON lines if it ends in `.jsonl`,
            and otherwise CSV.
        header: The names of the columns; the first holds the names of the inputs. Another column
            follows, `error`.
        reader: The inputs.
        check: Raises `ValueError` for a batch of inputs that cannot be used.
        rows: Called with each batch, returns the other columns of its rows.

    Returns:
        What was `Read`.

    Raises:
        ValueError: If no input can be read, if one cannot be used, or if the file cannot be
            written.
    """
    with replace_atomically(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        found, done = read_all(reader, check), 0
        columns = [*header, "error"]
        writer = _json_writer if path.endswith(".jsonl") else _csv_writer
        write = writer(file, columns)
        with stage(f"writing {path}", found.inputs + len(found.errors)) as update:
            for chunk in reader.chunks(BATCH_SIZE):
                for line in _lines(chunk, rows, len(header) - 1):
                    write(line)
                done += len(chunk)
                update(done)
    return found


def read_all(reader: Reader, check: Check) -> Read:
    """Read, check and count all inputs, so that a bad file stops a long run before it begins.

    Args:
        reader: The inputs.
        check: Raises `ValueError` for a batch of inputs that cannot be used.

    Returns:
        What was `Read`.

    Raises:
        ValueError: If no input can be read, or one cannot be used.
    """
    count, errors = 0, dict[str, str]()
    with stage(f"reading {reader.source.named}", reader.total) as update:
        for chunk in reader.chunks(BATCH_SIZE):
            images = [row.image for row in chunk if row.image is not None]
            if images:
                check(np.stack(images))
            count += len(images)
            errors |= {row.name: row.error for row in chunk if row.image is None}
            update(count + len(errors))
    if count == 0:
        nothing = f"There must be at least one input. Received: none in {reader.source.named}"
        raise ValueError(next(iter(errors.values()), nothing))
    return Read(count, errors, reader.source.skipped)


def _lines(chunk: list[Row], rows: Callable[..., Rows], width: int) -> Iterator[list[Any]]:
    """Yield the rows of a table, in the order of the inputs."""
    images = [row.image for row in chunk if row.image is not None]
    found = iter(rows(np.stack(images)) if images else ())
    for row in chunk:
        values = [None] * width if row.image is None else next(found)
        yield [row.name, *values, row.error or None]


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
