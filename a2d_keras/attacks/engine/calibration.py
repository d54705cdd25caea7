"""The best number of slots, by a short calibration."""

import time
import weakref
from collections.abc import Callable
from concurrent import futures
from typing import Any

import tensorflow as tf

from a2d_keras.attacks.engine.slots import Loop, Task
from a2d_keras.classifier import Classifier

_COUNTS = (32, 64, 128, 256, 512)
_SECONDS = 8.0  # that one step of every count may take together, and that all turns may take
_FOUND: Any = weakref.WeakKeyDictionary()
_TURNS = 4
_NEARLY = 1.03  # times the fastest that still count as fast


def best_slots(attack: Any, classifier: Classifier) -> int:
    """Find the number of slots with the least time for each input, by timing the attack's step.

    Counts are tried upwards, while steps are short; of those that are as fast, the smallest is
    taken. Which is best depends on the classifier, the passes that a step takes, and the device;
    so the classifier remembers it for each kind of attack and device.

    Args:
        attack: The `StepAttack`.
        classifier: The `Classifier`.

    Returns:
        32, 64, 128, 256 or 512.
    """
    # Where a graph is being traced, a thread of its own stands outside.
    with futures.ThreadPoolExecutor(1) as outside:
        return outside.submit(_remembered, attack, classifier).result()


def _remembered(attack: Any, classifier: Classifier) -> int:
    key = type(attack), tf.zeros(0).device
    found = _FOUND.setdefault(classifier, {})
    if key not in found:
        found[key] = _fastest(attack, classifier)
    return found[key]


def _fastest(attack: Any, classifier: Classifier) -> int:
    """Time the counts in turn, each by its fastest turn, and take the smallest of the fast ones."""
    step, batches, seconds = _compiled_step(attack, classifier), {}, {}
    for count in _COUNTS:
        batches[count] = classifier.random_inputs(count)
        step(batches[count])  # compiles, and fills caches, which is not timed
        seconds[count] = _seconds(step, batches[count])
        if sum(seconds.values()) + 2 * seconds[count] > _SECONDS:  # with twice as many
            break
    # As many inputs in each turn, lest a lucky moment be long enough for small batches alone.
    steps = {count: max(seconds) // count for count in seconds}
    turns = min(_TURNS, int(_SECONDS / sum(seconds[count] * steps[count] for count in steps)))
    taken = [
        {count: _seconds(step, batches[count], steps[count]) for count in steps}
        for _ in range(turns)
    ]
    per_input = {c: min(turn[c] for turn in taken or [seconds]) / c for c in seconds}
    fast = _NEARLY * min(per_input.values())
    # More slots stand empty for longer once nothing waits.
    return min(count for count in per_input if per_input[count] <= fast)


def _compiled_step(attack: Any, classifier: Classifier) -> Callable:
    def first_step(x: tf.Tensor) -> Any:
        task = Task(x, tf.zeros(tf.shape(x)[:1], tf.int64), tf.constant(1, tf.int64))
        slots = Loop(attack, classifier, max(_COUNTS)).begin(task).slots
        return attack.step(classifier, slots)

    x = tf.TensorSpec((None, *classifier.input_shape), tf.float32)
    return tf.function(first_step, input_signature=[x], autograph=False)


def _seconds(step: Callable, x: tf.Tensor, steps: int = 1) -> float:
    """Time so many steps: the mean of them, in seconds."""
    start = time.perf_counter()
    for _ in range(steps):
        _, success = step(x)
        success.numpy()  # waits for it
    return (time.perf_counter() - start) / steps
