"""The learned state of a statistic, in the weights of a layer."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.statistics.base import State, Statistic, Tensors

S = TypeVar("S", bound=Statistic)


class Learned(Generic[S]):
    """A statistic, and the weights that hold what it has learned.

    Args:
        statistic: The `Statistic`.
        weights: A dict from the names in its state to weights.
    """

    def __init__(self, statistic: S, weights: dict[str, keras.Variable]) -> None:
        self.statistic = statistic
        self.weights = weights

    @property
    def state(self) -> State:
        """What the statistic has learned, a dict of arrays."""
        return {name: values(weight) for name, weight in self.weights.items()}

    def learn(self, state: State) -> None:
        """Store what the statistic's `fit` returned.

        Args:
            state: A dict of arrays.
        """
        for name, value in state.items():
            self.weights[name].assign(value)

    def tensors(self) -> Tensors:
        """Return the state as tensors. Graph code."""
        return {name: tf.convert_to_tensor(weight) for name, weight in self.weights.items()}

    def specs(self) -> dict[str, tf.TensorSpec]:
        """Describe the state's tensors."""
        return {
            name: tf.TensorSpec(weight.shape, weight.dtype) for name, weight in self.weights.items()
        }


def values(weight: keras.Variable) -> np.ndarray:
    """Read a weight.

    Args:
        weight: The weight.

    Returns:
        Its values.
    """
    return np.asarray(keras.ops.convert_to_numpy(weight))


@contextlib.contextmanager
def all_or_nothing(weights: Iterable[Any]) -> Iterator[None]:
    """Restore weights if the code that sets them does not finish.

    Args:
        weights: The weights.

    Yields:
        None.
    """
    before = [(weight, values(weight).copy()) for weight in weights]
    try:
        yield
    except BaseException:  # Ctrl-C too
        for weight, value in before:
            weight.assign(value)
        raise
