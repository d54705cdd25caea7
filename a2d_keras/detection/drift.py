"""A classifier that changes after `adapt`: attack costs belong to the one that was measured."""

import dataclasses
import warnings

from a2d_keras.classifier import Classifier


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
    warnings.warn(sentence, stacklevel=4)
