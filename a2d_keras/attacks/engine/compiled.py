"""The slot loop compiled, to be called from Python."""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from a2d_keras.attacks.engine.slots import AttackResult, Loop, Task
from a2d_keras.classifier import Classifier

CACHE: Any = weakref.WeakKeyDictionary()
_REPORTS = 50  # how often a run that reports does so


class CompiledLoop:
    """One attack on one classifier, compiled once for any number of inputs.

    Args:
        attack: The `Attack`.
        classifier: The `Classifier`.
        slots: Inputs under attack at once.
        images: Whether results hold the adversarial images.
    """

    def __init__(self, attack: Any, classifier: Classifier, slots: int, images: bool) -> None:
        loop = Loop(attack, classifier, slots, images)
        count = tf.TensorSpec((), tf.int64)
        x = tf.TensorSpec((None, *classifier.input_shape), tf.float32)
        task = Task(x, tf.TensorSpec((None,), tf.int64), count)
        begin = tf.function(loop.begin, autograph=False)
        advance = tf.function(loop.advance, autograph=False)
        self._begin = begin.get_concrete_function(task)
        progress = tf.nest.map_structure(
            lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), self._begin.structured_outputs
        )
        self._advance = advance.get_concrete_function(task, progress, count)

    def __call__(self, task: Task, report: Callable[[int], None] | None = None) -> AttackResult:
        """Attack all inputs.

        Args:
            task: The `Task`.
            report: Called now and then with the number of inputs that have their result.

        Returns:
            An `AttackResult` of tensors.
        """
        progress = self._begin(task)
        goals = np.linspace(0, len(task.x), _REPORTS if report else 2, dtype="int64")
        for goal in goals[1:]:
            progress = self._advance(task, progress, tf.constant(goal))
            if report:
                report(int(goal))
        return Loop.result(progress)


class XLALoop:
    """One attack on one classifier, compiled with XLA, once for each number of inputs.

    Args:
        attack: The `Attack`.
        classifier: The `Classifier`.
        slots: Inputs under attack at once.
        images: Whether results hold the adversarial images.
    """

    def __init__(self, attack: Any, classifier: Classifier, slots: int, images: bool) -> None:
        run = Loop(attack, classifier, slots, images).run_static
        self._run = tf.function(run, jit_compile=True, autograph=False)

    def __call__(self, task: Task, report: Callable[[int], None] | None = None) -> AttackResult:
        """Attack all inputs: as `CompiledLoop`, but it reports once, at the end."""
        result = self._run(task)
        if report:
            report(len(task.x))
        return result


def compiled_loop(
    attack: Any, classifier: Classifier, slots: int, jit_compile: bool, images: bool = True
) -> CompiledLoop | XLALoop:
    """Find the loop that was compiled for these, or compile it.

    Args:
        attack: The `Attack`.
        classifier: The `Classifier`, which keeps what was compiled for it.
        slots: Inputs under attack at once.
        jit_compile: Whether to compile with XLA.
        images: Whether results hold the adversarial images. Defaults to True.

    Returns:
        The loop, to be called with a `Task`.
    """
    cache = CACHE.setdefault(classifier, {})
    key = (attack, slots, jit_compile, images)
    if key not in cache:
        make = XLALoop if jit_compile else CompiledLoop
        cache[key] = make(attack, classifier, slots, images)
    return cache[key]
