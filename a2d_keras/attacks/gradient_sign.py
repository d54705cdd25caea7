"""FGSM, BIM and BIM2: steps of a fixed length along the gradient of the cross-entropy."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from cleverhans.tf2.utils import clip_eta, optimize_linear

from a2d_keras.attacks.base import StepAttack
from a2d_keras.attacks.engine.slots import Slots
from a2d_keras.classifier import Classifier
from a2d_keras.validation import require_fraction


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class FGSM(StepAttack):
    """Fast Gradient Sign Method (Goodfellow et al. 2015): one step of length `eps`, L-inf.

    It equals CleverHans's `fast_gradient_method` if the gradient of the cross-entropy does not
    underflow. CleverHans's `eps` is ours times the input range.

    Args:
        eps: Length of the step in every pixel, as a fraction of the input range. Defaults to 0.3.
        targeted: Whether to step towards a target. Defaults to False.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> FGSM(eps=0.1)(Classifier(model), np.full((2, 4), 0.5)).cost
        array([1, 1])
    """

    traced = ("eps",)

    eps: float = 0.3
    max_iterations: int = dataclasses.field(default=1, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fraction("eps", self.eps)

    def step(self, classifier: Classifier, slots: Slots) -> tuple[Slots, tf.Tensor]:
        """Take one step in every slot; see `Attack.step`."""
        eps = _absolute(self.eps, classifier)
        return _ascend(classifier, slots, self.targeted, np.inf, eps, eps)


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class BIM(StepAttack):
    """Basic Iterative Method (Kurakin et al. 2017): repeated sign steps within an L-inf ball.

    The defaults are the defence BIM_d of Zhao et al. 2021 on MNIST. With `eps_iter` 0.01 and
    `max_iterations` 50 it crafts the examples that they call BIM-a (Table 5): the first iterate
    that fools, or else the last. With `stop_at_success=False` as well, it crafts those called
    BIM-b: the last iterate. With a fixed number of steps it equals CleverHans's
    `basic_iterative_method`, whose `eps` and `eps_iter` are ours times the input range.

    Args:
        eps: Largest change of a pixel, as a fraction of the input range. Defaults to 0.3.
        eps_iter: Length of a step, as a fraction of the input range. Defaults to 0.0006.
        stop_at_success: Whether to stop at the first iterate that succeeds. If not, all inputs
            take `max_iterations` steps, and the last one decides success. Defaults to True.
        max_iterations: Steps after which an input counts as resisting. Defaults to 500.
        targeted: Whether to step towards a target. Defaults to False.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> result = BIM(eps=0.5)(Classifier(model), np.full((2, 4), 0.5))
        >>> result.adversarial.shape
        (2, 4)
    """

    traced = ("eps", "eps_iter", "max_iterations")

    eps: float = 0.3
    eps_iter: float = 0.0006
    stop_at_success: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fraction("eps", self.eps)
        require_fraction("eps_iter", self.eps_iter)

    def step(self, classifier: Classifier, slots: Slots) -> tuple[Slots, tf.Tensor]:
        """Take one step in every slot; see `Attack.step`."""
        eps, eps_iter = _absolute(self.eps, classifier), _absolute(self.eps_iter, classifier)
        after, success = _ascend(classifier, slots, self.targeted, np.inf, eps, eps_iter)
        return after, self._counts(slots, success)

    def _counts(self, slots: Slots, success: tf.Tensor) -> tf.Tensor:
        """Count success at any step, or only at the last."""
        return success if self.stop_at_success else success & (slots.steps >= self.max_iterations)


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class BIM2(BIM):
    """BIM along the gradient itself, within an L2 ball (Zhao et al. 2021, Section 2.1).

    The defaults are the defence BIM2_d of Zhao et al. 2021 on MNIST.

    Args:
        eps: Largest root mean square of the change (its L2 norm divided by the root of the
            number of pixels), as a fraction of the input range. Defaults to 0.1.
        eps_iter: Root mean square of a step, as a fraction of the input range. Defaults to 0.0002.
        stop_at_success: Whether to stop at the first iterate that succeeds. Defaults to True.
        max_iterations: Steps after which an input counts as resisting. Defaults to 500.
        targeted: Whether to step towards a target. Defaults to False.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> BIM2()(Classifier(model), np.full((2, 4), 0.5)).cost.dtype
        dtype('int64')
    """

    eps: float = 0.1
    eps_iter: float = 0.0002

    def step(self, classifier: Classifier, slots: Slots) -> tuple[Slots, tf.Tensor]:
        """Take one step in every slot; see `Attack.step`."""
        pixels = tf.size(slots.x[0], tf.int32)
        root = tf.sqrt(tf.cast(pixels, tf.float32))
        eps, eps_iter = _absolute(self.eps, classifier), _absolute(self.eps_iter, classifier)
        after, success = _ascend(classifier, slots, self.targeted, 2, eps * root, eps_iter * root)
        return after, self._counts(slots, success)


def cross_entropy_direction(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Compute the direction, at the logits, in which the cross-entropy of a label rises.

    The gradient softmax - onehot nearly vanishes where the classifier is sure, and attacks do not
    need its size. Divided by 1 - p_label it is -1 at the label and the softmax over the other
    classes elsewhere, so it is as large on the surest input as on any other.

    Args:
        logits: Logits, float32, (batch, classes).
        labels: Labels, int64, (batch,).

    Returns:
        The direction, float32, (batch, classes).
    """
    label = tf.one_hot(labels, tf.shape(logits)[-1], on_value=True, off_value=False)
    others = tf.nn.softmax(tf.where(label, logits.dtype.min, logits))
    return tf.where(label, -1.0, others)


def _absolute(fraction: Any, classifier: Classifier) -> tf.Tensor:
    return tf.cast(fraction, tf.float32) * tf.cast(classifier.range, tf.float32)


def _ascend(
    classifier: Classifier, slots: Slots, targeted: bool, norm: Any, eps: Any, eps_iter: Any
) -> tuple[Slots, tf.Tensor]:
    logits, pullback = classifier.vjp(slots.x)
    predicted = tf.argmax(logits, axis=-1)
    if targeted:
        labels, success = slots.labels, predicted == slots.labels
    else:
        labels = tf.where(slots.steps == 0, predicted, slots.labels)
        success = predicted != labels
    gradient = pullback(cross_entropy_direction(logits, labels))
    if norm == 2:  # a sign needs no scale
        gradient = _unit_maximum(gradient)
    step = optimize_linear(-gradient if targeted else gradient, eps_iter, norm)
    x = tf.clip_by_value(slots.x + step, *classifier.bounds)
    change = clip_eta(x - slots.inputs, norm, eps)
    after = slots._replace(
        x=tf.clip_by_value(slots.inputs + change, *classifier.bounds),
        labels=labels,
        steps=slots.steps + 1,
        queries=slots.queries + 1,
        gradient_evaluations=slots.gradient_evaluations + 1,
    )
    return after, success


def _unit_maximum(gradient: tf.Tensor) -> tf.Tensor:
    """Scale each input's gradient to a maximum of 1. Otherwise its norm may underflow."""
    axes = list(range(1, len(gradient.shape)))
    return tf.math.divide_no_nan(gradient, tf.reduce_max(tf.abs(gradient), axes, keepdims=True))
