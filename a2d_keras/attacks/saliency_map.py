"""JSMA: change the few pixels that matter most for the target."""

import dataclasses
import math
import numbers
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.attacks.base import StepAttack
from a2d_keras.attacks.engine import randomness
from a2d_keras.attacks.engine.shapes import flat
from a2d_keras.attacks.engine.slots import Slots
from a2d_keras.attacks.gradient_sign import cross_entropy_direction
from a2d_keras.classifier import Classifier
from a2d_keras.validation import require_fraction, require_positive, require_whole

_PAIRS_AT_ONCE = 2**15  # per input, so that the scores of a batch fit into the cache


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class JSMA(StepAttack):
    """Jacobian-based Saliency Map Attack, one pixel a step (Papernot et al. 2016), L0.

    This is the form of the defence JSMA_d of Zhao et al. 2021, with their defaults. The target is
    the second most likely class. Each step moves one pixel, that with the largest component of
    the gradient of the target's cross-entropy, against the sign of the gradient (the largest
    signed value, as in the authors' code, so pixels are nearly always lowered). A pixel leaves
    the search when it reaches a bound or was changed `max_changes` times, and then counts as 0.
    If 0 is the largest component, nothing can move, and the input resists. A pixel is one channel
    of one place.

    Args:
        theta: Length of a step in its pixel, as a fraction of the input range. Defaults to 0.1.
        max_changes: How many times a pixel may be changed. Defaults to 7.
        max_iterations: Steps after which an input counts as resisting. Defaults to 2000.
        targeted: Whether to reach a given target instead. Defaults to False.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> JSMA()(Classifier(model), keras.ops.full((2, 4), 0.5)).adversarial.shape
        (2, 4)
    """

    traced = ("theta", "max_iterations")

    theta: float = 0.1
    max_changes: int = 7
    max_iterations: int = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fraction("theta", self.theta)
        require_whole("max_changes", self.max_changes)

    def start(self, classifier: Classifier, inputs: tf.Tensor) -> Any:
        """Begin with all pixels in the search, and keep their values in float64.

        As in the authors' code, whether a pixel has reached a bound must not depend on the
        rounding of float32.
        """
        searched = tf.ones_like(inputs, tf.bool)
        return {
            "pixels": tf.cast(inputs, tf.float64),
            "changes": tf.zeros_like(inputs),
            "searched": searched,
        }

    def step(self, classifier: Classifier, slots: Slots) -> tuple[Slots, tf.Tensor]:
        """Take one step in every slot; see `StepAttack.step`."""
        logits, pullback = classifier.vjp(slots.x)
        labels = slots.labels
        if not self.targeted:
            labels = tf.where(slots.steps == 0, _second_most_likely(logits), labels)
        gradient = pullback(cross_entropy_direction(logits, labels))
        pixels, changes, searched = (slots.state[k] for k in ("pixels", "changes", "searched"))
        salience = flat(tf.where(searched, gradient, 0.0))
        chosen = tf.one_hot(tf.argmax(salience, axis=-1), tf.shape(salience)[-1])
        chosen = tf.reshape(chosen, tf.shape(slots.x))
        moves = tf.cast(chosen * tf.sign(gradient), tf.float64)
        pixels -= moves * tf.cast(self.theta, tf.float64) * classifier.range
        changes += chosen
        low, high = classifier.bounds
        spent = (pixels <= low) | (pixels >= high) | (changes >= self.max_changes)
        pixels = tf.clip_by_value(pixels, low, high)
        searched &= ~(spent & (chosen > 0))
        after = slots._replace(
            x=tf.cast(pixels, tf.float32),
            labels=labels,
            steps=slots.steps + 1,
            queries=slots.queries + 1,
            gradient_evaluations=slots.gradient_evaluations + 1,
            exhausted=tf.reduce_max(salience, axis=-1) == 0,
            state={"pixels": pixels, "changes": changes, "searched": searched},
        )
        return after, tf.argmax(logits, axis=-1) == labels


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class PairJSMA(StepAttack):
    """Jacobian-based Saliency Map Attack, two pixels a step (Papernot et al. 2016), L0.

    This is the published algorithm, as in CleverHans 3. With `probabilities` it is the JSMA that
    crafts in Zhao et al. 2021 (Table 5). Each step changes the pair of pixels with the largest
    saliency by `theta`. The saliency is the increase of the target's logit times the decrease of
    the sum of the others. A changed pixel leaves the search, and so does one at the bound. The
    target is a random other class, the same for equal inputs, or a given one.

    Args:
        theta: Change of a pixel, as a fraction of the input range. Negative values lower pixels.
            Defaults to 1.0.
        gamma: Share of the pixels that may be changed. Defaults to 0.1.
        probabilities: Whether the saliency is that of the class probabilities instead of the
            logits. Their sum is fixed, so the other classes lose what the target gains, and the
            likely ones lose most. The code of KD+BU, which crafts Env1, does the same. Defaults
            to False.
        seed: Seed of the random targets. Defaults to 0.
        max_iterations: Steps after which an input counts as resisting. Defaults to 2000.
        targeted: Whether the targets are given. Defaults to False.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> PairJSMA(gamma=0.5)(Classifier(model), keras.ops.full((2, 4), 0.5)).adversarial.shape
        (2, 4)
    """

    traced = ("gamma", "seed", "max_iterations")

    theta: float = 1.0
    gamma: float = 0.1
    probabilities: bool = False
    seed: int = 0
    max_iterations: int = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        is_number = isinstance(self.theta, numbers.Real)
        require_fraction("theta", abs(self.theta) if is_number else self.theta)
        require_positive("gamma", self.gamma)
        require_whole("seed", self.seed, minimum=0)

    def require(self, classifier: Classifier) -> None:
        """Refuse a classifier with too few pixels for one pair."""
        sizes = [size for size in classifier.input_shape if size]
        if len(sizes) == len(classifier.input_shape):
            pixels = math.prod(sizes)
            if self.gamma * pixels < 2:
                raise ValueError(
                    "`gamma` must allow a pair of pixels: at least 2 divided by their number. "
                    f"Received: gamma={self.gamma} for {pixels} pixels"
                )

    def start(self, classifier: Classifier, inputs: tf.Tensor) -> Any:
        """Begin with all pixels in the search, and keep the key of the random target."""
        searched = tf.ones_like(inputs, tf.bool)
        return {"searched": searched, "key": randomness.keys(inputs, self.seed)}

    def step(self, classifier: Classifier, slots: Slots) -> tuple[Slots, tf.Tensor]:
        """Take one step in every slot; see `StepAttack.step`."""
        logits, pullback = classifier.vjp(slots.x)
        labels = slots.labels
        if not self.targeted:
            other = _random_other(logits, slots.state["key"])
            labels = tf.where(slots.steps == 0, other, labels)
        low, high = classifier.bounds
        at_bound = slots.x >= high if self.theta > 0 else slots.x <= low
        searched = slots.state["searched"] & ~at_bound
        salience, pair, backward = self._salience(logits, labels, pullback, flat(searched))
        pixels = tf.size(slots.x[0])
        chosen = (
            tf.reduce_sum(tf.one_hot(pair, pixels), axis=1)
            * tf.cast(salience > 0, tf.float32)[:, None]
        )
        moved = tf.reshape(chosen, tf.shape(slots.x))
        after = slots._replace(
            x=tf.clip_by_value(slots.x + moved * self.theta * classifier.range, low, high),
            labels=labels,
            steps=slots.steps + 1,
            queries=slots.queries + 1,
            gradient_evaluations=slots.gradient_evaluations + backward,
            exhausted=(salience <= 0) | (slots.steps >= self._max_pairs(pixels)),
            state={**slots.state, "searched": slots.state["searched"] & ~(moved > 0)},
        )
        return after, tf.argmax(logits, axis=-1) == labels

    def _salience(
        self,
        logits: tf.Tensor,
        labels: tf.Tensor,
        pullback: Callable[[tf.Tensor], tf.Tensor],
        searched: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, int]:
        """Find the best pair of pixels; return its saliency, the pair, and the backward passes."""
        sign = 1.0 if self.theta > 0 else -1.0
        if self.probabilities:
            gains = flat(-sign * pullback(cross_entropy_direction(logits, labels)))
            return *_best_two(gains, searched), 1
        target = tf.one_hot(labels, tf.shape(logits)[-1])
        gains, losses = flat(sign * pullback(target)), flat(-sign * pullback(1 - target))
        return *_best_pair(gains, losses, searched), 2

    def _max_pairs(self, pixels: Any) -> tf.Tensor:
        changed = tf.cast(self.gamma, tf.float64) * tf.cast(pixels, tf.float64)
        return tf.cast(tf.floor(changed / 2), tf.int64)


