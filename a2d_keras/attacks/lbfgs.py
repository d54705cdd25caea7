"""L-BFGS: SciPy's quasi-Newton optimiser, from the input towards another class."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import optimize

from a2d_keras.attacks.base import Attack, Runner
from a2d_keras.attacks.engine.compiled import Report, cached_for
from a2d_keras.attacks.engine.slots import AttackResult, Task
from a2d_keras.classifier import Classifier
from a2d_keras.options import RunOptions
from a2d_keras.validation import require_positive, require_whole

CrossEntropy = Callable[[tf.Tensor, Any], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]

_CORRECTIONS = 15  # past gradients that the optimiser keeps, as in Foolbox


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LBFGS(Attack):
    """L-BFGS attack (Szegedy et al. 2014, Section 4.1; Tabacof and Valle 2016, Algorithm 1), L2.

    It minimises the mean squared change, in units of the input range, plus `c` times the
    cross-entropy of the target, within the bounds. The target is the second most likely class. A
    step is an iteration of SciPy's L-BFGS-B, and the first iterate at the target ends the attack.
    An input resists if SciPy finds no lower value before that. An input that starts at its target
    costs 1.

    It runs on the host, one input at a time, so `slots` has no effect. A `DetectorLayer` cannot
    use it, since it takes `StepAttack`s only.

    Args:
        c: Weight of the cross-entropy. A smaller one finds nearer examples, or none. Defaults to
            0.01.
        binary_search_steps: How many times to halve the interval of weights between 0 and `c`,
            after a success, in search of a nearer example. The cost stays that of the first.
            Defaults to 0, as for measuring costs.
        max_iterations: Steps after which an input counts as resisting, and of each minimisation.
            Defaults to 150.
        targeted: Whether to reach a given target instead. Defaults to False.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> LBFGS()(Classifier(model), np.full((2, 4), 0.5)).adversarial.shape
        (2, 4)
    """

    c: float = 0.01
    binary_search_steps: int = 0
    max_iterations: int = 150

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("c", self.c)
        require_whole("binary_search_steps", self.binary_search_steps, minimum=0)

    def runner(self, classifier: Classifier, run: RunOptions) -> Runner:
        """Return the function that runs the attack on a compiled gradient; see `Attack.runner`."""
        cross_entropy = cached_for(
            classifier,
            ("cross-entropy", run.jit_compile),
            lambda classifier: _compiled_cross_entropy(classifier, run.jit_compile),
        )

        def attack(task: Task, report: Report | None) -> AttackResult:
            result, budget = _blank(task), int(task.budget)
            for row, (x, target) in enumerate(zip(task.x, task.targets, strict=True)):
                logits = classifier.logits(x[None])[0]
                goal = int(target if self.targeted else tf.math.top_k(logits, 2).indices[1])
                search = _Search(classifier, cross_entropy, x.numpy(), goal)
                at_goal = int(tf.argmax(logits)) == goal
                found = _unmoved(x) if at_goal else self._attack(search, budget)
                for values, value in zip(result, found, strict=True):
                    values[row] = value
                if report:
                    report(row + 1)
            return result

        return attack

    def _attack(self, search: "_Search", budget: int) -> AttackResult:
        pixels, success, steps = search.minimise(self.c, budget)
        if success:
            pixels = self._nearer(search, pixels, budget)
        cost = steps if success or steps >= budget else self.max_iterations
        passes = search.evaluations
        return AttackResult(search.image(pixels), success, cost, passes + 1, passes)

    def _nearer(self, search: "_Search", nearest: np.ndarray, budget: int) -> np.ndarray:
        low, high = 0.0, self.c
        for _ in range(self.binary_search_steps):
            middle = (low + high) / 2
            pixels, success, _ = search.minimise(middle, budget)
            if success:
                high, nearest = middle, min(nearest, pixels, key=search.distance)
            else:
                low = middle
        return nearest


class _Search:
    """The search from one input to its target, in SciPy's form: flat, float64, from 0 to 1.

    Args:
        classifier: The `Classifier`.
        cross_entropy: What `_compiled_cross_entropy` returned.
        x: The input, float32, (*input_shape,).
        target: The target.
    """

    def __init__(
        self, classifier: Classifier, cross_entropy: CrossEntropy, x: np.ndarray, target: int
    ) -> None:
        self.classifier = classifier
        self.cross_entropy = cross_entropy
        self.shape = x.shape
        self.target = target
        low, _ = classifier.bounds
        self.start = (x.astype("float64").ravel() - low) / classifier.range
        self.evaluations = 0
        self.label = -1  # predicted at the last evaluation

    def minimise(self, c: float, iterations: int) -> tuple[np.ndarray, bool, int]:
        """Minimise the distance plus `c` times the cross-entropy, until the target is reached.

        Args:
            c: Weight of the cross-entropy.
            iterations: The largest number of iterations.

        Returns:
            The last iterate, whether it is at the target, and the iterations taken.
        """
        success = False

        def stop_at_target(pixels: np.ndarray) -> None:
            nonlocal success
            success = self.label == self.target  # SciPy evaluated the iterate last
            if success:
                raise StopIteration

        found = optimize.minimize(
            self._objective,
            self.start,
            args=(c,),
            method="L-BFGS-B",
            jac=True,
            bounds=optimize.Bounds(0.0, 1.0),
            callback=stop_at_target,
            options={
                "maxcor": _CORRECTIONS,
                "maxiter": iterations,
                "maxfun": math.inf,
                "gtol": 0.0,  # a limit per pixel would end the search of a large image at once
            },
        )
        return found.x, success, found.nit

    def distance(self, pixels: np.ndarray) -> float:
        """Compute the mean squared change, as a fraction of the squared range."""
        return float(np.mean((pixels - self.start) ** 2))

    def image(self, pixels: np.ndarray) -> np.ndarray:
        """Turn SciPy's form into an input of the classifier."""
        low, high = self.classifier.bounds
        x = np.asarray(low + self.classifier.range * pixels, "float32")
        image: np.ndarray = np.clip(x, low, high).reshape(self.shape)
        return image

    def _objective(self, pixels: np.ndarray, c: float) -> tuple[float, np.ndarray]:
        loss, gradient, label = self.cross_entropy(self.image(pixels)[None], [self.target])
        self.evaluations += 1
        self.label = int(label)
        slope = self.classifier.range * gradient.numpy().astype("float64").ravel()
        pull = 2 * (pixels - self.start) / pixels.size
        return self.distance(pixels) + c * float(loss), pull + c * slope


def _compiled_cross_entropy(classifier: Classifier, jit_compile: bool) -> CrossEntropy:
    """Compile the cross-entropy of a target on one input, with its gradient and the prediction."""

    def evaluate(x: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        logits, pullback = classifier.vjp(x)
        precise = tf.cast(logits, tf.float64)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(target, precise)
        direction = tf.nn.softmax(precise) - tf.one_hot(
            target, classifier.classes, dtype=tf.float64
        )
        gradient = pullback(tf.cast(direction, tf.float32))
        return loss[0], gradient, tf.argmax(logits[0])

    image = tf.TensorSpec((1, *classifier.input_shape), tf.float32)
    compiled: CrossEntropy = tf.function(
        evaluate,
        input_signature=[image, tf.TensorSpec((1,), tf.int64)],
        jit_compile=jit_compile,
        autograph=False,
    )
    return compiled


def _blank(task: Task) -> AttackResult:
    counts = np.zeros((3, len(task.x)), "int64")
    return AttackResult(np.array(task.x), np.zeros(len(task.x), "bool"), *counts)


def _unmoved(x: tf.Tensor) -> AttackResult:
    return AttackResult(x, success=True, cost=1, queries=1, gradient_evaluations=0)
