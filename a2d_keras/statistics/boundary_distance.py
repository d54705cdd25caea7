"""The distance to the nearest decision boundary, by linearisation."""

import dataclasses
from typing import ClassVar

import keras
import tensorflow as tf

from a2d_keras.attacks.engine.margins import lead, margin_to_each
from a2d_keras.attacks.engine.shapes import column, flat
from a2d_keras.classifier import Classifier
from a2d_keras.statistics.base import Passes, Statistic, Tensors
from a2d_keras.statistics.view import View
from a2d_keras.validation import require_choice, require_whole

_NORMS = ("inf", "2")


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class BoundaryDistance(Statistic):
    """The distance to the nearest decision boundary, for the price of one gradient.

    The margin, divided by the dual norm of its gradient, is the distance to the boundary of a
    linear classifier (Moosavi-Dezfooli et al. 2016, DeepFool, Section 2). It ranks inputs as the
    cost of BIM does, which is the number of steps to the same boundary.

    A zero gradient says nothing about the distance. Its value is 0, the most suspicious one, so
    that an input cannot look far because its gradient vanishes.

    Args:
        secant: Whether to correct the distance by one forward pass. The input takes a step as
            long as the distance towards the boundary of its linearisation, within the bounds. The
            secant from the margin over each other class before the step, to that after it, says
            where the margin is zero; the first of these is the distance. If no margin falls, the
            distance stays as it was. Defaults to False.
        norm: The norm of the distance, `"inf"` or `"2"`. Defaults to `"inf"`.
        classes: How many other classes to measure the distance to, those with the largest logits,
            at a gradient each. Defaults to 1. With `secant=True` it must be 1, since the secant
            goes to all classes.
        tail: Which values are suspicious. Defaults to `"low"`.

    Raises:
        ValueError: If a parameter is out of range.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> view = View.of(Classifier(model), tf.ones((2, 4)))
        >>> BoundaryDistance().measure(view, {}).shape
        TensorShape([2])
    """

    needs_gradient: ClassVar[bool] = True

    secant: bool = False
    norm: str = "inf"
    classes: int = 1

    def __post_init__(self) -> None:
        require_whole("classes", self.classes)
        require_choice("norm", self.norm, _NORMS)
        super().__post_init__()
        if self.secant and self.classes > 1:
            raise ValueError(
                "A secant goes to all classes: use `classes=1` or `secant=False`. "
                f"Received: {self.classes} classes and a secant"
            )

    def passes(self, classifier: Classifier) -> Passes:
        """Return the passes beyond the shared gradient; see `Statistic.passes`."""
        return Passes(1 if self.secant else 0, self._others(classifier) - 1)

    def measure(self, view: View, state: Tensors) -> tf.Tensor:
        """Compute the distance as a fraction of the input range; see `Statistic.measure`."""
        distance = self._distance(view, view.margin, view.gradient)
        for place in range(1, self._others(view.classifier)):
            distance = tf.minimum(distance, self._distance_to(view, place))
        return self._corrected(view, distance) if self.secant else distance

    def _others(self, classifier: Classifier) -> int:
        return min(self.classes, classifier.classes - 1)

    def _distance_to(self, view: View, place: int) -> tf.Tensor:
        direction = lead(view.logits, view.labels, place)
        margins = tf.sort(margin_to_each(view.logits, view.labels))[:, place]
        distance = self._distance(view, margins, view.pullback(direction))
        return tf.where(margins < margins.dtype.max, distance, self._limit(view))  # or masked

    def _distance(self, view: View, margins: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        """Divide margins by the dual norm; 0 for a zero gradient, and at most the whole range."""
        values = flat(gradient)
        largest = tf.reduce_max(tf.abs(values), axis=-1)  # apart, since a norm may underflow
        norms = tf.norm(_unit_maximum(values, largest), ord=1 if self.norm == "inf" else 2, axis=-1)
        margins /= tf.cast(view.classifier.unit.range, tf.float32)
        distance = tf.math.divide_no_nan(margins / tf.maximum(norms, 1.0), largest)
        return tf.minimum(distance, self._limit(view))

    def _limit(self, view: View) -> tf.Tensor:
        """Return the distance between two corners of the bounds."""
        values = tf.cast(tf.size(view.x[:1]), tf.float32)
        return tf.sqrt(values) if self.norm == "2" else tf.ones_like(values)

    def _corrected(self, view: View, distance: tf.Tensor) -> tf.Tensor:
        """Divide the distance by the largest share of a margin that a step of its length takes."""
        moved = view.classifier.unit.shared_logits(self._toward_boundary(view, distance))
        before, after = (margin_to_each(each, view.labels) for each in (view.logits, moved))
        share = tf.reduce_max(1.0 - tf.math.divide_no_nan(after, before), axis=-1)
        corrected = distance / tf.where(share > 0, share, 1.0)
        return tf.minimum(corrected, self._limit(view))

    def _toward_boundary(self, view: View, distance: tf.Tensor) -> tf.Tensor:
        direction = tf.sign(view.gradient)
        if self.norm == "2":
            values = flat(view.gradient)
            largest = tf.reduce_max(tf.abs(values), axis=-1)
            direction = tf.math.l2_normalize(_unit_maximum(values, largest), axis=-1)
            direction = tf.reshape(direction, tf.shape(view.x))
        unit = view.classifier.unit
        length = column(distance, view.x) * tf.cast(unit.range, tf.float32)
        return tf.clip_by_value(view.x - length * direction, *unit.bounds)


def _unit_maximum(values: tf.Tensor, largest: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(values, largest[:, None])
