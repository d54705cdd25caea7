"""How time is taken: what is compared takes turns, so that a slow moment meets all of it."""

import time

import numpy as np
import tensorflow as tf

from a2d_keras.attacks.gradient_sign import cross_entropy_direction
from benchmarks.rows import spread

BATCHES = (32, 64, 128, 256, 512)  # of which the best is taken
_TURNS = 3  # that batches take, to find the best
_INPUTS_TRIED = 1024  # in each turn of each batch
_INPUTS_TIMED = 4096  # in the best of them


def timed(function):
    """Time one call.

    Args:
        function: A function of nothing.

    Returns:
        Its seconds, and what it returned.
    """
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def warm_up(run, x):
    """Run on a few inputs, so that what is timed later has been compiled.

    Args:
        run: A function of inputs.
        x: The inputs.
    """
    for count in (2, 3):  # Keras traces `predict` for one number of inputs, then for any
        run(x[:count])


def in_turns(functions, repeats):
    """Time several functions, turn by turn.

    Args:
        functions: Functions of nothing, which have run before, so that compiling does not count.
        repeats: How many turns each takes.

    Returns:
        For each function its seconds, float64, (repeats,), and for each what it returned last.
    """
    turns = [[timed(function) for function in functions] for _ in range(repeats)]
    seconds = np.array([[elapsed for elapsed, _ in turn] for turn in turns])
    return seconds.T, [result for _, result in turns[-1]]


def share_of_passes(run, unit, repeats):
    """Compare the time of a run with that of its passes through the classifier alone.

    Args:
        run: A function of nothing, to the number of passes; it has run before.
        unit: A function of nothing, to the seconds of one pass.
        repeats: How many turns both take.

    Returns:
        The `Measured` ratio, and the passes and the seconds of the last run.
    """
    ratios, before = [], unit()
    for _ in range(repeats):
        elapsed, passes = timed(run)
        after = unit()
        ratios.append(elapsed / (passes * (before + after) / 2))
        before = after
    return spread(ratios), int(passes), elapsed


def gradient_seconds(classifier, x):
    """Make a measurement of one input's gradient, as attacks take it, in the best batch.

    Args:
        classifier: The `a2d_keras.Classifier`.
        x: Inputs to take gradients at, repeated where a batch is larger.

    Returns:
        A function of nothing, to the seconds.
    """

    def evaluate(batch):
        logits, pullback = classifier.vjp(batch)
        return pullback(cross_entropy_direction(logits, tf.argmax(logits, axis=-1)))

    return _unit(evaluate, x)


def query_seconds(classifier, x):
    """Make a measurement of one input's forward pass in the best batch; see `gradient_seconds`."""
    return _unit(classifier.logits, x)


def best_batch(run, x, sizes=BATCHES):
    """Find the batch in which an input takes least time.

    Args:
        run: A function of inputs.
        x: The inputs.
        sizes: The sizes to try; those above the number of inputs count as all of them.

    Returns:
        The size.
    """
    sizes = sorted({min(size, len(x)) for size in sizes})
    for size in sizes:
        run(x[:size])  # compile
    return min(sizes, key=lambda size: timed(lambda: run(x[:size]))[0] / size)


def _unit(evaluate, x):
    batches = [tf.constant(np.resize(x, (size, *x.shape[1:]))) for size in BATCHES]
    compiled = [tf.function(evaluate).get_concrete_function(batch) for batch in batches]
    pairs = list(zip(compiled, batches, strict=True))
    turns = [[_seconds_each(*pair, _INPUTS_TRIED) for pair in pairs] for _ in range(_TURNS)]
    best = pairs[np.argmin(np.median(turns, axis=0))]
    return lambda: _seconds_each(*best, _INPUTS_TIMED)


def _seconds_each(evaluate, batch, inputs):
    passes = inputs // len(batch)
    times = [timed(lambda: evaluate(batch).numpy())[0] for _ in range(passes)]
    return np.median(times) / len(batch)
