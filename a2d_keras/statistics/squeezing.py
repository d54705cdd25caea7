"""Feature squeezing: how much the prediction changes when an image loses detail."""

import dataclasses

import keras
import tensorflow as tf

from a2d_keras.classifier import Classifier
from a2d_keras.statistics import views
from a2d_keras.statistics.base import Passes, Statistic, Tensors
from a2d_keras.statistics.view import View
from a2d_keras.validation import require_whole


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Squeezing(Statistic):
    """The change of the probabilities when an input is squeezed (Xu, Evans, Qi 2018).

    A squeezer takes away detail that a person does not miss, and that an adversarial perturbation
    lives in. The statistic is the L1 distance of the two softmax vectors, the largest over the
    squeezers.

    Args:
        median: The side of the window of a median filter in pixels, for images. None leaves it
            out, and so does an input that is no image. Defaults to 2.
        bits: The number of bits that a value keeps. None leaves that squeezer out. Defaults to
            None.
        tail: Which values are suspicious. Defaults to `"high"`.

    Raises:
        ValueError: If a parameter is out of range, or no squeezer is left.

    Examples:
        >>> Squeezing(median=3, bits=5).passes(None)
        Passes(queries=2, gradient_evaluations=0)
    """

    median: int | None = 2
    bits: int | None = None
    tail: str = "high"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("median", "bits"):
            value = getattr(self, name)
            if value is not None:
                require_whole(name, value, minimum=2 if name == "median" else 1)
        if self.median is None and self.bits is None:
            raise ValueError("`Squeezing` needs `median` or `bits`. Received: neither")

    def require(self, classifier: Classifier) -> None:
        """Refuse a median filter for inputs that are no images; see `Statistic.require`."""
        if self.median is not None and not classifier.takes_images:
            raise ValueError(
                "A median filter squeezes images: use `Squeezing(median=None, bits=...)`. "
                f"Received: inputs of shape {classifier.input_shape}"
            )

    def passes(self, classifier: Classifier) -> Passes:
        """Return one pass for each squeezer; see `Statistic.passes`."""
        return Passes(queries=(self.median is not None) + (self.bits is not None))

    def measure(self, view: View, state: Tensors) -> tf.Tensor:
        """Compute the largest change; see `Statistic.measure`."""
        squeezed = []
        if self.median is not None:
            squeezed.append(views.median(view, self.median))
        if self.bits is not None:
            squeezed.append(views.fewer_bits(view, self.bits))
        before = tf.nn.softmax(view.logits)
        changes = [
            tf.reduce_sum(
                tf.abs(before - tf.nn.softmax(view.classifier.unit.shared_logits(x))), axis=-1
            )
            for x in squeezed
        ]
        return tf.reduce_max(tf.stack(changes), axis=0)
