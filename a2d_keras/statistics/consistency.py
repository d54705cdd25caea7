"""How much of the margin is left under views that keep the label."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.attacks.engine import randomness
from a2d_keras.classifier import Classifier
from a2d_keras.statistics.base import Passes, State, Statistic, Tensors
from a2d_keras.statistics.view import View, margin
from a2d_keras.warn import warn

_SURVIVAL = 0.9  # the least share of benign predictions that survive a view which is kept
_BATCH = 256
_NOISE = 0.02  # standard deviation, as a fraction of the input range
_NOISE_VIEW = "noise"
_FEW = 1000  # benign inputs to choose the views on


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Consistency(Statistic):
    """The margin, less the mean margin over views that keep the label.

    A benign input keeps its margin when it is flipped, shifted or slightly noisy. An adversarial
    perturbation is made for one exact image, and loses its effect (Tian, Yang, Cai 2018). So the
    loss is large also for strong attacks, which go far beyond the boundary.

    `fit` keeps the views under which at least 90 % of benign predictions survive: a flip changes
    digits, and keeps photographs. Views that were not kept take no pass. If none is, the statistic
    is 0, with a warning.

    Args:
        views: Names of views: `"flip"`, `"left"`, `"right"`, `"up"` and `"down"` (a shift by one
            pixel, for images) and `"noise"` (Gaussian, of 0.02 of the input range). By default all
            that suit the input.
        tail: Which values are suspicious. Defaults to `"high"`.

    Raises:
        ValueError: If a view or the tail is unknown.

    Examples:
        >>> Consistency(views=("flip", "noise")).views
        ('flip', 'noise')
    """

    learns: ClassVar[bool] = True

    views: Sequence[str] | None = None
    tail: str = "high"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views is None:
            return
        object.__setattr__(self, "views", tuple(self.views))  # the dataclass is frozen
        unknown = [name for name in self.views if name not in VIEWS]
        if unknown or not self.views:
            names = ", ".join(VIEWS)
            raise ValueError(f"`views` must be among {names}. Received: {self.views}")

    def require(self, classifier: Classifier) -> None:
        """Refuse views of images for inputs that are none; see `Statistic.require`."""
        wrong = [name for name in self._names(classifier) if name not in _suitable(classifier)]
        if wrong:
            raise ValueError(
                "Flips and shifts are views of images: use `views=None` or noise. "
                f"Received: {wrong} for inputs of shape {classifier.input_shape}"
            )

    def passes(self, classifier: Classifier) -> Passes:
        """Return one pass for each view; see `Statistic.passes`."""
        return Passes(queries=len(self._names(classifier)))

    def initial_state(self, classifier: Classifier) -> State:
        """Return which views are kept: all."""
        return {"kept": np.ones(len(self._names(classifier)), "bool")}

    def fit(
        self, classifier: Classifier, benign: Any, false_positive_rate: float, slots: int | str
    ) -> State:
        """Keep the views under which benign predictions survive; see `Statistic.fit`."""
        names = self._names(classifier)
        survived = tf.function(lambda x: self._survived(classifier, x), autograph=False)
        x = inputs.first(benign, classifier, _FEW)
        parts = [survived(x[start : start + _BATCH]) for start in range(0, len(x), _BATCH)]
        kept = np.concatenate(parts, axis=1).mean(axis=1) >= _SURVIVAL
        if not kept.any():
            warn(
                "Benign predictions survive no view, so their consistency says nothing and is 0 "
                f"for every input. Received: {', '.join(names)}"
            )
        return {"kept": kept}

    def kept(self, classifier: Classifier, state: State) -> list[str]:
        """List the views that `fit` kept.

        Args:
            classifier: The `Classifier`.
            state: What `fit` returned.

        Returns:
            Their names.
        """
        names = self._names(classifier)
        return [name for name, kept in zip(names, np.asarray(state["kept"]), strict=True) if kept]

    def describe(self, classifier: Classifier, state: State) -> str:
        """Name the views that were kept; see `Statistic.describe`."""
        return f"{self}, under {', '.join(self.kept(classifier, state)) or 'no view'}"

    def measure(self, view: View, state: Tensors) -> tf.Tensor:
        """Compute the loss of margin; see `Statistic.measure`."""
        total = tf.zeros_like(view.margin)
        for place, name in enumerate(self._names(view.classifier)):
            total += tf.cond(
                state["kept"][place],
                lambda name=name: margin(_logits(view, name), view.labels),
                lambda: tf.zeros_like(view.margin),
            )
        count = tf.math.count_nonzero(state["kept"], dtype=tf.float32)
        return tf.where(count > 0, view.margin - total / tf.maximum(count, 1.0), 0.0)

    def _names(self, classifier: Classifier) -> Sequence[str]:
        return _suitable(classifier) if self.views is None else self.views

    def _survived(self, classifier: Classifier, x: tf.Tensor) -> tf.Tensor:
        view = View.of(classifier, x)
        names = self._names(classifier)
        return tf.stack([margin(_logits(view, name), view.labels) > 0 for name in names])


def _logits(view: View, name: str) -> tf.Tensor:
    return view.classifier.unit.logits(VIEWS[name](view))


def _suitable(classifier: Classifier) -> tuple[str, ...]:
    return tuple(VIEWS) if classifier.takes_images else (_NOISE_VIEW,)


def _flipped(view: View) -> tf.Tensor:
    return tf.reverse(view.x, [_axes(view)[1]])


def _shifted(rows: int, columns: int, view: View) -> tf.Tensor:
    """Shift by a pixel; the border that comes free repeats what was there."""
    x = view.x
    for axis, by in zip(_axes(view), (rows, columns), strict=True):
        if by:
            size = tf.shape(x)[axis]
            places = tf.clip_by_value(tf.range(size) - by, 0, size - 1)
            x = tf.gather(x, places, axis=axis)
    return x


def _noisy(view: View) -> tf.Tensor:
    unit, keys = view.classifier.unit, randomness.keys(view.x, 0)
    noise = randomness.normal(keys, tf.zeros_like(keys), tf.unstack(tf.shape(view.x))[1:])
    return tf.clip_by_value(view.x + _NOISE * unit.range * noise, *unit.bounds)


def _axes(view: View) -> tuple[int, int]:
    """Return the axes of rows and columns of images."""
    return (1, 2) if view.classifier.data_format == "channels_last" else (2, 3)


VIEWS: dict[str, Callable[[View], tf.Tensor]] = {
    "flip": _flipped,
    "left": functools.partial(_shifted, 0, -1),
    "right": functools.partial(_shifted, 0, 1),
    "up": functools.partial(_shifted, -1, 0),
    "down": functools.partial(_shifted, 1, 0),
    _NOISE_VIEW: _noisy,
}
