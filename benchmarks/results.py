"""Write measurements to files: `results.json` and `table.md`."""

import json

from a2d_keras.files import replace_atomically
from benchmarks.rows import Measured, Row

_COLUMNS = ("what", "median", "spread", "target", "met", "note")


def read(out):
    """Read the measurements of earlier runs.

    Args:
        out: The folder of results, a `pathlib.Path`.

    Returns:
        A dict from the part to a dict: `about`, how it was measured, and `rows`, a list of dicts.
    """
    path = out / "results.json"
    return json.loads(path.read_text()) if path.exists() else {}


def record(row):
    """Turn a row into a dict that JSON can hold.

    Args:
        row: The `benchmarks.rows.Row`.

    Returns:
        A dict.
    """
    found = {} if row.measured is None else row.measured._asdict()
    blank = dict.fromkeys(Measured._fields)
    fields = {name: getattr(row, name) for name in Row._fields if name != "measured"}
    return {"what": row.what, **blank, **found, **fields, "met": row.met}


def write(out, parts):
    """Write everything.

    Args:
        out: The folder, which exists.
        parts: The measurements, as `read` returns them, in the order of the table.
    """
    with replace_atomically(out / "results.json") as path:
        path.write_text(json.dumps(parts, indent=1) + "\n")
    with replace_atomically(out / "table.md") as path:
        path.write_text(table(parts))


def table(parts):
    """Lay out all rows as a table in Markdown, and below it how they were measured.

    Args:
        parts: As for `write`.

    Returns:
        The text.
    """
    rows = [each for part in parts.values() for each in part["rows"]]
    judged = [row["met"] for row in rows if _target(row)]
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    lines += ["", f"{judged.count(True)} of {len(judged)} targets are met.", ""]
    about = {}
    for name, part in parts.items():
        how = {key: value for key, value in part["about"].items() if key != "seconds"}
        about.setdefault(json.dumps(how), []).append((name, part["about"]["seconds"]))
    lines += [_origin(json.loads(how), names) for how, names in about.items()]
    return "\n".join(lines) + "\n"


def sentence(row):
    """Describe a measurement in one line.

    Args:
        row: As returned by `record`.

    Returns:
        The line.
    """
    what, median, spread, target, met, note = _cells(row)
    found = " ".join(filter(None, [median, spread and f"({spread})"]))
    judged = target and f", target {target}: {met}"
    return f"{what}: {found}{judged}; {note}"


def _cells(row):
    if row["median"] is None:
        return [row["what"], "not measured", "", _target(row), "", row["note"]]
    spread = "" if row["low"] == row["high"] else f"{row['low']:.4g} to {row['high']:.4g}"
    met = {True: "met", False: "not met", None: ""}[row["met"]]
    return [row["what"], f"{row['median']:.4g}", spread, _target(row), met, row["note"]]


def _target(row):
    if row["at_most"] is not None:
        return f"≤ {row['at_most']:g}"
    return "" if row["at_least"] is None else f"≥ {row['at_least']:g}"


def _origin(how, names):
    seconds = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in names)
    versions = ", ".join(f"{name} {version}" for name, version in how["versions"].items())
    return (
        f"Measured by `{how['command']}` on {how['date']}, on {how['processor']}, "
        f"{how['processors']} processors, seeds {how['seeds']}, with {versions}: {seconds}."
    )
