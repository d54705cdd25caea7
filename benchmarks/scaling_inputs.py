"""Time and memory against the number of inputs, on digits."""

import functools

import numpy as np

import a2d_keras as a2d
from benchmarks import scaling_plots
from benchmarks.fresh import python
from benchmarks.rows import Row, exactly, spread
from benchmarks.timing import in_turns, warm_up
from models import datasets, zoo

_NOISE = 0.02  # so that repeated digits differ


def rows(bench):
    """Measure and draw the time of verdicts, and the memory that datasets take.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    counts = bench.sizes.scaling
    seconds = _seconds(counts, bench.sizes.repeats)
    slopes = [np.polyfit(np.log(counts), np.log(turn), 1)[0] for turn in seconds.T]
    times = np.median(seconds, axis=1)
    listed = ", ".join(f"{n:,} in {s:.2f} s" for n, s in zip(counts, times, strict=True))
    yield Row(
        "slope of log time over log inputs (1 is linear): digits, guarded.predict(x)",
        spread(slopes),
        at_most=1.05,
        note=f"{listed}; ten times as many would take {10 * times[-1]:.0f} s, by extrapolation",
    )
    memory = {}
    for what in ("verdicts", "costs"):
        memory[what] = _peaks(what, counts)
        yield _growth(f"{what} of a dataset", counts, memory[what])
    many = (*counts, 10 * counts[-1])
    what = "default verdicts of an array, without the array itself"
    yield _growth(what, many, _peaks("array", many))
    _draw(bench.out / "scaling_inputs.png", counts, times, memory)


def _peaks(what, counts):
    return [python("-m", "benchmarks.memory", what, count) for count in counts]


def _growth(what, counts, peaks):
    listed = ", ".join(f"{n:,}: {m:.0f} MiB" for n, m in zip(counts, peaks, strict=True))
    return Row(
        f"peak memory of the most inputs over that of the fewest: {what}",
        exactly(peaks[-1] / peaks[0]),
        at_most=1.05,
        note=f"{listed}; an input is 12 KiB",
    )


def _seconds(counts, repeats):
    """Time verdicts on each number of digits, with a little noise; float64, (counts, repeats)."""
    x = datasets.load("digits").x_test
    guarded = a2d.guard(zoo.load("digits"), slots="auto")
    guarded.adapt(x[:300], verbose=0)
    many = np.resize(x[300:], (max(counts), *x.shape[1:]))
    noise = np.random.default_rng(0).normal(0, _NOISE, many.shape)
    many = np.clip(many + noise, 0, 1).astype("float32")

    def judge(x):
        return guarded.predict(x, verbose=0)

    warm_up(judge, many)
    return in_turns([functools.partial(judge, many[:count]) for count in counts], repeats)[0]


def _draw(path, counts, times, memory):
    last = [(counts[-1], times[-1]), (10 * counts[-1], 10 * times[-1])]
    scaling_plots.side_by_side(
        path,
        [
            {
                "title": "verdicts on digits",
                "x": "inputs",
                "y": "seconds",
                "curves": {"measured": list(zip(counts, times, strict=True))},
                "extrapolated": {"extrapolated": last},
            },
            {
                "title": "inputs of 12 KiB from a dataset",
                "x": "inputs",
                "y": "peak memory, MiB",
                "from_zero": True,
                "curves": {
                    what: list(zip(counts, peaks, strict=True)) for what, peaks in memory.items()
                },
            },
        ],
    )
