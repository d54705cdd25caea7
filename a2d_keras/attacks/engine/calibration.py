"""The best number of slots, by a short calibration."""

import time
from collections.abc import Callable
from concurrent import futures

import tensorflow as tf

from a2d_keras.attacks.engine.compiled import cached_for
from a2d_keras.attacks.engine.slots import SlotLoop, Slots, SteppedAttack, Task
from a2d_keras.classifier import Classifier

Step = Callable[[tf.Tensor], tuple[Slots, tf.Tensor]]

_COUNTS = (32, 64, 128, 256, 512)
_SECONDS = 8.0  # seconds for one step of every count, and for all turns
_TURNS = 4
_NEARLY = 1.03  # a time within this factor of the fastest counts as fast


def best_slots(attack: SteppedAttack, classifier: Classifier) -> int:
    """Find the number of slots with the smallest time per input, by timing the attack's step.

    Counts are tried in increasing order while steps are short, and the smallest of the fast ones
    wins. The best count depends on the classifier, the passes of a step, and the device. So it is
    kept with the classifier for each kind of attack and device.

    Args:
        attack: The `StepAttack`.
        classifier: The `Classifier`.

    Returns:
        32, 64, 128, 256 or 512.
    """
    # If a graph is being traced, another thread is outside of it.
    with futures.ThreadPoolExecutor(1) as outside:
        return outside.submit(_remembered, attack, classifier).result()


def _remembered(attack: SteppedAttack, classifier: Classifier) -> int:
    key = "slots", type(attack), tf.zeros(0).device
    return cached_for(classifier, key, lambda classifier: _fastest(attack, classifier))


def _fastest(attack: SteppedAttack, classifier: Classifier) -> int:
    """Time the counts in turn, each by its fastest turn, and take the smallest of the fast ones."""
    step, batches, seconds = _compiled_step(attack, classifier), {}, {}
    for count in _COUNTS:
        batches[count] = classifier.unit.random_inputs(count)
        step(batches[count])  # not timed: compiles, and fills caches
        seconds[count] = _seconds(step, batches[count])
        if sum(seconds.values()) + 2 * seconds[count] > _SECONDS:  # the next count is twice this
            break
    # The same number of inputs per turn, or else lucky moments would favour small batches.
    steps = {count: max(seconds) // count for count in seconds}
    turns = min(_TURNS, int(_SECONDS / sum(seconds[count] * steps[count] for count in steps)))
    taken = [
        {count: _seconds(step, batches[count], steps[count]) for count in steps}
        for _ in range(turns)
    ]
    per_input = {c: min(turn[c] for turn in taken or [seconds]) / c for c in seconds}
    fast = _NEARLY * min(per_input.values())
    # With more slots, more of them are empty once no input waits.
    return min(count for count in per_input if per_input[count] <= fast)


def _compiled_step(attack: SteppedAttack, classifier: Classifier) -> Step:
    parameters, attacked = attack.parameters(classifier), classifier.unit

    def first_step(x: tf.Tensor) -> tuple[Slots, tf.Tensor]:
        one = tf.constant(1, tf.int64)
        task = Task(x, tf.zeros(tf.shape(x)[:1], tf.int64), one, one, parameters)
        slots = SlotLoop(attack, attacked, max(_COUNTS)).begin(task).slots
        return attack.with_parameters(parameters).step(attacked, slots)

    x = tf.TensorSpec((None, *classifier.input_shape), tf.float32)
    step: Step = tf.function(first_step, input_signature=[x], autograph=False)
    return step


def _seconds(step: Step, x: tf.Tensor, steps: int = 1) -> float:
    """Return the mean seconds of the given number of steps."""
    start = time.perf_counter()
    for _ in range(steps):
        _, success = step(x)
        success.numpy()  # waits for it
    return (time.perf_counter() - start) / steps
