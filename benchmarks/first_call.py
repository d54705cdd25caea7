"""The time of the first call, of later calls, and of the import."""

from benchmarks.fresh import python
from benchmarks.rows import Row, exactly, spread
from benchmarks.timing import in_turns, timed

_IMPORT = (
    "import time, tensorflow, keras; started = time.perf_counter(); import a2d_keras; "
    "print(time.perf_counter() - started)"
)
_PROCESSES = 5


def rows(bench):
    """Time the first call, later ones, and the import.

    Args:
        bench: The `benchmarks.subjects.Bench`.

    Yields:
        The `benchmarks.rows.Row`s.
    """
    subject = bench.first_subject()
    guarded, x = subject.guarded(), subject.benign[: bench.sizes.few]
    first, _ = timed(lambda: guarded.predict(x, verbose=0))
    other, _ = timed(lambda: guarded.predict(x[1:], verbose=0))
    (later,), _ = in_turns([lambda: guarded.predict(x, verbose=0)], bench.sizes.repeats)
    what = f"guarded.predict(x) on {len(x)} inputs of {subject.name}"
    yield Row(f"seconds of the first call: {what}", exactly(first), note="tracing included")
    yield Row(f"seconds of the next call, of one input less: {what}", exactly(other))
    yield Row(f"seconds of later calls: {what}", spread(later))
    yield Row(
        "seconds that importing a2d_keras adds to TensorFlow and Keras",
        spread([python("-c", _IMPORT) for _ in range(_PROCESSES)]),
        at_most=0.3,
        note=f"{_PROCESSES} fresh processes",
    )
