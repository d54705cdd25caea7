"""The learned state of a statistic, in the weights of a layer."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.attacks.base import StepAttack
from a2d_keras.classifier import Classifier
from a2d_keras.statistics.attack_cost import AttackCost
from a2d_keras.statistics.base import State


class LearnedCost:
    """An attack cost, and the weights that hold what it has learned.

    Args:
        statistic: The `AttackCost`.
        weights: A dict from the names in its state to weights.
    """

    def __init__(self, statistic: AttackCost, weights: dict[str, keras.Variable]) -> None:
        self.statistic = statistic
        self.weights = weights

    @property
    def attack(self) -> StepAttack:
        """The attack, with its learned parameters."""
        return self.statistic.fitted({name: values(w) for name, w in self.weights.items()})

    def learn(self, state: State) -> None:
        """Store what the statistic's `fit` returned.

        Args:
            state: A dict of arrays.
        """
        for name, value in state.items():
            self.weights[name].assign(value)

    def parameters(self, classifier: Classifier) -> dict[str, tf.Tensor]:
        """Return the attack's tensor parameters; see `AttackCost.parameters`. Graph code.

        Args:
            classifier: The `Classifier`.

        Returns:
            A dict from their names to tensors.
        """
        state = {name: tf.convert_to_tensor(weight) for name, weight in self.weights.items()}
        return self.statistic.parameters(classifier, state)


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
