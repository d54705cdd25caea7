"""Carlini and Wagner's attack: the nearest adversarial example that optimisation can find."""

import dataclasses
import math
import numbers
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from a2d_keras.attacks.base import StepAttack
from a2d_keras.attacks.engine.margins import lead
from a2d_keras.attacks.engine.shapes import column, flat
from a2d_keras.attacks.engine.slots import Slots
from a2d_keras.classifier import Classifier
from a2d_keras.validation import require_positive, require_whole

_INSIDE = 0.999999  # scales inputs in [-1, 1] so that arctanh is finite
_LARGEST_C = 1e10
_CHECKS = 10  # checks of progress per search
_PROGRESS = 0.9999  # between two checks, the objective must fall below this share
_MEAN_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-8


class _Descent(NamedTuple):
    """The state of Adam for each input, (slots, *input_shape).

    Attributes:
        shift: The change of the input in tanh space.
        mean: Adam's running mean of the gradient.
        square: Adam's running mean of its square.
    """

    shift: tf.Tensor
    mean: tf.Tensor
    square: tf.Tensor


class _Search(NamedTuple):
    """The progress of each input's searches, (slots,).

    Attributes:
        done: The number of finished searches, int64.
        iteration: Iterations of this search, int64.
        c: The weight of the margin in this search, float32.
        lower: The largest weight known to fail, float32.
        upper: The smallest weight known to succeed, float32.
        found: Whether this search has succeeded, bool.
        checked: The objective at the last check of progress, float32.
        nearest: Squared distance of the best example so far, float32; infinite without one.
    """

    done: tf.Tensor
    iteration: tf.Tensor
    c: tf.Tensor
    lower: tf.Tensor
    upper: tf.Tensor
    found: tf.Tensor
    checked: tf.Tensor
    nearest: tf.Tensor


