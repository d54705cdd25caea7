"""The margin: how far the predicted class leads."""

import dataclasses

import keras
import tensorflow as tf

from a2d_keras.statistics.base import Statistic, Tensors
from a2d_keras.statistics.view import View


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Margin(Statistic):
    """The lead of the predicted class over the next, in logits.

    It takes no pass of its own, and every other statistic should beat it. Inputs just across a
    boundary have small margins, and those of strong attacks have larger ones than benign inputs.

    Args:
        tail: Which values are suspicious. Defaults to `"low"`.

    Raises:
        ValueError: If `tail` is unknown.

    Examples:
        >>> Margin(tail="both").tail
        'both'
    """

    def measure(self, view: View, state: Tensors) -> tf.Tensor:
        """Compute the margin; see `Statistic.measure`."""
        return view.margin
