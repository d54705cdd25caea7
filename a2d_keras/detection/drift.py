"""Detect that a classifier has changed since `adapt`.

Attack costs are valid only for the classifier that was measured.
"""

import dataclasses

import tensorflow as tf

from a2d_keras.classifier import Classifier
from a2d_keras.validation import require
from a2d_keras.warn import warn


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The state of a classifier, to compare with a later one.

    Attributes:
        weights_hash: Its `weights_hash()`.
        version: Its `version`, which is valid in this process only.
    """

    weights_hash: int
    version: int

    def matches(self, classifier: Classifier) -> bool:
        """Return whether a classifier is unchanged.

        Args:
            classifier: The `Classifier`.

        Returns:
            Whether its layers and its weights are the same, and earlier graphs are still valid.
        """
        return (
            self.version == classifier.version
            and not classifier.structure_changed()
            and self.weights_hash == classifier.weights_hash()
        )


class TracedVersion(tf.Module):
    """The `version` of a classifier that graphs must be traced for, in a variable for graphs.

    It is not a weight, since weights go to files and other models, and graphs do not.

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
        """Set the version. Graphs that were traced for another one then refuse to answer.

        Args:
            version: The version.

        Returns:
            Whether it differs from the old one.
        """
        if self.version == version:
            return False
        self.version = version
        self._variable.assign(version)
        return True

    def require_current(self, name: str) -> None:
        """Refuse to answer with a graph of layers that the classifier no longer has. Graph code.

        Args:
            name: The detector's name.

        Raises:
            tf.errors.InvalidArgumentError: If a graph runs that was traced for another version.
        """
        if tf.executing_eagerly():
            return
        require(
            self._variable == self.version,
            "The classifier's layers have changed since this graph was traced: compile the model "
            f"around the detector again. Received: {name!r}, adapted to other layers since",
        )


def complain(classifier: Classifier, on_changed_weights: str) -> None:
    """Refuse, or warn, because the costs belong to another classifier.

    Args:
        classifier: The `Classifier` that has changed.
        on_changed_weights: `"raise"` or `"warn"`.

    Raises:
        ValueError: With `"raise"`.
    """
    sentence = (
        "The classifier's weights have changed since `adapt`, or its layers or its precision, so "
        "what the guard has learned is no longer valid: call `adapt` with benign inputs again "
        "(`AdaptDetector` does so after training). "
        f"Received: {classifier.model.name!r}, changed since"
    )
    if on_changed_weights == "raise":
        raise ValueError(sentence)
    warn(sentence)
