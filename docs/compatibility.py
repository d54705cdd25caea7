"""Run the tests with every version, and write `compatibility.md`: `python -m docs.compatibility`.

It runs one tox environment after another, so tox must be installed and find every Python. The
output of each run is kept in `results/compatibility/`, and the page reports the runs kept there.
`--only` repeats some of them. An environment takes 2 GB and is removed after its run, unless it
existed before.
"""

import argparse
import collections
import datetime
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent
LOGS = ROOT / "results" / "compatibility"
PAGE = ROOT / "docs" / "compatibility.md"

_CELL = re.compile(r"py3\d+-tf\d+|tf\d+-keras\d+|test")
_VERSIONS = re.compile(r"^Python (\S+) TensorFlow (\S+) Keras (\S+) NumPy (\S+)$", re.MULTILINE)
_COMMAND = re.compile(r"^\S+: commands\[\d+\]> (pytest .*)$", re.MULTILINE)
_OUTCOME = re.compile(r"^=* ?(\d+ \w+(?:, \d+ \w+)*) in ([\d.]+)s\b.*$", re.MULTILINE)
_SKIPPED = re.compile(r"^SKIPPED \[(\d+)\] [^:]+:\d+: (.+)$", re.MULTILINE)
_HEADER = re.compile(r"^(date|processor): (.+)$", re.MULTILINE)
_NO_OUTCOME = ("warning", "warnings", "deselected")

_INTRODUCTION = """\
# Compatibility

Each row is a tox environment, and its name is the command: `.venv/bin/tox run -e py311-tf216`. It
installs the newest Keras that its TensorFlow allows, except `tf216-keras33`, which installs the
oldest Keras that is supported. `test` has the newest version of everything, and also tests the
baselines, the benchmarks, the examples and this documentation. Slow tests (`tox run -e slow`) are
not included.
"""

_CONCLUSION = """\
Weights work across Keras versions: those in `models/weights/` were written by Keras 3.15 and load
in 3.3. `.keras` files written by 3.15 do not load in 3.3.

This page is written by `python -m docs.compatibility`, which runs one environment after another.
"""


class Run(NamedTuple):
    """The output of one run.

    Attributes:
        about: Its date and processor, by name.
        versions: The versions of Python, TensorFlow, Keras and NumPy, or None if no tests ran.
        command: The pytest command, or None if no tests ran.
        outcome: How many tests passed, failed and so on, or None if pytest did not finish.
        seconds: How long the tests took, or None if pytest did not finish.
        skipped: How many tests were skipped, by the reason.
    """

    about: dict
    versions: tuple | None
    command: str | None
    outcome: str | None
    seconds: float | None
    skipped: dict

    @property
    def passed(self):
        """Whether all tests that ran passed."""
        return self.outcome is not None and not re.search("failed|error", self.outcome)


def main(argv=None):
    """Run the environments, and write the page.

    Args:
        argv: Command line words. Defaults to those of the process.

    Returns:
        The exit status: 0 if the tests passed in all environments that were run.
    """
    arguments = _parse(argv)
    every = cells()
    chosen = arguments.only or every
    if unknown := [cell for cell in chosen if cell not in every]:
        sys.exit(f"Environments must be among {', '.join(every)}. Received: {', '.join(unknown)}")
    for cell in chosen:
        print(shlex.join(_command(cell)), flush=True)
        if not arguments.dry_run:
            _run(cell)
    if arguments.dry_run:
        return 0
    runs = {cell: read(_log(cell).read_text()) for cell in every if _log(cell).exists()}
    PAGE.write_text(page(every, runs))
    print(f"Written to {PAGE}")
    return 0 if all(runs[cell].passed for cell in chosen) else 1


