"""How long a comparison may take, before anything runs."""

import time

import numpy as np
import tensorflow as tf

from a2d_keras import Attack

_TIMED = 16  # inputs


def seconds_of_gradient(classifier, x):
    """Time a forward and a backward pass.

    Args:
        classifier: The `a2d_keras.Classifier`.
        x: Inputs, float32, (n, *input shape).

    Returns:
        The seconds of an input, a float.
    """
    x = tf.constant(x[:_TIMED])

    @tf.function(autograph=False)
    def gradient(x):
        logits, pullback = classifier.vjp(x)
        return pullback(tf.ones_like(logits))

    gradient(x)  # compile
    started = time.perf_counter()
    gradient(x).numpy()
    return (time.perf_counter() - started) / len(x)


def text(classifier, benign, attacks, detectors, *, training):
    """Estimate from above how long attacks take.

    Args:
        classifier: The `a2d_keras.Classifier`.
        benign: The benign test inputs, float32, (n, *input shape).
        attacks: The attacks that craft, a dict by name.
        detectors: The detectors, a dict by name; those that are no attacks do not count.
        training: Whether training inputs are measured too.

    Returns:
        A sentence or two.
    """
    seconds = seconds_of_gradient(classifier, benign)
    count, kinds = len(benign), 1 + len(attacks)
    crafted = count * (1 + training / max(len(attacks), 1))
    judged = count * (kinds + 2 * training)
    defences = {name: each for name, each in detectors.items() if isinstance(each, Attack)}
    inputs = dict.fromkeys(attacks, crafted) | dict.fromkeys(defences, judged)
    runs = attacks | defences
    found = {name: each.max_iterations * inputs[name] * seconds for name, each in runs.items()}
    slowest = max(found, key=found.get)
    return (
        f"A gradient takes {1000 * seconds:.2g} ms an input. All attacks together take about "
        f"{_time(sum(found.values()))} at most, {slowest} alone {_time(found[slowest])}, if no "
        "input ever yields; mostly it is a small part of that."
    )


def _time(seconds):
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{np.ceil(seconds):.0f} s"
