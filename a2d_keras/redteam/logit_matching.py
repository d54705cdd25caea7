"""Logit matching: look to the classifier like a benign input of another class."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from a2d_keras.attacks.engine.margins import margin
from a2d_keras.classifier import Classifier
from a2d_keras.redteam.adversary import Case, Crafted
from a2d_keras.redteam.pgd import Aim, ProjectedDescent, finite
from a2d_keras.statistics.base import Passes


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogitMatching(ProjectedDescent):
    """Match the logits of a benign input of the target class (Tramèr et al. 2020).

    It needs no gradient of the detector. Whatever a detector reads in the logits, it then reads
    of a benign input. The guide of a class is the benign input with the median lead.

    Args:
        eps: As for all descents, as are the others.
        step_length: As for all descents.
        max_iterations: As for all descents.
        targets: As for all descents.
        restarts: As for all descents.
        seed: As for all descents.
        guides: The logits to match for each target, float32, (classes, classes). By default those
            of the inputs under attack. Defaults to None.

    Examples:
        >>> LogitMatching().name
        'logit_matching'
    """

    guides: Any = dataclasses.field(default=None, repr=False, compare=False)

    def craft(self, case: Case) -> Crafted:
        """Choose guides, if there are none, and attack; see `Adversary.craft`."""
        if self.guides is not None:
            return super().craft(case)
        guides = choose_guides(case.defence.predict(case.x), case.y)
        return dataclasses.replace(self, guides=guides).craft(case)

    def parameters(self, classifier: Classifier) -> dict[str, tf.Tensor]:
        """Return the traced parameters and the guides; see `Attack.parameters`."""
        return {**super().parameters(classifier), "guides": tf.constant(self.guides, tf.float32)}

    def aim(self, classifier: Any, x: tf.Tensor, labels: tf.Tensor) -> Aim:
        """Approach the logits of the guide."""
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = classifier.logits(x)
            loss = tf.reduce_mean((logits - tf.gather(self.guides, labels)) ** 2, axis=-1)
        fools = margin(logits, labels) > 0
        return Aim(fools, fools, loss, -tf.sign(finite(tape.gradient(loss, x), x)))

    def looks(self, classifier: Any) -> Passes:
        """Return one pass of the classifier, and back."""
        return Passes(1, 1)


def choose_guides(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Choose typical logits of each class.

    Args:
        logits: Logits of benign inputs, float32, (n, classes).
        y: Their classes, (n,).

    Returns:
        For each class, the logits of its input with the median lead, (classes, classes). A class
        without inputs gets those of another class, with both logits swapped.

    Examples:
        >>> choose_guides(np.array([[3.0, 1.0, 0.0], [9.0, 1.0, 0.0]]), np.array([0, 0]))[1]
        array([1., 3., 0.])
    """
    leads = np.diff(np.sort(logits, axis=1)[:, -2:], axis=1)[:, 0]
    typical = np.argsort(leads, kind="stable")
    guides = np.empty((logits.shape[1],) * 2, logits.dtype)
    for target in range(len(guides)):
        own = typical[y[typical] == target]
        chosen = own if len(own) else typical
        row = chosen[(len(chosen) - 1) // 2]
        guides[target] = logits[row]
        guides[target, [target, y[row]]] = logits[row, [y[row], target]]
    return guides
