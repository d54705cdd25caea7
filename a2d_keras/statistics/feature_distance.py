"""The distance from the predicted class, in the last hidden layer."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.covariance import ledoit_wolf

from a2d_keras import inputs
from a2d_keras.classifier import Classifier
from a2d_keras.options import inputs_per_pass
from a2d_keras.statistics.base import State, Statistic, Tensors
from a2d_keras.statistics.view import View

_MAX_INPUTS = 10_000  # benign inputs to learn from


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureDistance(Statistic):
    """The Mahalanobis distance to the predicted class in the last hidden layer (Lee et al. 2018).

    `fit` learns a mean for each predicted class and one covariance for all, shrunk as Ledoit and
    Wolf (2004) do. A class that no benign input belongs to gets the mean of all.

    Args:
        tail: Which values are suspicious. Defaults to `"high"`.

    Raises:
        ValueError: If `tail` is unknown.

    Examples:
        >>> FeatureDistance().tail
        'high'
    """

    tail: str = "high"

    def require(self, classifier: Classifier) -> None:
        """Refuse a classifier without a last hidden layer; see `Statistic.require`."""
        self._width(classifier)

    def initial_state(self, classifier: Classifier) -> State:
        """Return zeros of the right shapes."""
        width = self._width(classifier)
        return {
            "means": np.zeros((classifier.classes, width), "float32"),
            "whitening": np.zeros((width, width), "float32"),
        }

    def fit(
        self, classifier: Classifier, benign: Any, false_positive_rate: float, slots: int | str
    ) -> State:
        """Learn the means and the covariance; see `Statistic.fit`."""
        x = inputs.first(benign, classifier, _MAX_INPUTS)
        features, labels = self._activations(classifier, x, inputs_per_pass(slots))
        means = np.tile(features.mean(axis=0), (classifier.classes, 1))
        for label in np.unique(labels):
            means[label] = features[labels == label].mean(axis=0)
        covariance, _ = ledoit_wolf(features - means[labels], assume_centered=True)
        return {
            "means": means.astype("float32"),
            "whitening": _whitening(covariance).astype("float32"),
        }

    def measure(self, view: View, state: Tensors) -> tf.Tensor:
        """Compute the distance; see `Statistic.measure`."""
        residuals = view.hidden - tf.gather(state["means"], view.labels)
        return tf.norm(residuals @ state["whitening"], axis=-1)

    def _activations(
        self, classifier: Classifier, x: np.ndarray, size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        read = _reader(classifier)
        parts = [read(part) for part in np.split(x, range(size, len(x), size))]
        hidden, labels = (np.concatenate(values) for values in zip(*parts, strict=True))
        return hidden.astype("float64"), labels

    def _width(self, classifier: Classifier) -> int:
        return int(_reader(classifier).structured_outputs[0].shape[-1])


def _reader(classifier: Classifier) -> Any:
    """Compile a function of inputs that returns hidden activations and predicted classes."""

    def read(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        view = View.of(classifier, x)
        return view.hidden, view.labels

    x = tf.TensorSpec((None, *classifier.input_shape), tf.float32)
    return tf.function(read, autograph=False).get_concrete_function(x)


def _whitening(covariance: np.ndarray) -> np.ndarray:
    """Return the inverse square root of a covariance; directions without variance count nothing."""
    variances, axes = np.linalg.eigh(covariance)
    usable = variances > variances.max() * len(variances) * np.finfo("float32").eps
    roots = np.where(usable, 1 / np.sqrt(np.where(usable, variances, 1)), 0)
    return axes * roots
