"""The slot loop, compiled once for each kind of attack, to be called from Python."""

import weakref
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from a2d_keras.attacks.engine.slots import AttackResult, SlotLoop, SteppedAttack, Task
from a2d_keras.classifier import Classifier
from a2d_keras.options import RunOptions

_REPORTS = 50  # how many times a run reports

Report = Callable[[int], None]
Made = TypeVar("Made")


class _Cache(NamedTuple):
    """What belongs to one version of a classifier."""

    version: int
    made: dict[Hashable, Any]


_CACHES: weakref.WeakKeyDictionary[Classifier, _Cache] = weakref.WeakKeyDictionary()


class CompiledLoop:
    """One kind of attack on one classifier, compiled for any number of inputs.

    Args:
        loop: The `SlotLoop`.
        parameters: The attack's parameters, for their ranks and dtypes.
    """

    def __init__(self, loop: SlotLoop, parameters: dict[str, tf.Tensor]) -> None:
        count = tf.TensorSpec((), tf.int64)
        task = Task(
            x=tf.TensorSpec((None, *loop.classifier.input_shape), tf.float32),
            targets=tf.TensorSpec((None,), tf.int64),
            budget=count,
            max_iterations=count,
            parameters={
                name: tf.TensorSpec([None] * len(value.shape), value.dtype)
                for name, value in parameters.items()
            },
        )
        begin = tf.function(loop.begin, autograph=False)
        advance = tf.function(loop.advance, autograph=False)
        self._begin = begin.get_concrete_function(task)
        progress = tf.nest.map_structure(
            lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), self._begin.structured_outputs
        )
        self._advance = advance.get_concrete_function(task, progress, count)

    def __call__(self, task: Task, report: Report | None = None) -> AttackResult:
        """Attack all inputs.

        Args:
            task: The `Task`.
            report: Called from time to time with the number of finished inputs.

        Returns:
            An `AttackResult` of tensors.
        """
        progress = self._begin(task)
        goals = np.linspace(0, len(task.x), _REPORTS if report else 2, dtype="int64")
        for goal in goals[1:]:
            progress = self._advance(task, progress, tf.constant(goal))
            if report:
                report(int(goal))
        return SlotLoop.result(progress)


class XLALoop:
    """One kind of attack on one classifier, compiled with XLA once for each number of inputs.

    Args:
        loop: The `SlotLoop`.
    """

    def __init__(self, loop: SlotLoop) -> None:
        self._run = tf.function(loop.run_static, jit_compile=True, autograph=False)

    def __call__(self, task: Task, report: Report | None = None) -> AttackResult:
        """Attack all inputs like `CompiledLoop`, but report only once, at the end."""
        result: AttackResult = self._run(task)
        if report:
            report(len(task.x))
        return result


def run_loop(
    attack: SteppedAttack,
    classifier: Classifier,
    run: RunOptions,
    task: Task,
    report: Report | None,
) -> AttackResult:
    """Run an attack in the loop compiled for its kind. The first time, compile it.

    Args:
        attack: The `StepAttack`.
        classifier: The `Classifier`.
        run: The `RunOptions`, with a number of slots.
        task: The `Task`.
        report: Called from time to time with the number of finished inputs, or None.

    Returns:
        An `AttackResult` of tensors.
    """

    def compile_loop(classifier: Classifier) -> CompiledLoop | XLALoop:
        loop = SlotLoop(attack, classifier, int(run.slots), run.images)
        return XLALoop(loop) if run.jit_compile else CompiledLoop(loop, task.parameters)

    return cached_for(classifier, (attack.kind(), run), compile_loop)(task, report)


def cached_for(classifier: Classifier, key: Hashable, make: Callable[[Classifier], Made]) -> Made:
    """Return what was made for a classifier's current version, or make it.

    It is kept while the classifier is alive and has this `version`.

    Args:
        classifier: The `Classifier`.
        key: What identifies it.
        make: A function that takes the classifier and makes it. The argument is a weak proxy, so
            that the result does not keep the classifier alive.

    Returns:
        What `make` returned, now or earlier.
    """
    cache = _CACHES.get(classifier)
    if cache is None or cache.version != classifier.version:
        cache = _CACHES[classifier] = _Cache(classifier.version, {})
    if key not in cache.made:
        cache.made[key] = make(weakref.proxy(classifier))
    made: Made = cache.made[key]
    return made
