"""`KNN`: the rule of the nearest fingerprints of benign and adversarial inputs."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras.detection.rules.base import CostRule
from a2d_keras.validation import require_whole

_MAX_REFERENCES = 10_000


@keras.saving.register_keras_serializable(package="a2d_keras")
class KNN(CostRule):
    """The vote of the K nearest fingerprints (Zhao et al. 2021, Section 4.1).

    Costs are whole numbers, so many distances are equal. Neighbours nearer than the K-th distance
    count one each. Those at the K-th distance share the remaining places, so that no vote depends
    on the order of rows. If no tie crosses the K-th place, the vote is that of scikit-learn.

    Args:
        k: The number of neighbours that vote. If there are fewer, all vote. Defaults to 100.

    Examples:
        >>> KNN(k=10).needs_adversarial
        True
    """

    word = "knn"
    needs_adversarial = True

    def __init__(self, k: int = 100, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        require_whole("k", k)
        self.k = k

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, for Keras's serialization."""
        return {"name": self.name, "k": self.k}

    def _prepare_for(self, attacks: int, costs: int) -> None:
        self._references = self._state("references", (_MAX_REFERENCES, attacks), "int64")
        self._adversarial = self._state("adversarial", (_MAX_REFERENCES,), "int64")
        self._count = self._state("count", (), "int64")

    def _learn(self, benign: np.ndarray, adversarial: np.ndarray | None) -> None:
        """Keep the fingerprints of benign and adversarial inputs."""
        assert adversarial is not None
        references = np.concatenate([benign, adversarial])
        spare = _MAX_REFERENCES - len(references)
        if spare < 0:
            raise ValueError(
                f"A K-nearest-neighbours detector keeps at most {_MAX_REFERENCES} fingerprints; "
                f"adapt it on fewer inputs. Received: {len(references)}"
            )
        labels = np.arange(len(references)) >= len(benign)
        self._references.assign(np.pad(references, ((0, spare), (0, 0))))
        self._adversarial.assign(np.pad(labels, (0, spare)))
        self._count.assign(len(references))
        self.budgets.assign(self._settling_costs())

    def undecided(self, costs: tf.Tensor) -> tf.Tensor:
        """Return which verdicts an attack that has not started could still change: all."""
        return tf.reduce_any(costs == 0, axis=-1)

    def call(self, costs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the verdicts. The score is the share of adversarial neighbours."""
        count = tf.convert_to_tensor(self._count)
        references, labels = self._references[:count], self._adversarial[:count]
        k = tf.minimum(count, self.k)
        distances = _squared_distances(costs, references)
        kth = tf.sort(distances, axis=-1)[:, k - 1, None]
        nearer, level = distances < kth, distances == kth
        votes = tf.reduce_sum(tf.where(nearer, labels, 0), axis=-1)
        level_votes = tf.reduce_sum(tf.where(level, labels, 0), axis=-1)
        places = k - tf.math.count_nonzero(nearer, axis=-1)
        # In whole numbers, since an even vote must not depend on rounding.
        share = votes * tf.math.count_nonzero(level, axis=-1) + places * level_votes
        total = k * tf.math.count_nonzero(level, axis=-1)
        return 2 * share > total, tf.cast(share / total, tf.float32)

    def _settling_costs(self) -> np.ndarray:
        """Find the cost beyond which no vote changes. With several attacks it does not exist."""
        if len(self.max_iterations) > 1:
            return np.array(self.max_iterations)
        every_cost = np.arange(1, self.max_iterations[0] + 1)[:, None]
        flagged = self.call(tf.constant(every_cost, tf.int64))[0].numpy()
        changes = np.flatnonzero(flagged[1:] != flagged[:-1])
        return np.array([changes[-1] + 2 if len(changes) else 1])


def _squared_distances(costs: tf.Tensor, references: tf.Tensor) -> tf.Tensor:
    """Compute squared Euclidean distances in float64, exactly for whole numbers below 2**26."""
    a, b = tf.cast(costs, tf.float64), tf.cast(references, tf.float64)
    squares = tf.reduce_sum(a * a, axis=-1)[:, None] + tf.reduce_sum(b * b, axis=-1)
    return squares - 2 * tf.matmul(a, b, transpose_b=True)
