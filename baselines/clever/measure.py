"""`Clever`: how far an input can move before another class can win, estimated."""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from a2d_keras.attacks.engine.shapes import flat
from a2d_keras.validation import require_choice, require_positive, require_whole
from baselines.clever.sampling import ball, shrunken_ball
from baselines.clever.weibull import largest_possible
from baselines.digests import digest

_DUAL = {"1": np.inf, "2": 2, "inf": 1}  # the norm of gradients for each norm of distances
_POOL = 10  # times the samples of a maximum


@dataclasses.dataclass(frozen=True, kw_only=True)
class CleverOptions:
    """How CLEVER scores are estimated.

    Args:
        outputs: What is compared between classes: `"logits"`, as the authors do, or
            `"probabilities"`. Defaults to `"logits"`.
        norm: The norm of distances, `"1"`, `"2"` or `"inf"`. Gradients are measured in its dual.
            Defaults to `"2"`.
        radius: The radius of the ball that is sampled, in the units of the input. Defaults to 5.
        samples: The points that each maximum is taken over. Defaults to 64; the authors take
            1,024.
        maxima: The maxima that the distribution is fitted to, at least 2. Defaults to 50; the
            authors take 500.
        sampling: `"fresh"` draws new points for each maximum, half of them in the inner half of
            the ball, as the authors do. `"pool"` draws 10 times `samples` points uniformly from
            the ball, and each maximum from these with replacement, as ART does. Defaults to
            `"fresh"`.
        capped: Whether no score is above `radius`, as in ART. Defaults to False, as by the
            authors.
        seed: Seed of the points, not negative. Defaults to 0.

    Raises:
        ValueError: If a parameter is out of range.
    """

    outputs: str = "logits"
    norm: str = "2"
    radius: float = 5.0
    samples: int = 64
    maxima: int = 50
    sampling: str = "fresh"
    capped: bool = False
    seed: int = 0

    def __post_init__(self):
        require_choice("outputs", self.outputs, ("logits", "probabilities"))
        require_choice("norm", self.norm, tuple(_DUAL))
        require_positive("radius", self.radius)
        require_whole("samples", self.samples)
        require_whole("maxima", self.maxima, minimum=2)
        require_choice("sampling", self.sampling, ("fresh", "pool"))
        require_whole("seed", self.seed, minimum=0)


class Scores(NamedTuple):
    """The scores of n inputs against the classes ranked second, third and so on.

    Attributes:
        scores: The scores, float64, (n, classes - 1), infinite where no gradient was found. The
            smallest in a row is the untargeted score.
        leads: The leads of the predicted class over the others, like `scores`.
        limits: The estimated lengths of the longest gradients of these leads, like `scores`.
        maxima: What these were estimated from, float64, (n, maxima, classes - 1).
    """

    scores: np.ndarray
    leads: np.ndarray
    limits: np.ndarray
    maxima: np.ndarray


class Clever:
    """CLEVER (Weng et al. 2018): a lower bound, estimated, of the distance to another class.

    The lead of the predicted class over a target cannot fall faster than its gradient is long. So
    the distance to the boundary is at least the lead divided by the longest gradient in a ball
    round the input, which extreme value theory estimates from random points (Algorithms 1 and 2).
    All targets of an input share the points.

    Args:
        classifier: The `a2d_keras.Classifier`.
        options: The `CleverOptions`. Defaults to `CleverOptions()`.

    Examples:
        >>> import keras
        >>> from a2d_keras import Classifier
        >>> dense = keras.layers.Dense(3, "softmax", kernel_initializer="identity")
        >>> linear = keras.Sequential([keras.Input((3,)), dense])
        >>> clever = Clever(Classifier(linear))
        >>> print(clever(np.array([[0.9, 0.5, 0.1]])).scores.round(3))  # 0.4 / √2 and 0.8 / √2
        [[0.283 0.566]]
    """

    def __init__(self, classifier, *, options=None):
        self.classifier = classifier
        self.options = options or CleverOptions()
        spec = tf.TensorSpec((None, *classifier.input_shape)), tf.TensorSpec((None,), tf.int64)
        self._compiled = tf.function(self._lengths, input_signature=spec, autograph=False)

    def __call__(self, x):
        """Score inputs against every class but the predicted one.

        Args:
            x: Inputs within the bounds, float32, (n, *input_shape).

        Returns:
            The `Scores`.
        """
        x = np.asarray(x, "float32")
        order, leads = self._leads(x)
        shape = (len(x), self.options.maxima, self.classifier.classes - 1)
        maxima = [self._maxima(each, classes) for each, classes in zip(x, order, strict=True)]
        maxima = np.reshape(maxima, shape)
        limits = np.apply_along_axis(largest_possible, 1, maxima) if len(x) else leads
        # Where no gradient was found, nothing leads to the other class.
        scores = np.divide(leads, limits, out=np.full_like(leads, np.inf), where=limits > 0)
        if self.options.capped:
            scores = np.minimum(scores, self.options.radius)
        return Scores(scores, leads, limits, maxima)

    def _maxima(self, x, classes):
        """Find the longest gradients of the leads of the first of some classes over the others."""
        options = self.options
        generator = np.random.default_rng([options.seed, int(digest(x), 16)])
        fresh = options.sampling == "fresh"
        draw, times = (shrunken_ball, options.maxima) if fresh else (ball, _POOL)
        lengths = np.stack([self._measured(generator, x, classes, draw) for _ in range(times)])
        if not fresh:
            pool = np.concatenate(lengths)
            lengths = pool[generator.integers(len(pool), size=(options.maxima, options.samples))]
        return lengths.max(axis=1)

    def _measured(self, generator, x, classes, draw):
        """Draw `samples` points round an input, and measure the gradients there."""
        options = self.options
        offsets = options.radius * draw(generator, options.samples, x.size, options.norm)
        points = np.clip(x + offsets.reshape(-1, *x.shape), *self.classifier.bounds)
        return self._compiled(points, classes).numpy()

    def _lengths(self, points, classes):
        """Measure the gradients of the leads in the dual norm. Graph code."""
        logits, pullback = self.classifier.vjp(points)
        sides = tf.one_hot(classes, self.classifier.classes, dtype=tf.float64)
        lengths = []
        for place in range(1, self.classifier.classes):
            direction = self._direction(logits, sides[0] - sides[place])
            gradient = tf.cast(flat(pullback(direction)), tf.float64)  # squares underflow sooner
            lengths.append(tf.norm(gradient, ord=_DUAL[self.options.norm], axis=-1))
        return tf.stack(lengths, axis=-1)

    def _direction(self, logits, side):
        """Express a difference of two outputs as a direction at the logits."""
        if self.options.outputs == "logits":
            return tf.cast(tf.broadcast_to(side, tf.shape(logits)), tf.float32)
        probabilities = tf.nn.softmax(tf.cast(logits, tf.float64))
        lead = tf.reduce_sum(side * probabilities, axis=-1, keepdims=True)
        return tf.cast(probabilities * (side - lead), tf.float32)

    def _leads(self, x):
        logits = self.classifier.logits(x).numpy().astype("float64")
        order = np.argsort(-logits, axis=1, kind="stable")
        outputs = logits
        if self.options.outputs == "probabilities":
            outputs = tf.nn.softmax(logits).numpy()
        ranked = np.take_along_axis(outputs, order, axis=1)
        return order, ranked[:, :1] - ranked[:, 1:]
