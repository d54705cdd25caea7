"""`Defence`: what an attacker faces, a classifier and the detector in front of it."""

import abc
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.classifier import Classifier
from a2d_keras.detection.conformal import conformal_rank
from a2d_keras.statistics.base import Passes

STRICT = 0.5  # the false positive rate of the strictest level that an attack aims at
BATCH = 256
_OF_DEFENCE = ("look", "flagged", "passes")


class Verdicts(NamedTuple):
    """Honest verdicts on n inputs.

    Attributes:
        labels: The predicted classes, int64, (n,).
        flagged: Whether the detector flags each, bool, (n,).
        score: The detector's scores, float64, (n,); higher is more adversarial.
    """

    labels: np.ndarray
    flagged: np.ndarray
    score: np.ndarray


class Look(NamedTuple):
    """What an attack sees of its iterates; tensors.

    Attributes:
        logits: The logits, float32, (n, classes).
        loss: The detector's loss, float32, (n,). Zero means accepted, at the strictest level too.
        accepted: Whether the detector accepts each, as far as one look shows, bool, (n,).
    """

    logits: tf.Tensor
    loss: tf.Tensor
    accepted: tf.Tensor


class Defence(abc.ABC):
    """A classifier, and the detector that an attacker has to pass.

    It takes the place of the `Classifier` in attacks of the red team, and has its attributes.
    Beside them, `judge` gives honest verdicts, and `look` shows an attack what it can follow.

    Args:
        classifier: The `Classifier`.

    Attributes:
        classifier: As given.
        unit: What the slot loop attacks: the same on the unit cube; see `Classifier.unit`.
        passes: The `Passes` of one `look`.
        verdict_queries: The largest number of forward passes of one verdict.
        differentiable: Whether `look` works, so that attacks can follow a gradient.
        false_positive_rate: The rate of benign inputs that the detector may flag.
        benign_scores: Scores of benign inputs, float64, (n,).
    """

    differentiable = True
    passes = Passes(1, 1)
    verdict_queries = 1
    false_positive_rate: float
    benign_scores: np.ndarray

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.unit: Any = self if classifier.unit is classifier else _OnUnit(self)

    def __getattr__(self, name: str) -> Any:
        if name == "classifier":  # not set yet
            raise AttributeError(name)
        return getattr(self.classifier, name)

    @abc.abstractmethod
    def judge(self, x: np.ndarray) -> Verdicts:
        """Judge inputs as the defence really does.

        Args:
            x: Inputs within the bounds, float32, (n, *input_shape).

        Returns:
            The `Verdicts`.
        """

    @abc.abstractmethod
    def look(self, x: tf.Tensor) -> Look:
        """Show an attack what it can follow. Graph code, differentiable in `x`.

        Args:
            x: Inputs of `unit`, float32, (n, *input_shape).

        Returns:
            The `Look`.
        """

    @abc.abstractmethod
    def flagged(self, x: tf.Tensor) -> tf.Tensor:
        """Return whether the detector flags inputs. Graph code.

        Args:
            x: Inputs of `unit`, float32, (n, *input_shape).

        Returns:
            Its verdicts, bool, (n,).
        """

    def identity(self) -> list[Any]:
        """Return what tells this defence from others, to know finished work again.

        Returns:
            Arrays and plain values.
        """
        return [self.classifier.weights_hash(), np.round(self.benign_scores, 3)]

    def has_threshold(self, false_positive_rate: float) -> bool:
        """Return whether there are enough benign scores for a threshold.

        Args:
            false_positive_rate: The rate of benign inputs that may be flagged.

        Returns:
            Whether the conformal threshold is one of them.
        """
        return conformal_rank(len(self.benign_scores), false_positive_rate) > 0

    def flags(self, score: np.ndarray, false_positive_rate: float) -> np.ndarray:
        """Return which scores would be flagged at another false positive rate.

        Args:
            score: Scores, (n,).
            false_positive_rate: The rate of benign inputs that may be flagged.

        Returns:
            Whether each exceeds the conformal threshold of the benign scores, bool, (n,).
        """
        rank = conformal_rank(len(self.benign_scores), false_positive_rate)
        threshold = np.sort(self.benign_scores)[-rank] if rank else np.inf
        return np.asarray(score > threshold)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Compute the logits of any number of inputs; see `predict` of this module."""
        return predict(self.classifier, x)

    def distances(self, x: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """Return how far inputs were moved.

        Args:
            x: Inputs within the bounds, float32, (n, *input_shape).
            moved: What became of them, like `x`.

        Returns:
            The L2 and the L-inf distances, as fractions of the input range, float64, (2, n).
        """
        before, after = (np.asarray(self.classifier.to_unit(each)) for each in (x, moved))
        change = (after - before).reshape(len(x), -1).astype("float64")
        change /= self.classifier.unit.range
        return np.stack([np.linalg.norm(change, axis=1), np.abs(change).max(axis=1)])


class _OnUnit:
    """A defence of a classifier with a range per feature, on the unit cube."""

    def __init__(self, defence: Defence) -> None:
        self._defence = defence

    def __getattr__(self, name: str) -> Any:
        of = self._defence if name in _OF_DEFENCE else self._defence.classifier.unit
        return getattr(of, name)


def predict(classifier: Classifier, x: np.ndarray) -> np.ndarray:
    """Compute the logits of any number of inputs.

    Args:
        classifier: The `Classifier`.
        x: Inputs within the bounds, float32, (n, *input_shape).

    Returns:
        The logits, float32, (n, classes).
    """
    return np.concatenate(
        [classifier.logits(part).numpy() for part in inputs.batches(x, classifier, BATCH)]
    )