def _second_most_likely(logits: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.math.top_k(logits, 2).indices[:, 1], tf.int64)


def _random_other(logits: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    """Choose a class other than the predicted one for every slot."""
    predicted, classes = tf.argmax(logits, axis=-1), tf.shape(logits, tf.int64)[-1]
    share = randomness.uniform(keys, tf.zeros_like(predicted), ())
    further = 1 + tf.cast(share * tf.cast(classes - 1, tf.float32), tf.int64)
    return (predicted + tf.minimum(further, classes - 1)) % classes


def _best_two(gains: tf.Tensor, searched: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Find the best pair if the others lose what the target gains; see `_best_pair`."""
    best, pair = tf.math.top_k(tf.where(searched, gains, -np.inf), 2, index_type=tf.int64)
    return tf.maximum(tf.reduce_sum(best, axis=-1), 0.0), pair


def _best_pair(
    gains: tf.Tensor, losses: tf.Tensor, searched: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Find the pair of pixels with the largest saliency, for some first pixels at a time.

    Args:
        gains: How much a change of each pixel adds to the target, (slots, pixels).
        losses: How much it takes from the other classes, (slots, pixels).
        searched: Which pixels may be chosen, bool, (slots, pixels).

    Returns:
        The saliency of the best pair, float32, (slots,), 0 if there is none; and its pixels,
        int64, (slots, 2).
    """
    order, count = _contenders(gains, losses, searched)
    gains, losses, searched = (
        tf.gather(values, order, batch_dims=1) for values in (gains, losses, searched)
    )
    pixels = tf.shape(gains, tf.int64)[-1]
    rows = tf.maximum(_PAIRS_AT_ONCE // pixels, 1)

    def look(first: tf.Tensor, best: tf.Tensor, pair: tf.Tensor) -> tuple[tf.Tensor, ...]:
        at = tf.minimum(tf.range(rows) + first, pixels - 1)

        def together(values: tf.Tensor) -> tf.Tensor:
            return tf.gather(values, at, axis=1)[:, :, None] + values[:, None, :]

        gain, loss = together(gains), together(losses)
        allowed = tf.gather(searched, at, axis=1)[:, :, None] & searched[:, None, :]
        allowed &= (gain > 0) & (loss > 0) & (at[:, None] < tf.range(pixels))
        salience = flat(tf.where(allowed, gain * loss, 0.0))
        found, place = tf.reduce_max(salience, axis=-1), tf.argmax(salience, axis=-1)
        here = tf.stack([tf.gather(at, place // pixels), place % pixels], axis=-1)
        pair = tf.where((found > best)[:, None], here, pair)
        return first + rows, tf.maximum(found, best), pair

    none = tf.zeros_like(gains[:, 0])
    start = (tf.zeros_like(pixels), none, tf.zeros([tf.shape(gains)[0], 2], tf.int64))
    _, salience, pair = tf.while_loop(lambda first, *_: first < count, look, start)
    return salience, tf.gather(order, pair, batch_dims=1)


def _contenders(
    gains: tf.Tensor, losses: tf.Tensor, searched: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Find the pixels that the best pair can be made of, which are few.

    If two pixels have no smaller gain than a third and a larger loss, one of them is not in the
    third's pair, and would make a better one in its place.

    Args:
        gains: As for `_best_pair`.
        losses: As for `_best_pair`.
        searched: As for `_best_pair`.

    Returns:
        All pixels, the contenders of a slot first and in their order, int64, (slots, pixels); and
        the largest number of contenders in a slot, int64.
    """
    by_gain = tf.argsort(tf.where(searched, gains, -np.inf), direction="DESCENDING", stable=True)
    falling = tf.gather(tf.where(searched, losses, -np.inf), by_gain, batch_dims=1)
    second = tf.gather(
        _second_largest_before(falling), tf.argsort(by_gain, stable=True), batch_dims=1
    )
    contends = searched & (losses >= second)
    order = tf.argsort(tf.cast(~contends, tf.int32), stable=True)
    counts = tf.math.count_nonzero(contends, axis=-1, dtype=tf.int64)
    return tf.cast(order, tf.int64), tf.reduce_max(counts)


def _second_largest_before(values: tf.Tensor) -> tf.Tensor:
    """Find, for each place in a row, the second largest of the values before it; or -inf."""
    places = tf.range(tf.shape(values)[-1])

    def earlier(rows: tf.Tensor, by: tf.Tensor) -> tf.Tensor:
        moved = tf.gather(rows, tf.maximum(places - by, 0), axis=1)
        return tf.where(places >= by, moved, -np.inf)

    def widen(width: tf.Tensor, first: tf.Tensor, second: tf.Tensor) -> tuple[tf.Tensor, ...]:
        others, seconds = earlier(first, width), earlier(second, width)
        second = tf.maximum(tf.minimum(first, others), tf.maximum(second, seconds))
        return 2 * width, tf.maximum(first, others), second

    start = (tf.constant(1), earlier(values, tf.constant(1)), tf.fill(tf.shape(values), -np.inf))
    _, _, second = tf.while_loop(lambda width, *_: width < tf.size(places), widen, start)
    return second
