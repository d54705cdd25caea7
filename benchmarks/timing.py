"""Timing: the sides of a comparison take turns, so that a slow moment affects all of them."""

import time

import numpy as np
import tensorflow as tf

from a2d_keras.attacks.gradient_sign import cross_entropy_direction
from benchmarks.rows import spread

BATCHES = (32, 64, 128, 256, 512)  # sizes to find the best of
_TURNS = 3  # turns of each batch size, to find the best
_INPUTS_TRIED = 1024  # inputs in a turn
_INPUTS_TIMED = 4096  # inputs to time the best size with


def timed(function):
    """Time one call.

    Args:
        function: A function without arguments.

    Returns:
        Its seconds, and what it returned.
    """
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def warm_up(run, x):
    """Run on a few inputs, so that compilation does not count later.

    Args:
        run: A function that takes inputs.
        x: The inputs.
    """
    for count in (2, 3):  # Keras traces `predict` for one number of inputs, then for any number
        run(x[:count])


def in_turns(functions, repeats):
    """Time several functions, turn by turn.

    Args:
        functions: Functions without arguments. They must have run before, so that compilation
            does not count.
        repeats: The number of turns.

    Returns:
        The seconds, float64, (functions, repeats), and a list of what each function returned
        last.
    """
    turns = [[timed(function) for function in functions] for _ in range(repeats)]
    seconds = np.array([[elapsed for elapsed, _ in turn] for turn in turns])
    return seconds.T, [result for _, result in turns[-1]]


def share_of_passes(run, unit, repeats):
    """Compare the time of a run with that of its passes through the classifier alone.

    Args:
        run: A function without arguments that returns the number of passes. It must have run
            before.
        unit: A function without arguments that returns the seconds of one pass.
        repeats: The number of turns.

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


def gradient_seconds(classifier, x, sizes=None):
    """Make a function that times the gradient of one input, as attacks take it, in the best batch.

    Args:
        classifier: The `a2d_keras.Classifier`.
        x: Inputs to take gradients at, repeated if a batch is larger.
        sizes: The batch sizes to try, for large inputs. A turn then takes few inputs. Defaults to
            `BATCHES`.

    Returns:
        A function without arguments that returns the seconds.
    """

    def evaluate(batch):
        logits, pullback = classifier.vjp(batch)
        return pullback(cross_entropy_direction(logits, tf.argmax(logits, axis=-1)))

    return _unit(evaluate, x, sizes)


def query_seconds(classifier, x, sizes=None):
    """Make a function that times the forward pass of one input; see `gradient_seconds`."""
    return _unit(classifier.logits, x, sizes)


def best_batch(run, x, sizes=BATCHES):
    """Find the batch size at which an input takes the least time.

    Args:
        run: A function that takes inputs.
        x: The inputs.
        sizes: The sizes to try. One above the number of inputs means all inputs.

    Returns:
        The size.
    """
    sizes = sorted({min(size, len(x)) for size in sizes})
    for size in sizes:
        run(x[:size])  # compile
    return min(sizes, key=lambda size: timed(lambda: run(x[:size]))[0] / size)


def _unit(evaluate, x, sizes):
    batches = [tf.constant(np.resize(x, (size, *x.shape[1:]))) for size in sizes or BATCHES]
    compiled = [tf.function(evaluate).get_concrete_function(batch) for batch in batches]
    pairs = list(zip(compiled, batches, strict=True))
    tried, timed_on = (
        (_INPUTS_TRIED, _INPUTS_TIMED) if sizes is None else (max(sizes), 4 * max(sizes))
    )
    turns = [[_seconds_each(*pair, tried) for pair in pairs] for _ in range(_TURNS)]
    best = pairs[np.argmin(np.median(turns, axis=0))]
    return lambda: _seconds_each(*best, timed_on)


def _seconds_each(evaluate, batch, inputs):
    passes = inputs // len(batch)
    times = [timed(lambda: evaluate(batch).numpy())[0] for _ in range(passes)]
    return np.median(times) / len(batch)