def cells():
    """List the environments that run tests, as in tox.ini.

    Returns:
        A list of str.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "tox", "list", "-q", "--no-desc"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in listed.stdout.split() if _CELL.fullmatch(name)]


def read(log):
    """Parse the output of a run.

    Args:
        log: The text.

    Returns:
        A `Run`.
    """
    versions, command = _VERSIONS.search(log), _COMMAND.findall(log)
    outcomes = _OUTCOME.findall(log)
    outcome, seconds = outcomes[-1] if outcomes else (None, None)
    skipped = collections.Counter()
    for count, reason in _SKIPPED.findall(log):
        skipped[reason] += int(count)
    return Run(
        dict(_HEADER.findall(log)),
        versions and versions.groups(),
        command[-1] if command else None,
        outcome and _without_warnings(outcome),
        seconds and float(seconds),
        dict(skipped),
    )


def page(cells, runs):
    """Write the page.

    Args:
        cells: The names of all environments.
        runs: A `Run` for the name of each environment that was run.

    Returns:
        Markdown.
    """
    parts = [_INTRODUCTION, _table(cells, runs), _how(runs), _skipped(runs), _CONCLUSION]
    return "\n".join(part for part in parts if part)


def _table(cells, runs):
    rows = ["| environment | Python | TensorFlow | Keras | NumPy | tests | seconds |"]
    rows += ["|---|---|---|---|---|---|---|"]
    for cell in cells:
        words = ["", "", "", "", "not run", ""]
        if cell in runs:
            run = runs[cell]
            seconds = "" if run.seconds is None else f"{run.seconds:.0f}"
            words = [*(run.versions or [""] * 4), run.outcome or "did not finish", seconds]
        rows.append(f"| `{cell}` |" + "".join(f" {word} |" if word else " |" for word in words))
    return "\n".join(rows) + "\n"


def _how(runs):
    """Describe when, where and by what commands the tests were run."""
    dates = sorted({run.about["date"] for run in runs.values()})
    processors = sorted({run.about["processor"] for run in runs.values()})
    lines = [f"Run on {', '.join(dates)}.", f"Processor: {', '.join(processors)}."]
    commands = collections.defaultdict(list)
    for cell, run in runs.items():
        if run.command:
            commands[run.command].append(f"`{cell}`")
    for command, cells in commands.items():
        lines.append(f"`{command}` in {', '.join(cells)}.")
    return "".join(f"- {line}\n" for line in lines) if runs else ""


def _skipped(runs):
    """List why tests were skipped, and in which environments if not in all."""
    reasons = sorted({reason for run in runs.values() for reason in run.skipped})
    if not reasons:
        return ""
    lines = []
    for reason in reasons:
        cells = [cell for cell, run in runs.items() if reason in run.skipped]
        count = max(runs[cell].skipped[reason] for cell in cells)
        where = "" if len(cells) == len(runs) else f" ({', '.join(f'`{cell}`' for cell in cells)})"
        lines.append(f"- {count}: {reason}{where}\n")
    return "Tests that were skipped, and why:\n\n" + "".join(lines)


def _without_warnings(outcome):
    counts = [count for count in outcome.split(", ") if count.split()[1] not in _NO_OUTCOME]
    return ", ".join(counts)


def _run(cell):
    """Run an environment, and keep its output."""
    LOGS.mkdir(parents=True, exist_ok=True)
    folder = ROOT / ".tox" / cell
    keep = folder.exists()
    with _log(cell).open("w") as log:
        log.write(f"date: {datetime.date.today()}\nprocessor: {_processor()}\n")
        log.flush()
        subprocess.run(_command(cell), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=False)
    print(
        f"  {read(_log(cell).read_text()).outcome or f'did not finish: {_log(cell)}'}", flush=True
    )
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)


def _command(cell):
    return [sys.executable, "-m", "tox", "run", "--colored", "no", "-e", cell]


def _log(cell):
    return LOGS / f"{cell}.log"


def _processor():
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def _parse(argv):
    parser = argparse.ArgumentParser(prog="python -m docs.compatibility", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="ENVIRONMENT", help="run only these")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be run")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
