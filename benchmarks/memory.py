"""The peak memory of a process that judges, or measures, inputs.

`python -m benchmarks.memory verdicts 1000` prints it, in MiB. Inputs come from a
`tf.data.Dataset`; with `array`, the default guard judges an array, whose own size is taken off. An
input has 32×32 pixels of three colours, so 10,000 of them would take 117 MiB. The
classifier is small and has random weights.
"""

import argparse
import pathlib
import resource

import keras
import numpy as np
import tensorflow as tf

import a2d_keras as a2d

_SHAPE = (32, 32, 3)
_BATCH = 100
_ATTACK = a2d.BIM(eps_iter=1e-4, max_iterations=10)
_SLOTS = 2  # costs hold 32 inputs per slot at once, which must be fewer than 100 inputs
_STATUS = pathlib.Path("/proc/self/status")


def main(argv=None):
    """Judge or measure, and print the peak memory of the process.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("what", choices=("verdicts", "costs", "array"))
    parser.add_argument("inputs", type=int, help=f"a multiple of {_BATCH}")
    arguments = parser.parse_args(argv)
    keras.utils.set_random_seed(0)
    layers = keras.layers.AveragePooling2D(4), keras.layers.Flatten(), keras.layers.Dense(10)
    model = keras.Sequential([keras.Input(_SHAPE), *layers])
    dataset = tf.data.Dataset.range(arguments.inputs // _BATCH).map(_batch)
    own = 0
    if arguments.what == "array":
        x = np.random.default_rng(0).random((arguments.inputs, *_SHAPE), "float32")
        own = x.nbytes / 2**20
        guarded = a2d.guard(model)
        guarded.adapt(x[:_BATCH], verbose=0)
        guarded.predict(x, verbose=0)
    elif arguments.what == "verdicts":
        guarded = a2d.guard(model, attacks=[_ATTACK], slots=_SLOTS)
        guarded.adapt(_batch(tf.constant(-1, tf.int64)), verbose=0)
        guarded.predict(dataset, verbose=0)
    else:
        options = a2d.RunOptions(slots=_SLOTS)
        a2d.AttackCosts(model, attacks=[_ATTACK], options=options).transform(dataset)
    print(peak() - own)


def peak():
    """Read the peak memory of this process, in MiB.

    On Linux, `getrusage` is of no use: its figure begins with that of the parent process.

    Returns:
        A float.

    Examples:
        >>> peak() > 1
        True
    """
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines["VmHWM"].removesuffix("kB")) / 2**10


def _batch(number):
    return tf.random.stateless_uniform((_BATCH, *_SHAPE), (number, 0))


if __name__ == "__main__":
    main()
