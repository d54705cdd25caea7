"""How much the snapshots of an input support its label, and how much each snapshot weighs.

Wang et al. 2020; see `baselines.dissector.detector`.
"""

import dataclasses

import numpy as np
from scipy.special import expit

from a2d_keras.validation import require_choice

_GROWTHS = ("linear", "logarithmic", "exponential")


@dataclasses.dataclass(frozen=True)
class Growth:
    """How the weight w of a snapshot grows with its place x, from 1 on.

    Args:
        kind: "linear" (w = αx + 1), "logarithmic" (w = α log(βx + 1) + 1) or "exponential"
            (w = α exp(βx) + 1). If α is zero, w is x, log x or exp(βx). The logarithmic growth
            with β = 0 is α log x + 1.
        alpha: α. Defaults to 0.
        beta: β. Defaults to 1, so that by default each weight is e times the one before.

    Raises:
        ValueError: If `kind` is another word.

    Examples:
        >>> print(Growth().weights(3).round(2))
        [ 2.72  7.39 20.09]
        >>> print(Growth("linear", alpha=2).weights(3))
        [3. 5. 7.]
    """

    kind: str = "exponential"
    alpha: float = 0.0
    beta: float = 1.0

    def __post_init__(self):
        require_choice("kind", self.kind, _GROWTHS)

    def weights(self, count):
        """Compute the weights of snapshots.

        Args:
            count: The number of snapshots.

        Returns:
            The weights, float64, (count,).
        """
        x = np.arange(1, count + 1, dtype="float64")
        if self.kind == "linear":
            grown = x
        elif self.kind == "exponential":
            grown = np.exp(self.beta * x)
        else:
            grown = np.log(self.beta * x + 1) if self.alpha and self.beta else np.log(x)
        return self.alpha * grown + 1 if self.alpha else grown


def snapshot_invalidity(logits, labels):
    """Compute how little a snapshot supports a label: m / (s + m), or 1 − its validity.

    s is the snapshot's softmax at the label, and m the largest of the others. The invalidity of a
    sure snapshot keeps its digits, where the validity s / (s + m) is rounded to 1.

    Args:
        logits: The logits of the snapshot, float, (n, classes).
        labels: The labels that the classifier predicts, int, (n,).

    Returns:
        The invalidity, float64, (n,), below ½ if and only if the snapshot predicts the label.

    Examples:
        >>> softmax = np.array([[0.6, 0.3, 0.1], [0.6, 0.2, 0.2]])
        >>> print(snapshot_invalidity(np.log(softmax), [0, 1]).round(3))
        [0.333 0.75 ]
    """
    logits, rows = np.array(logits, "float64"), np.arange(len(labels))
    own = logits[rows, labels]
    logits[rows, labels] = -np.inf
    return expit(logits.max(axis=-1) - own)
