"""How much of the margin is left under views that keep the label."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.attacks.engine.margins import margin
from a2d_keras.classifier import Classifier
from a2d_keras.options import inputs_per_pass
from a2d_keras.statistics import views
from a2d_keras.statistics.base import Passes, State, Statistic, Tensors
from a2d_keras.statistics.view import View
from a2d_keras.warn import warn

_SURVIVAL = 0.9  # the least share of benign predictions that survive a view which is kept
_MAX_INPUTS = 1000  # benign inputs to choose the views on
_BITS = range(1, 8)
_OF_ANY = ("bits", "noise")
_VIEWS: dict[str, Callable[[View], tf.Tensor]] = {**views.OF_IMAGES, "noise": views.noise}
VIEWS = (*_VIEWS, "bits")


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Consistency(Statistic):
    """The margin, less the mean margin over views that keep the label.

    A benign input keeps its margin when it is flipped, shifted or loses detail. An adversarial
    perturbation is made for one exact input, and loses its effect (Xu, Evans, Qi 2018, Feature
    Squeezing; Tian, Yang, Cai 2018). So the loss is large also for strong attacks, which go far
    beyond the boundary.

    `fit` keeps the views under which at least 90 % of benign predictions survive: a flip changes
    digits, and keeps photographs. Views that were not kept take no pass. If none is, the statistic
    is 0, with a warning.

    Args:
        views: Names of views. For images: `"flip"`; `"left"`, `"right"`, `"up"` and `"down"`, a
            shift by one pixel; and `"median"`, a filter of 2×2 pixels. For all inputs: `"bits"`,
            which rounds values to as few bits as `fit` finds to keep predictions; and `"noise"`,
            Gaussian, of 0.02 of the input range. By default all that suit the input, but noise
            for other inputs than images only.
        tail: Which values are suspicious. Defaults to `"high"`.

    Raises:
        ValueError: If a view or the tail is unknown.

    Examples:
        >>> Consistency(views=("flip", "bits")).views
        ('flip', 'bits')
    """

    views: Sequence[str] | None = None
    tail: str = "high"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views is None:
            return
        object.__setattr__(self, "views", tuple(self.views))  # the dataclass is frozen
        if not self.views or not set(self.views) <= set(VIEWS):
            names = ", ".join(VIEWS)
            raise ValueError(f"`views` must be among {names}. Received: {self.views}")

    def require(self, classifier: Classifier) -> None:
        """Refuse views of images for inputs that are none; see `Statistic.require`."""
        wrong = [name for name in self._names(classifier) if name in views.OF_IMAGES]
        if wrong and not classifier.takes_images:
            raise ValueError(
                "Flips, shifts and a median are views of images: use `views=None`, or name "
                f'"bits" or "noise". Received: {wrong} for inputs of shape {classifier.input_shape}'
            )

    def passes(self, classifier: Classifier) -> Passes:
        """Return one pass for each view; see `Statistic.passes`."""
        return Passes(queries=len(self._names(classifier)))

    def is_random(self, classifier: Classifier) -> bool:
        """Return whether noise is among the views; see `Statistic.is_random`."""
        return "noise" in self._names(classifier)

    def initial_state(self, classifier: Classifier) -> State:
        """Return which views are kept, and the number of bits: all, and 8."""
        kept = np.ones(len(self._names(classifier)), "int64")
        return {"kept": kept, "bits": np.asarray(8, "int64")}

    def fit(
        self, classifier: Classifier, benign: Any, false_positive_rate: float, slots: int | str
    ) -> State:
        """Keep the views under which benign predictions survive; see `Statistic.fit`."""
        names = self._names(classifier)
        x = inputs.first(benign, classifier, _MAX_INPUTS)
        parts = np.split(x, range(inputs_per_pass(slots), len(x), inputs_per_pass(slots)))
        others = [name for name in names if name != "bits"]
        survival = dict(zip(others, _survival(classifier, others)(parts, 0), strict=True))
        bits = max(_BITS)
        if "bits" in names:
            survive = _survival(classifier, ["bits"])
            for bits in _BITS:
                (survival["bits"],) = survive(parts, bits)
                if survival["bits"] >= _SURVIVAL:
                    break
        kept = np.array([survival[name] >= _SURVIVAL for name in names], "int64")
        if not kept.any():
            warn(
                "Benign predictions survive no view, so their consistency says nothing and is 0 "
                f"for every input. Received: {', '.join(names)}"
            )
        return {"kept": kept, "bits": np.asarray(bits, "int64")}

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
        kept = self.kept(classifier, state)
        named = [f"bits={int(state['bits'])}" if name == "bits" else name for name in kept]
        return f"{self}, under {', '.join(named) or 'no view'}"

    def measure(self, view: View, state: Tensors) -> tf.Tensor:
        """Compute the loss of margin; see `Statistic.measure`."""
        own, total = view.margin, tf.zeros_like(view.margin)
        for place, name in enumerate(self._names(view.classifier)):
            total += tf.cond(
                state["kept"][place] > 0,
                functools.partial(_margin, view, name, state["bits"]),
                functools.partial(tf.zeros_like, own),
            )
        count = tf.math.count_nonzero(state["kept"], dtype=tf.float32)
        return tf.where(count > 0, own - total / tf.maximum(count, 1.0), 0.0)

    def _names(self, classifier: Classifier) -> Sequence[str]:
        if self.views is not None:
            return self.views
        return (*views.OF_IMAGES, "bits") if classifier.takes_images else _OF_ANY


def _margin(view: View, name: str, bits: tf.Tensor) -> tf.Tensor:
    """Compute the margin of the predicted class of `view` under another view."""
    seen = views.fewer_bits(view, bits) if name == "bits" else _VIEWS[name](view)
    return margin(view.classifier.unit.shared_logits(seen), view.labels)


def _survival(
    classifier: Classifier, names: Sequence[str]
) -> Callable[[Sequence[np.ndarray], int], list[float]]:
    """Compile a function of batches and bits: the share of predictions that survive each view."""

    def survive(x: tf.Tensor, bits: tf.Tensor) -> list[tf.Tensor]:
        view = View.of(classifier, x)
        return [tf.cast(_margin(view, name, bits) > 0, tf.float32) for name in names]

    x = tf.TensorSpec((None, *classifier.input_shape), tf.float32)
    signature = [x, tf.TensorSpec((), tf.int64)]
    compiled = tf.function(survive, input_signature=signature, autograph=False)

    def shares(parts: Sequence[np.ndarray], bits: int) -> list[float]:
        found = [compiled(tf.constant(x), tf.constant(bits, tf.int64)) for x in parts]
        return [float(np.mean(np.concatenate(each))) for each in zip(*found, strict=True)]

    return shares
