"""`Fingerprints`: the statistics of inputs as columns, for scikit-learn."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from a2d_keras import inputs
from a2d_keras.classifier import Classifier
from a2d_keras.options import RunOptions, inputs_per_pass
from a2d_keras.statistics.base import Statistic, Tensors
from a2d_keras.statistics.defaults import default_statistics
from a2d_keras.statistics.view import View


class Fingerprints(TransformerMixin, BaseEstimator):
    """Turn inputs into fingerprints: a row of statistics for each input.

    Any scikit-learn detector can follow in a pipeline, such as `IsolationForest()`, or a
    classifier that learns from benign and adversarial rows. For attack costs as whole numbers, see
    `AttackCosts`.

    Args:
        model: The trained classifier: a built `keras.Model` whose inputs lie between 0 and 1, or
            a `Classifier`. `sklearn.base.clone` keeps it.
        statistics: The statistics, in the order of the columns. Defaults to those of `guard`.
        false_positive_rate: The rate that an `AttackCost` chooses its step for. Defaults to 0.05.
        options: The `RunOptions`. Defaults to `RunOptions()`.

    Attributes:
        statistics_: The statistics.
        states_: What each has learned, a list of dicts of arrays.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> x = np.random.default_rng(0).uniform(size=(50, 4))
        >>> Fingerprints(model).fit(x).transform(x[:2]).shape
        (2, 2)
    """

    def __init__(
        self,
        model: keras.Model | Classifier,
        *,
        statistics: Sequence[Statistic] | None = None,
        false_positive_rate: float = 0.05,
        options: RunOptions = RunOptions(),  # noqa: B008 (frozen)
    ) -> None:
        self.model = model
        self.statistics = statistics
        self.false_positive_rate = false_positive_rate
        self.options = options

    def fit(self, X: Any, y: Any = None) -> "Fingerprints":
        """Let the statistics learn from benign inputs.

        Args:
            X: Benign inputs, as for `transform`.
            y: Ignored.

        Returns:
            This object.
        """
        model = self.model
        self._classifier = model if isinstance(model, Classifier) else Classifier(model)
        chosen = self.statistics
        self.statistics_ = default_statistics(self._classifier) if chosen is None else tuple(chosen)
        for statistic in self.statistics_:
            statistic.require(self._classifier)
        self.states_ = [
            s.fit(self._classifier, X, self.false_positive_rate, self.options.slots)
            for s in self.statistics_
        ]
        self._measure = tf.function(self._traced, autograph=False, reduce_retracing=True)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Measure the statistics.

        Args:
            X: Inputs within the bounds: an array or tensor (n, *input_shape), or a
                `tf.data.Dataset` of batches of them, alone or as the first of a tuple.

        Returns:
            The statistics, float32, (n, statistics).

        Raises:
            ValueError: If the classifier does not take the inputs. From a dataset,
                `tf.errors.InvalidArgumentError`.
        """
        check_is_fitted(self, "states_")
        size = inputs_per_pass(self.options.slots)
        rows = [
            self._measure(batch, self.states_).numpy()
            for batch in inputs.batches(X, self._classifier, size)
        ]
        return np.concatenate(rows)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns, for scikit-learn's `set_output`.

        Args:
            input_features: Ignored.

        Returns:
            The statistics' names, numbered, such as `margin_0`.
        """
        check_is_fitted(self, "states_")
        return np.asarray(column_names(self.statistics_), dtype=object)

    def _traced(self, x: tf.Tensor, states: list[Tensors]) -> tf.Tensor:
        view = View.of(self._classifier, x, slots=self.options.slots)
        return measure(self.statistics_, view, states)

    def __sklearn_clone__(self) -> "Fingerprints":
        return type(self)(**self.get_params(deep=False))


def measure(statistics: Sequence[Statistic], view: View, states: Sequence[Tensors]) -> tf.Tensor:
    """Measure several statistics of inputs. Graph code.

    Args:
        statistics: The statistics.
        view: The `View` of the inputs.
        states: What each statistic has learned, dicts of tensors.

    Returns:
        The statistics, float32, (n, statistics).
    """
    pairs = zip(statistics, states, strict=True)
    return tf.stack([statistic.measure(view, state) for statistic, state in pairs], axis=-1)


def column_names(statistics: Iterable[Statistic]) -> list[str]:
    """Return the names of the columns of several statistics.

    Args:
        statistics: The statistics.

    Returns:
        Their names, numbered, such as `boundary_distance_0`.
    """
    return [f"{statistic.name}_{place}" for place, statistic in enumerate(statistics)]
