"""`View`: what the statistics of an input share, computed once."""

import functools
import math
from collections.abc import Callable

import tensorflow as tf

from a2d_keras.attacks.engine.margins import lead, margin
from a2d_keras.classifier import Classifier
from a2d_keras.classifier.classifier import Pass
from a2d_keras.classifier.logits import last_hidden

Pullback = Callable[[tf.Tensor], tf.Tensor]


class View:
    """Inputs, and one pass of the classifier over them. Graph code.

    Whatever is not asked for is not computed.

    Args:
        classifier: The `Classifier`.
        x: Inputs of its `unit`, float32, (n, *input_shape).
        found: The `Pass` over these inputs, if there was one.
        slots: Inputs under attack at once, for attack costs. Defaults to 128.
        seed: Seed of random views. A verdict takes 0, the default; other draws need others.

    Attributes:
        classifier: As given.
        x: As given.
        slots: As given.
        seed: As given.

    Examples:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> View.of(Classifier(model), tf.ones((2, 4))).gradient.shape
        TensorShape([2, 4])
    """

    def __init__(
        self,
        classifier: Classifier,
        x: tf.Tensor,
        found: Pass | None = None,
        *,
        slots: int | str = 128,
        seed: int = 0,
    ) -> None:
        self.classifier = classifier
        self.x = x
        self.slots = slots
        self.seed = seed
        self._found = found

    @classmethod
    def of(cls, classifier: Classifier, x: tf.Tensor, *, slots: int | str = 128) -> "View":
        """View inputs of a classifier.

        Args:
            classifier: The `Classifier`.
            x: Inputs within the bounds, float32, (n, *input_shape).
            slots: As for the class.

        Returns:
            The `View`.
        """
        return cls(classifier, classifier.to_unit(x), slots=slots)

    def drawn(self, seed: int) -> "View":
        """View the same inputs with other random views. Both share one pass.

        Args:
            seed: The seed.

        Returns:
            The other `View`.
        """
        found = Pass(None, *self._read)
        return View(self.classifier, self.x, found, slots=self.slots, seed=seed)

    @functools.cached_property
    def _read(self) -> tuple[tf.Tensor, Pullback]:
        if self._found is not None:
            return self._found.logits, self._found.pullback
        return self.classifier.unit.vjp(self.x)

    @property
    def logits(self) -> tf.Tensor:
        """The logits, float32, (n, classes)."""
        return self._read[0]

    @functools.cached_property
    def labels(self) -> tf.Tensor:
        """The predicted classes, int64, (n,)."""
        return tf.argmax(self.logits, axis=-1)

    @functools.cached_property
    def margin(self) -> tf.Tensor:
        """The lead of the predicted class over the next, in logits, float32, (n,)."""
        return margin(self.logits, self.labels)

    @functools.cached_property
    def gradient(self) -> tf.Tensor:
        """The gradient of the margin, like `x`."""
        return self.pullback(lead(self.logits, self.labels))

    @functools.cached_property
    def hidden(self) -> tf.Tensor:
        """The activations in the last hidden layer, float32, (n, values). Only in a graph."""
        activations = tf.cast(last_hidden(self.logits), tf.float32)
        return tf.reshape(activations, [-1, math.prod(activations.shape[1:])])

    def pullback(self, direction: tf.Tensor) -> tf.Tensor:
        """Map a direction at the logits to the inputs, by a backward pass.

        Args:
            direction: The direction, float32, (n, classes).

        Returns:
            The vector-Jacobian product, like `x`.
        """
        return self._read[1](direction)
