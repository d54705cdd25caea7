"""The distance to a change of the label along random directions, from labels alone."""

import dataclasses
import math
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.attacks.engine.shapes import column
from a2d_keras.classifier import Classifier
from a2d_keras.statistics.base import Passes, Statistic, Tensors
from a2d_keras.statistics.view import View
from a2d_keras.validation import require_whole

_SIZES = np.geomspace(1e-3, 2.0, 32).astype("float32")  # of the steps, in input ranges
_QUERIES = int(math.log2(len(_SIZES)))  # to find the first of the sizes that flips
_SIDE = 4  # of the coarse noise that directions are made of


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelDistance(Statistic):
    """The distance at which the label flips along smooth random directions.

    It needs labels only: neither a gradient nor probabilities, like the boundary attack's cost
    (Brendel, Rauber, Bethge 2018), but 5 queries a direction instead of thousands. For each
    direction, bisection finds the first of 32 step sizes that flips the label. The statistic is
    the mean index over the half of the directions that flip first, a logarithmic distance.

    Directions are noise of 4×4 pixels, scaled up, for images: it flips labels at smaller sizes
    than white noise, which other inputs get. All inputs have the same directions.

    Args:
        directions: The number of directions. Defaults to 39, which makes 195 queries.
        seed: Seed of the directions. Defaults to 0.
        tail: Which values are suspicious. Defaults to `"low"`.

    Raises:
        ValueError: If a parameter is out of range.

    Examples:
        >>> LabelDistance().passes(None)
        Passes(queries=195, gradient_evaluations=0)
    """

    differentiable: ClassVar[bool] = False

    directions: int = 39
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("directions", self.directions)
        require_whole("seed", self.seed, minimum=0)

    def passes(self, classifier: Classifier) -> Passes:
        """Return five passes a direction; see `Statistic.passes`."""
        return Passes(queries=_QUERIES * self.directions)

    def measure(self, view: View, state: Tensors) -> tf.Tensor:
        """Compute the mean index of the nearer flips; see `Statistic.measure`."""
        unit, labels, range_ = view.classifier.unit, view.labels, view.classifier.unit.range

        def first_flip(direction: tf.Tensor) -> tf.Tensor:
            below = tf.fill(tf.shape(labels), -1)
            above = tf.fill(tf.shape(labels), len(_SIZES) - 1)  # never tried: no flip was seen
            for _ in range(_QUERIES):
                middle = (below + above) // 2
                size = column(tf.gather(_SIZES, tf.maximum(middle, 0)), view.x)
                moved = tf.clip_by_value(view.x + range_ * size * direction, *unit.bounds)
                flips = tf.argmax(unit.shared_logits(moved), axis=-1) != labels
                above = tf.where(flips, middle, above)
                below = tf.where(flips, below, middle)
            return tf.cast(above, tf.float32)

        indices = tf.sort(
            tf.map_fn(first_flip, self._directions(view), fn_output_signature=tf.float32), axis=0
        )
        return tf.reduce_mean(indices[: math.ceil(self.directions / 2)], axis=0)

    def require(self, classifier: Classifier) -> None:
        """Refuse inputs, other than images, of no fixed shape; see `Statistic.require`."""
        if not classifier.takes_images and None in classifier.input_shape:
            raise ValueError(
                "Directions need inputs of a fixed shape, or images. "
                f"Received: inputs of shape {classifier.input_shape}"
            )

    def _directions(self, view: View) -> tf.Tensor:
        """Make directions with a root mean square of 1, (directions, *input_shape)."""
        classifier = view.classifier
        if not classifier.takes_images:
            directions = self._noise(*classifier.input_shape)
        else:
            last = classifier.data_format == "channels_last"
            sides = tf.shape(view.x)[1:3] if last else tf.shape(view.x)[2:]
            directions = tf.image.resize(self._noise(_SIDE, _SIDE, classifier.channels), sides)
            directions = directions if last else tf.transpose(directions, [0, 3, 1, 2])
        axes = list(range(1, len(directions.shape)))
        return directions / tf.sqrt(tf.reduce_mean(directions**2, axes, keepdims=True))

    def _noise(self, *shape: int | None) -> tf.Tensor:
        size = [self.directions, *(side or 1 for side in shape)]  # no side is open here
        return tf.constant(np.random.default_rng(self.seed).standard_normal(size, "float32"))
