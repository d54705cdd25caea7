"""What verdicts on many images cost: core-seconds of one, and what follows for more.

Core-seconds are processor time, of all threads of the process. So other work on the machine hardly
changes them. They are multiplied, since images are judged independently.
"""

import time

import numpy as np

import a2d_keras as a2d
from a2d_keras.files import replace_atomically
from benchmarks.rows import Row, spread
from benchmarks.timing import warm_up

_COUNTS = {"a million": 10**6, "a billion": 10**9}
_CORES = (1, 100)
_HOUR, _DAY, _YEAR = 3600, 86_400, 365 * 86_400


def rows(bench):
    """Measure the core-seconds of a verdict, and write the table of what many images cost.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    *_, subject = bench.subjects()
    x, measured = subject.benign[: bench.sizes.adapt], {}
    default = a2d.guard(subject.classifier)
    default.adapt(subject.held_out, verbose=0)
    for name, guarded in (("default", default), ("BIM_d, as in the paper", subject.guarded())):
        warm_up(lambda x, guarded=guarded: guarded.predict(x, verbose=0), x)
        seconds = [_core_seconds(guarded, x) for _ in range(bench.sizes.repeats)]
        passes = guarded.predict(x, verbose=0)["cost"].sum(axis=1).mean()
        measured[name] = np.median(seconds)
        yield Row(
            f"core-seconds of a verdict: {subject.name}, benign, {name}",
            spread(seconds),
            note=f"{len(x)} inputs; {passes:.1f} steps or queries each, beside the prediction",
        )
    with replace_atomically(bench.out / "cost.md") as path:
        path.write_text(table(measured))


def table(core_seconds):
    """Lay out what many images cost.

    Args:
        core_seconds: Core-seconds of an image, a dict by the name of the detector.

    Returns:
        A table in Markdown.

    Examples:
        >>> print(table({"default": 0.0036}).splitlines()[2])
        | a million | default | 0.0036 | 1 | 60 minutes | 36 seconds | not measured |
    """
    heads = [*("images", "detector", "core-seconds of one", "core-hours")]
    heads += [*("on 1 core", "on 100 cores", "on a GPU")]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for words, count in _COUNTS.items():
        for name, each in core_seconds.items():
            spans = [_span(count * each / cores) for cores in _CORES]
            hours = f"{count * each / _HOUR:,.0f}"
            cells = [words, name, f"{each:.2g}", hours, *spans, "not measured"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _core_seconds(guarded, x):
    started = time.process_time()
    guarded.predict(x, verbose=0)
    return (time.process_time() - started) / len(x)


def _span(seconds):
    """Write a span of time in the unit that suits it."""
    for unit, size in (("years", _YEAR), ("days", _DAY), ("hours", _HOUR), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} seconds"