class _Iterate(NamedTuple):
    """The evaluation of each input's iterate.

    Attributes:
        x: The iterate, (slots, *input_shape).
        labels: The label to leave or to reach, int64, (slots,).
        gradient: The gradient of the objective in tanh space, (slots, *input_shape).
        distance: Squared distance from the input, as a fraction of the input range, (slots,).
        objective: The function that the search minimises, (slots,).
        success: Whether the adversarial logit leads by the confidence, bool, (slots,).
    """

    x: tf.Tensor
    labels: tf.Tensor
    gradient: tf.Tensor
    distance: tf.Tensor
    objective: tf.Tensor
    success: tf.Tensor


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class CarliniWagner(StepAttack):
    """Carlini and Wagner's L2 attack (2017, Section VI.A): the nearest adversarial example.

    Adam minimises the squared L2 distance from the input plus c times the margin by which the
    logits fall short. It works in tanh space, which keeps the iterate within the bounds. Each
    input has a binary search over c of `binary_search_steps` steps: c grows tenfold until the
    first success, and is then bisected.

    The cost is the number of steps of all searches. Success is decided at their end: an input
    without an example costs `max_iterations`. `adversarial` is the nearest example found, even if
    the budget ends the searches early, in which case `success` is False. An input that is
    adversarial itself costs one step.

    Args:
        confidence: Margin by which an adversarial logit must lead. 0 requires only that the
            prediction changes. Defaults to 0.0.
        initial_c: The first weight of the margin, in logits, against the squared distance, as a
            fraction of the input range. Defaults to 0.01.
        learning_rate: The learning rate of Adam, in tanh space. Defaults to 0.005.
        binary_search_steps: The number of searches, each with its own c. Defaults to 5.
        search_iterations: Maximum number of steps of a search. Defaults to 1000.
        early_abort: Whether a search ends once a tenth of `search_iterations` brings no
            progress. Defaults to True.
        targeted: Whether to reach a given target instead. Defaults to False.

    Attributes:
        max_iterations: `binary_search_steps` times `search_iterations`.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> attack = CarliniWagner(search_iterations=20)
        >>> attack.max_iterations
        100
        >>> attack(Classifier(model), keras.ops.ones((2, 4))).adversarial.shape
        (2, 4)
    """

    traced = ("confidence", "initial_c", "learning_rate")

    confidence: float = 0.0
    initial_c: float = 0.01
    learning_rate: float = 0.005
    binary_search_steps: int = 5
    search_iterations: int = 1000
    early_abort: bool = True
    max_iterations: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        require_whole("binary_search_steps", self.binary_search_steps)
        require_whole("search_iterations", self.search_iterations)
        steps = self.binary_search_steps * self.search_iterations
        object.__setattr__(self, "max_iterations", steps)  # the dataclass is frozen
        super().__post_init__()
        require_positive("initial_c", self.initial_c)
        require_positive("learning_rate", self.learning_rate)
        _require_confidence(self.confidence)

    def start(self, classifier: Classifier, inputs: tf.Tensor) -> Any:
        """Begin the first search at the input; see `StepAttack.start`."""
        still = tf.zeros_like(inputs)
        zero = tf.zeros(tf.shape(inputs)[:1])
        count, infinite = tf.cast(zero, tf.int64), zero + math.inf
        search = _Search(
            done=count,
            iteration=count,
            c=zero + tf.cast(self.initial_c, tf.float32),
            lower=zero,
            upper=zero + _LARGEST_C,
            found=tf.cast(zero, tf.bool),
            checked=infinite,
            nearest=infinite,
        )
        return _Descent(still, still, still), search

    def step(self, classifier: Classifier, slots: Slots) -> tuple[Slots, tf.Tensor]:
        """Take one step in every slot; see `StepAttack.step`."""
        descent, search = slots.state
        iterate = self._evaluate(classifier, slots)
        over = search.done >= self.binary_search_steps
        found = tf.math.is_finite(search.nearest)
        shown = iterate.success & (iterate.distance < search.nearest) | ~found
        descent = self._descend(descent, iterate.gradient, search.iteration)
        search = self._record(search, iterate)
        after = slots._replace(
            x=tf.where(column(shown, iterate.x), iterate.x, slots.x),
            labels=iterate.labels,
            steps=slots.steps + 1,
            queries=slots.queries + 1,
            gradient_evaluations=slots.gradient_evaluations + 1,
            exhausted=over,
            state=(_restart(descent, search.iteration == 0), search),
        )
        return after, over & found

    def _evaluate(self, classifier: Classifier, slots: Slots) -> _Iterate:
        descent, search = slots.state
        low, high = classifier.bounds
        half = classifier.range / 2
        origin = (slots.inputs - low) / half - 1
        tanh = tf.tanh(tf.atanh(_INSIDE * origin) + descent.shift)
        x = tf.clip_by_value(low + half * (1 + tanh), low, high)
        logits, pullback = classifier.vjp(x)
        labels = slots.labels
        if not self.targeted:
            labels = tf.where(slots.steps == 0, tf.argmax(logits, axis=-1), labels)
        # What keeps it from success: the lead of the label, or that of the others over a target.
        direction = lead(logits, labels) * (-1.0 if self.targeted else 1.0)
        margin = tf.reduce_sum(direction * logits, axis=-1)
        missing = tf.maximum(margin + tf.cast(self.confidence, tf.float32), 0.0)
        weight = tf.where(missing > 0, search.c * classifier.range, 0.0)
        change = tanh - origin  # twice the change of x, as a fraction of the range
        distance = tf.reduce_sum(flat(change) ** 2, axis=-1) / 4
        return _Iterate(
            x=x,
            labels=labels,
            gradient=(change + pullback(weight[:, None] * direction)) * (1 - tanh**2) / 2,
            distance=distance,
            objective=distance + search.c * missing,
            success=(missing == 0) & (margin < 0),
        )

    def _descend(self, descent: _Descent, gradient: tf.Tensor, iteration: tf.Tensor) -> _Descent:
        """Take one step of Adam."""
        mean = _MEAN_DECAY * descent.mean + (1 - _MEAN_DECAY) * gradient
        square = _SQUARE_DECAY * descent.square + (1 - _SQUARE_DECAY) * gradient**2
        taken = tf.cast(column(iteration, gradient) + 1, tf.float32)
        unbiased_mean = mean / (1 - _MEAN_DECAY**taken)
        unbiased_square = square / (1 - _SQUARE_DECAY**taken)
        rate = tf.cast(self.learning_rate, tf.float32)
        step = rate * unbiased_mean / (tf.sqrt(unbiased_square) + _EPSILON)
        return _Descent(descent.shift - step, mean, square)

    def _record(self, search: _Search, iterate: _Iterate) -> _Search:
        """Record the iterate, and begin the next search if this one is over."""
        found = search.found | iterate.success
        ended, checked = self._check(search, iterate.objective)
        lower = tf.where(ended & ~found, search.c, search.lower)
        upper = tf.where(ended & found, search.c, search.upper)
        itself = iterate.success & (search.iteration == 0)  # the input itself is the nearest
        done = search.done + tf.cast(ended, tf.int64)
        return _Search(
            done=tf.where(itself, tf.constant(self.binary_search_steps, tf.int64), done),
            iteration=tf.where(ended, tf.zeros_like(done), search.iteration + 1),
            # Before the first success, `upper` is too large to have an effect here.
            c=tf.where(ended, tf.minimum(10 * search.c, (lower + upper) / 2), search.c),
            lower=lower,
            upper=upper,
            found=found & ~ended,
            checked=tf.where(ended, math.inf, checked),
            nearest=tf.where(
                iterate.success, tf.minimum(iterate.distance, search.nearest), search.nearest
            ),
        )

    def _check(self, search: _Search, objective: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return which searches end with this iteration, and the objective for the next check."""
        last = search.iteration + 1 >= self.search_iterations
        if not self.early_abort:
            return last, search.checked
        due = search.iteration % max(self.search_iterations // _CHECKS, 1) == 0
        progress = objective < _PROGRESS * search.checked
        return last | due & ~progress, tf.where(due, objective, search.checked)


def _restart(descent: _Descent, restarts: tf.Tensor) -> _Descent:
    """Reset the inputs whose next search begins."""
    return _Descent(*(tf.where(column(restarts, values), 0.0, values) for values in descent))


def _require_confidence(confidence: Any) -> None:
    if not isinstance(confidence, numbers.Real) or not 0 <= float(confidence) < math.inf:
        raise ValueError(f"`confidence` must be a number, at least 0. Received: {confidence}")
