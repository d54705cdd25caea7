"""What the slot loop adds to its passes: `python -m benchmarks.loop --data-dir D`.

Prints, on MNIST, the time of BIM costs over that of their gradient evaluations alone, at the time
of one in a batch of 128, measured in the same run; likewise for `guarded.predict` and for JSMA
costs; and the time of DBA costs over that of their queries alone. Passes and loop take turns, so
that a slow moment of the machine meets both.
"""

import argparse
import time

import numpy as np
import tensorflow as tf

import a2d_keras as a2d
from a2d_keras.attacks.gradient_sign import cross_entropy_direction
from baselines.env1 import correctly_classified
from models import datasets, zoo

_BATCH = 128
_BATCHES_TIMED = 40


def main(argv=None):
    """Measure and print the ratios.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop")
    parser.add_argument("--dataset", choices=datasets.NAMES, default="mnist")
    parser.add_argument("--data-dir", help="folder that holds <dataset>.npz")
    parser.add_argument("--inputs", type=int, default=1000, help="benign inputs (1000)")
    parser.add_argument("--fewer", type=int, default=200, help="of them for JSMA and DBA (200)")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement (3)")
    arguments = parser.parse_args(argv)
    data = datasets.load(arguments.dataset, arguments.data_dir)
    model = zoo.load(arguments.dataset)
    x = correctly_classified(model, data, arguments.inputs + 200)
    x, held_out = x[: arguments.inputs], x[arguments.inputs :]
    classifier = a2d.Classifier(model)
    guarded = a2d.guard(model)
    guarded.adapt(held_out, verbose=0)
    gradient, query = gradient_seconds(classifier, x), query_seconds(classifier, x)
    few = x[: arguments.fewer]

    def gradients(attack):
        return lambda x: attack(classifier, x).gradient_evaluations.sum()

    def predict(x):
        return (guarded.predict(x, verbose=0)["cost"] + 1).sum()

    def queries(x):
        result = a2d.DBA()(classifier, x)
        print(f"DBA: {result.queries.sum() / result.cost.sum():.1f} queries a step")
        return result.queries.sum()

    for name, run, some, unit, what in (
        ("BIM costs", gradients(a2d.BIM()), x, gradient, "gradient evaluations"),
        ("guarded.predict", predict, x, gradient, "gradient evaluations"),
        ("JSMA costs", gradients(a2d.JSMA()), few, gradient, "gradient evaluations"),
        ("DBA costs", queries, few, query, "queries"),
    ):
        print(report(name, run, some, unit, arguments.repeats, what), flush=True)


def gradient_seconds(classifier, x):
    """Make a measurement of one gradient's time, in a batch.

    Args:
        classifier: The `Classifier`.
        x: Inputs to take gradients at.

    Returns:
        A function of nothing, to the seconds of one input's gradient (median of 40 batches).
    """

    @tf.function
    def evaluate(batch):
        logits, pullback = classifier.vjp(batch)
        return pullback(cross_entropy_direction(logits, tf.argmax(logits, axis=-1)))

    return _seconds(evaluate, x)


def query_seconds(classifier, x):
    """Make a measurement of one forward pass's time, in a batch; see `gradient_seconds`."""
    return _seconds(tf.function(classifier.logits), x)


def _seconds(evaluate, x):
    batch = tf.constant(x[:_BATCH])
    evaluate(batch)

    def seconds():
        times = [timed(lambda: evaluate(batch).numpy())[0] for _ in range(_BATCHES_TIMED)]
        return np.median(times) / len(batch)

    return seconds


def report(name, run, x, unit, repeats, what="gradient evaluations"):
    """Time a run against its passes, in turns.

    Args:
        name: What runs.
        run: A function of inputs, to the number of passes.
        x: The inputs.
        unit: A function of nothing, to the seconds of one pass.
        repeats: How often to take turns.
        what: What the passes are. Defaults to "gradient evaluations".

    Returns:
        One line with the median ratio and its spread.
    """
    run(x[:2])  # compile
    ratios, before = [], unit()
    for _ in range(repeats):
        elapsed, passes = timed(lambda: run(x))
        after = unit()
        ratios.append(elapsed / (passes * (before + after) / 2))
        before = after
    return (
        f"{name}: {np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) times its "
        f"{passes} {what} of {1e6 * before:.0f} µs; {elapsed:.1f} s"
    )


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


if __name__ == "__main__":
    main()
