"""LSA: the local search attack, which needs probabilities and no gradient."""

import dataclasses
import numbers
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.attacks.base import StepAttack
from a2d_keras.attacks.engine import randomness
from a2d_keras.attacks.engine.slots import Slots
from a2d_keras.classifier import Classifier
from a2d_keras.validation import require_fraction, require_whole

_AT_ONCE = 8  # images of one input in a pass
_MAX_CANDIDATES = 128
_NONE = np.int64(-1)  # instead of a pixel
_NO_DOUBT = np.float32(-np.inf)


class _Search(NamedTuple):
    """The progress of each slot in its round."""

    key: tf.Tensor  # of its random numbers
    nearby: tf.Tensor  # pixels that may be candidates, bool, (slots, height, width)
    asked: tf.Tensor  # images of this round that were classified
    best: tf.Tensor  # their candidates that lower the label's probability most, (slots, t)
    doubt: tf.Tensor  # the log-odds of these against the label


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LSA(StepAttack):
    """Local Search Attack (Narodytska & Kasiviswanathan 2016, LocSearchAdv). It needs no gradient.

    The form and the defaults are Foolbox 1.8's. Values are measured from the middle of the input
    range, as fractions of it: from -1/2 to 1/2. Each step is a round. It sets candidate pixels,
    one at a time, to `p` times their sign, far out of bounds. Then it multiplies the `t` pixels
    that lowered the probability of the label most by `r`; values that leave the range wrap
    around. The next candidates are the pixels at most `d` rows and `d` columns from these, up to
    128 of them, chosen at random. In the first round they are a tenth of all pixels.

    A pixel is all channels of one place. An input at the middle of the range everywhere cannot
    move, and resists. A round is classified eight images at a time, beginning with the unchanged
    image.

    Args:
        r: Factor by which a pixel is multiplied, at most 2. Defaults to 1.5.
        p: Size of a candidate pixel, as a fraction of the input range. Defaults to 10.0.
        d: Rows and columns around a changed pixel to search next. Defaults to 5.
        t: Pixels changed in a step. Defaults to 5.
        seed: Seed of the random numbers, which depend on the input and not on its batch. Defaults
            to 0.
        max_iterations: Steps after which an input counts as resisting. Defaults to 150.

    Examples:
        >>> layers = [keras.layers.Flatten(), keras.layers.Dense(3)]
        >>> model = keras.Sequential([keras.Input((2, 2)), *layers])
        >>> LSA()(Classifier(model), np.full((3, 2, 2), 0.7)).gradient_evaluations
        array([0, 0, 0])
    """

    traced = ("r", "p", "seed", "max_iterations")

    r: float = 1.5
    p: float = 10.0
    d: int = 5
    t: int = 5
    seed: int = 0
    max_iterations: int = 150
    targeted: bool = dataclasses.field(default=False, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.r, numbers.Real) or not 0 < float(self.r) <= 2:
            raise ValueError(f"`r` must be a positive number, at most 2. Received: {self.r}")
        require_fraction("p", self.p)
        require_whole("d", self.d, minimum=0)
        require_whole("t", self.t)
        require_whole("seed", self.seed, minimum=0)

    def require(self, classifier: Classifier) -> None:
        """Refuse a classifier whose inputs are not images."""
        if len(classifier.input_shape) not in (2, 3):
            raise ValueError(
                "LSA needs a classifier of images, with the shape (height, width) or (height, "
                f"width, channels). Received: inputs of the shape {classifier.input_shape}"
            )

    def start(self, classifier: Classifier, inputs: tf.Tensor) -> Any:
        """Begin the first round; see `StepAttack.start`."""
        images = _images(classifier, inputs)
        shape = tf.shape(images)
        return _Search(
            key=randomness.keys(images, self.seed),
            nearby=tf.fill(shape[:3], True),
            asked=tf.zeros(shape[:1], tf.int64),
            best=tf.fill([shape[0], self.t], _NONE),
            doubt=tf.fill([shape[0], self.t], _NO_DOUBT),
        )

    def max_queries(self, classifier: Classifier, budget: int) -> int:
        """Count rounds with all candidates, in full passes; see `StepAttack.max_queries`."""
        passes = -(-(1 + _MAX_CANDIDATES) // _AT_ONCE)
        return _AT_ONCE * (passes * budget + 1)

    def step(self, classifier: Classifier, slots: Slots) -> tuple[Slots, tf.Tensor]:
        """Classify a few images of every slot: a complete round, or a part of one."""
        search, x = slots.state, _pixels(classifier, slots.x)
        value = (x - _middle(classifier)) / classifier.range
        candidates = _candidates(slots)
        now = _part(candidates, search.asked)
        far = _from_middle(classifier, tf.cast(self.p, tf.float32) * tf.sign(value))
        images = tf.where(_marks(now, x)[..., None], far[:, None], x[:, None])
        logits = _ask(classifier, images, slots.x)
        predicted = tf.argmax(logits[:, 0], axis=-1)
        labels = tf.where(slots.queries == 0, predicted, slots.labels)

        left = 1 + tf.math.count_nonzero(candidates != _NONE, axis=1) - search.asked
        done = left <= _AT_ONCE
        search = _remember(search, now, _doubt(logits, labels))
        changed = tf.reduce_any(_marks(search.best, x), axis=1)
        moved = tf.where((changed & done[:, None])[..., None], self._moved(classifier, value), x)
        after = slots._replace(
            x=_inputs(classifier, moved, slots.x),
            labels=labels,
            steps=slots.steps + tf.cast(done, tf.int64),
            queries=slots.queries + tf.minimum(left, _AT_ONCE),
            exhausted=tf.reduce_all(value == 0, axis=[1, 2]),
            state=self._next_round(search, changed, done),
        )
        return after, (slots.state.asked == 0) & (predicted != labels)

    def _moved(self, classifier: Classifier, value: tf.Tensor) -> tf.Tensor:
        """Multiply values by `r`, and wrap around the ends of the input range."""
        value = tf.cast(self.r, tf.float32) * value
        return tf.clip_by_value(
            _from_middle(classifier, value - tf.round(value)), *classifier.bounds
        )

    def _next_round(self, search: _Search, changed: tf.Tensor, done: tf.Tensor) -> _Search:
        """Begin another round, near the changed pixels, in slots whose round is done."""
        image = tf.reshape(tf.cast(changed, tf.float32), tf.shape(search.nearby))
        nearby = tf.nn.max_pool2d(image[..., None], 2 * self.d + 1, 1, "SAME")[..., 0] > 0
        return search._replace(
            nearby=tf.where(done[:, None, None], nearby, search.nearby),
            asked=tf.where(done, np.int64(0), search.asked + _AT_ONCE),
            best=tf.where(done[:, None], _NONE, search.best),
            doubt=tf.where(done[:, None], _NO_DOUBT, search.doubt),
        )


def _candidates(slots: Slots) -> tf.Tensor:
    """Choose the pixels to try in a round, the same in every pass; int64, (slots, some)."""
    shape = tf.shape(slots.state.nearby)
    pixels = shape[1] * shape[2]
    nearby = tf.reshape(slots.state.nearby, [shape[0], pixels])
    draw = randomness.uniform(slots.state.key, slots.steps, [pixels])
    some = tf.minimum(pixels, _MAX_CANDIDATES)
    order = tf.math.top_k(tf.where(nearby, draw, -1.0), some).indices
    allowed = tf.where(slots.steps == 0, tf.maximum(pixels // 10, 1), pixels)
    count = tf.minimum(tf.math.count_nonzero(nearby, axis=1, dtype=tf.int32), allowed)
    return tf.where(tf.range(some) < count[:, None], tf.cast(order, tf.int64), _NONE)


def _part(candidates: tf.Tensor, asked: tf.Tensor) -> tf.Tensor:
    """Return the pixels of the next images. The first image of a round changes none."""
    images = tf.pad(candidates, [[0, 0], [1, _AT_ONCE]], constant_values=_NONE)
    return tf.gather(images, asked[:, None] + tf.range(_AT_ONCE, dtype=tf.int64), batch_dims=1)


def _ask(classifier: Classifier, images: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Compute the logits of every slot's images, (slots, _AT_ONCE, classes)."""
    pixels = tf.reshape(images, [-1, *tf.unstack(tf.shape(images)[2:])])
    logits = classifier.logits(_inputs(classifier, pixels, like))
    return tf.reshape(logits, [-1, _AT_ONCE, classifier.classes])


def _doubt(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Compute the log-odds against the label. Unlike its probability, they never saturate."""
    label = tf.one_hot(labels, tf.shape(logits)[-1], on_value=True, off_value=False)[:, None]
    others = tf.reduce_logsumexp(tf.where(label, logits.dtype.min, logits), axis=-1)
    return others - tf.reduce_sum(tf.where(label, logits, 0.0), axis=-1)


def _remember(search: _Search, pixels: tf.Tensor, doubt: tf.Tensor) -> _Search:
    """Keep the pixels with the most doubt, and of equal ones the earlier."""
    doubt = tf.where(pixels == _NONE, _NO_DOUBT, doubt)
    doubt = tf.concat([search.doubt, doubt], axis=1)
    doubt, order = tf.math.top_k(doubt, tf.shape(search.doubt)[1])
    best = tf.gather(tf.concat([search.best, pixels], axis=1), order, batch_dims=1)
    return search._replace(best=best, doubt=doubt)


def _marks(pixels: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Mark each of some pixels in its own image, bool, (slots, some, pixels)."""
    return pixels[:, :, None] == tf.range(tf.shape(x, tf.int64)[1])


def _from_middle(classifier: Classifier, value: tf.Tensor) -> tf.Tensor:
    return _middle(classifier) + classifier.range * value


def _middle(classifier: Classifier) -> Any:
    low, high = classifier.bounds
    return (low + high) / 2


def _images(classifier: Classifier, x: tf.Tensor) -> tf.Tensor:
    """Put the channels of images last, if they have any."""
    return tf.transpose(x, [0, 2, 3, 1]) if _channels_first(classifier) else x


def _pixels(classifier: Classifier, x: tf.Tensor) -> tf.Tensor:
    """Lay out images, with or without channels, as (slots, pixels, channels)."""
    shape = tf.shape(_images(classifier, x))
    pixels = [shape[0], shape[1] * shape[2], tf.reduce_prod(shape[3:])]
    return tf.reshape(_images(classifier, x), pixels)


def _inputs(classifier: Classifier, pixels: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Lay out pixels, (n, pixels, channels), as the classifier's inputs."""
    if _channels_first(classifier):
        pixels = tf.transpose(pixels, [0, 2, 1])
    x = tf.reshape(pixels, tf.concat([[-1], tf.shape(like)[1:]], axis=0))
    return tf.ensure_shape(x, [None, *like.shape[1:]])


def _channels_first(classifier: Classifier) -> bool:
    return classifier.takes_images and classifier.data_format == "channels_first"
