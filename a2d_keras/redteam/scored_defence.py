"""`ScoredDefence`: any detector that scores inputs, as an attacker faces it."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from a2d_keras.classifier import Classifier
from a2d_keras.detection.conformal import rows_needed
from a2d_keras.redteam.defence import Defence, Look, Verdicts


class ScoredDefence(Defence):
    """The defence of any detector that scores inputs, such as a baseline.

    Args:
        classifier: The `Classifier`.
        score: A function from inputs, float32, (n, *input_shape), to scores (n,); higher is more
            adversarial.
        benign: Benign inputs, whose scores give the threshold.
        false_positive_rate: The share of them that may be flagged. Defaults to 0.05.
        surrogate: A differentiable stand-in of the score: graph code from inputs of `unit` to a
            loss (n,) that is zero where an input is accepted. Without one, only attacks that need
            no gradient of the detector can run. Defaults to None.

    Raises:
        ValueError: If the benign inputs are too few for the false positive rate.

    Examples:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> x = np.random.default_rng(0).uniform(size=(100, 4)).astype("float32")
        >>> bright = ScoredDefence(Classifier(model), lambda x: x.mean(axis=1), x)
        >>> float(bright.judge(x).flagged.mean())
        0.04
    """

    def __init__(
        self,
        classifier: Classifier,
        score: Callable[[np.ndarray], np.ndarray],
        benign: np.ndarray,
        *,
        false_positive_rate: float = 0.05,
        surrogate: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> None:
        super().__init__(classifier)
        self.false_positive_rate = false_positive_rate
        self.differentiable = surrogate is not None
        self._score, self._surrogate = score, surrogate
        self.benign_scores = np.asarray(score(benign), "float64")
        if not self.has_threshold(false_positive_rate):
            raise ValueError(
                f"A false positive rate of {false_positive_rate} needs at least "
                f"{rows_needed(false_positive_rate)} benign inputs. Received: {len(benign)}"
            )

    def judge(self, x: np.ndarray) -> Verdicts:
        """Score inputs, and compare with the threshold; see `Defence.judge`."""
        score = np.asarray(self._score(x), "float64")
        labels = self.predict(x).argmax(axis=-1)
        return Verdicts(labels, self.flags(score, self.false_positive_rate), score)

    def flagged(self, x: tf.Tensor) -> tf.Tensor:
        """Call the scorer from the graph; see `Defence.flagged`."""

        def judge(x: np.ndarray) -> np.ndarray:
            return self.flags(np.asarray(self._score(x)), self.false_positive_rate)

        flagged = tf.numpy_function(judge, [self.classifier.from_unit(x)], tf.bool)
        return tf.ensure_shape(flagged, [None])

    def look(self, x: tf.Tensor) -> Look:
        """Follow the surrogate; see `Defence.look`."""
        if self._surrogate is None:
            raise ValueError(
                "An attack along the detector's gradient needs a differentiable stand-in: give a "
                f"`surrogate`. Received: {self._score}"
            )
        loss = self._surrogate(x)
        return Look(self.classifier.unit.logits(x), loss, loss <= 0)
