"""What the attacks share that need labels only: where they start, and how they ask."""

import abc
import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from a2d_keras.attacks.base import StepAttack
from a2d_keras.attacks.engine.shapes import column
from a2d_keras.attacks.engine.slots import Slots
from a2d_keras.classifier import Classifier
from a2d_keras.inputs import checked
from a2d_keras.validation import require_fraction, require_whole

AT_ONCE = 4  # queries of one input in a pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecisionBasedAttack(StepAttack):
    """An attack that needs labels only. It begins at noise, or else at one of `starts`.

    The first image that it asks about is the input itself, since its label is needed too.

    Args:
        distance: Distance at which the attack ends. Defaults to 0.02.
        seed: Seed of the random numbers. Defaults to 0.
        starts: Inputs of several classes to start from, float32, (n, *input_shape). Defaults to
            None.
        max_iterations: Steps after which an input counts as resisting. Defaults to 5000.
    """

    max_noise: ClassVar[int] = 1000  # images of noise to try until one is misclassified

    distance: float = 0.02
    seed: int = 0
    starts: Any = dataclasses.field(default=None, repr=False, compare=False)
    max_iterations: int = 5000
    targeted: bool = dataclasses.field(default=False, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fraction("distance", self.distance)
        require_whole("seed", self.seed, minimum=0)

    def parameters(self, classifier: Classifier) -> dict[str, tf.Tensor]:
        """Return the traced parameters, and the inputs to start from; see `Attack.parameters`."""
        if self.starts is None:
            starts = tf.zeros([0, *(side or 1 for side in classifier.input_shape)])
        else:
            starts = classifier.to_unit(checked(self.starts, classifier))
        return {**super().parameters(classifier), "starts": starts}

    @abc.abstractmethod
    def max_queries(self, classifier: Classifier, budget: int) -> int:
        """Count the queries of all starts and of all steps; see `StepAttack.max_queries`."""

    def passes_to_start(self) -> int:
        """Return the largest number of passes until an input has a start, or resists."""
        starts = 0 if self.starts is None else -(-len(self.starts) // AT_ONCE)
        return self.max_noise // AT_ONCE + starts

    def possible_starts(
        self, classifier: Classifier, queries: tf.Tensor, source: tf.Tensor, normal: tf.Tensor
    ) -> tf.Tensor:
        """Make images that the attack might start from: uniform noise, and then `starts`.

        Args:
            classifier: The `Classifier`.
            queries: Queries so far, (slots,).
            source: Inputs, (slots, values).
            normal: Normal numbers, (slots, AT_ONCE, values).

        Returns:
            Images, (slots, AT_ONCE, values). The first of all is the input.
        """
        noise = classifier.bounds[0] + classifier.range * 0.5 * (1 + to_uniform(normal))
        noise = tf.where(tf.range(AT_ONCE)[:, None] == 0, source[:, None], noise)
        noise_is_over = (queries >= self.max_noise)[:, None, None]
        return tf.where(noise_is_over, self._given(queries, source), noise)

    def lacks_start(self, queries: tf.Tensor) -> tf.Tensor:
        """Return whether all noise and all of `starts` were tried after so many queries."""
        return queries >= self.max_noise + tf.shape(self.starts, tf.int64)[0]

    def ask(
        self, classifier: Classifier, slots: Slots, images: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Ask for the labels of every slot's images.

        Args:
            classifier: The `Classifier`.
            slots: The `Slots`. The first image of a slot without queries is the input.
            images: Images, (slots, AT_ONCE, values).

        Returns:
            The inputs' labels, (slots,), and which images have another one, (slots, AT_ONCE).
        """
        batch = tf.reshape(images, tf.concat([[-1], tf.shape(slots.x)[1:]], axis=0))
        batch = tf.ensure_shape(batch, [None, *slots.x.shape[1:]])
        predicted = tf.reshape(tf.argmax(classifier.logits(batch), axis=-1), [-1, AT_ONCE])
        labels = tf.where(slots.queries == 0, predicted[:, 0], slots.labels)
        return labels, predicted != labels[:, None]

    def _given(self, queries: tf.Tensor, source: tf.Tensor) -> tf.Tensor:
        """Return the next inputs to start from, or the first source if there are none."""
        count = tf.shape(self.starts, tf.int64)[0]
        starts = tf.reshape(self.starts, [count, tf.shape(source, tf.int64)[1]])
        number = queries[:, None] - self.max_noise + tf.range(AT_ONCE, dtype=tf.int64)
        number = tf.clip_by_value(number, 0, tf.maximum(count - 1, 0))
        return tf.gather(tf.concat([starts, source[:1]], axis=0), number)


def shares_between(interval: tf.Tensor) -> tf.Tensor:
    """Divide intervals, (slots, 2), evenly; return AT_ONCE numbers inside each."""
    low, high = tf.unstack(interval[:, :, None], axis=1)
    part = tf.range(1, AT_ONCE + 1, dtype=tf.float32) / (AT_ONCE + 1)
    return low + (high - low) * part


def narrowed(interval: tf.Tensor, adversarial: tf.Tensor) -> tf.Tensor:
    """Narrow the intervals in which the prediction changes, by what `shares_between` gave."""
    low, high = tf.unstack(interval, axis=1)
    part = (high - low) / (AT_ONCE + 1)
    found = tf.reduce_any(adversarial, axis=1)
    missed = tf.where(found, _index(adversarial), np.int64(AT_ONCE))
    low += part * tf.cast(missed, tf.float32)
    return tf.stack([low, tf.where(found, low + part, high)], axis=1)


def first(mask: tf.Tensor, images: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return which slots have an image in the mask, and the first of these images, or else `x`."""
    found = tf.reduce_any(mask, axis=1)
    chosen = tf.gather(images, _index(mask), axis=1, batch_dims=1)
    return found, tf.where(found[:, None], chosen, x)


def by_phase(phase: tf.Tensor, options: list[Any]) -> Any:
    """Select the values of each slot's phase."""

    def choose(*values: tf.Tensor) -> tf.Tensor:
        chosen = values[-1]
        for number, value in enumerate(values[:-1]):
            chosen = tf.where(column(phase == number, value), value, chosen)
        return chosen

    return tf.nest.map_structure(choose, *options)


def to_uniform(normal: tf.Tensor) -> tf.Tensor:
    """Turn normal numbers into uniform ones between -1 and 1."""
    return tf.math.erf(normal / np.sqrt(2))


def mean_square(x: tf.Tensor) -> tf.Tensor:
    """Return the mean square of the last axis."""
    return tf.reduce_mean(x * x, axis=-1)


def _index(mask: tf.Tensor) -> tf.Tensor:
    return tf.argmax(tf.cast(mask, tf.float32), axis=1)
