"""A classifier that changes after `adapt`: attack costs belong to the one that was measured."""

import dataclasses

import tensorflow as tf

from a2d_keras.classifier import Classifier
from a2d_keras.validation import require
from a2d_keras.warn import warn


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What tells a classifier from what it was.

    Attributes:
        weights_hash: Its `weights_hash()`.
        version: Its `version`, of this process alone.
    """

    weights_hash: int
    version: int

    def matches(self, classifier: Classifier) -> bool:
        """Tell whether a classifier still is what it was.

        Args:
            classifier: The `Classifier`.

        Returns:
            Whether its layers and its weights are the same, and graphs traced then still hold.
        """
        return (
            self.version == classifier.version
            and not classifier.structure_changed()
            and self.weights_hash == classifier.weights_hash()
        )


class TracedVersion(tf.Module):
    """The `version` of a classifier that graphs must be traced for, where graphs can read it.

    It is no weight: weights travel to files and other models, and graphs do not.

    Args:
        version: The classifier's version.

    Attributes:
        version: The version.
    """

    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = version
        self._variable = tf.Variable(version, trainable=False, dtype=tf.int64)

    def follow(self, version: int) -> bool:
        """Go to a version of the classifier; graphs that were traced for another refuse then.

        Args:
            version: The version.

        Returns:
            Whether it is another one.
        """
        if self.version == version:
            return False
        self.version = version
        self._variable.assign(version)
        return True

    def require_current(self, name: str) -> None:
        """Refuse to answer by a graph of layers that the classifier no longer has. Graph code.

        Args:
            name: The detector's name.

        Raises:
            tf.errors.InvalidArgumentError: When a graph runs that was traced for another version.
        """
        if tf.executing_eagerly():
            return
        require(
            self._variable == self.version,
            "The classifier's layers have changed since this graph was traced: compile the model "
            f"around the detector again. Received: {name!r}, adapted to other layers since",
        )


def complain(classifier: Classifier, on_changed_weights: str) -> None:
    """Refuse to judge by costs of another classifier, or warn.

    Args:
        classifier: The `Classifier`, which has changed.
        on_changed_weights: `"raise"` or `"warn"`.

    Raises:
        ValueError: With `"raise"`.
    """
    sentence = (
        "The classifier's weights have changed since `adapt`, or its layers or its precision, and "
        "attack costs belong to what they were: call `adapt` with benign inputs again "
        "(`AdaptDetector` does so after training). "
        f"Received: {classifier.model.name!r}, changed since"
    )
    if on_changed_weights == "raise":
        raise ValueError(sentence)
    warn(sentence)
