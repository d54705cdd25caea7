"""`score`: benign inputs, what attacks make of them, and the CLEVER scores of all."""

import functools
from typing import NamedTuple

import numpy as np
import pandas as pd

from baselines.clever.measure import Clever, CleverOptions
from baselines.comparison.labels import correctly_classified
from baselines.digests import digest
from models.parameters import confident

FORMS = {
    "logits": {},
    # Weng et al. take logits. This fits the size of the paper's figures.
    "capped softmax": {"outputs": "probabilities", "sampling": "pool", "capped": True},
}
LABELS = ("untargeted", "target-2", "target-5", "least likely")
JSMA_D, BIM_D = "JSMA_d", "BIM_d"  # whose steps stand beside the scores
_TOGETHER = 5  # inputs in one checkpoint


class Sizes(NamedTuple):
    """How much is measured.

    Attributes:
        limit: The largest number of benign inputs.
        samples: The points that each maximum is taken over.
        maxima: The maxima of each fit.
        confidences: The confidences of C&W in Table 4, numbers; none leave the table out.
    """

    limit: int
    samples: int
    maxima: int
    confidences: tuple = ()

    def forms(self):
        """List the `CleverOptions` of each form of the score, a dict by name."""
        sizes = {"samples": self.samples, "maxima": self.maxima}
        return {form: CleverOptions(**sizes, **options) for form, options in FORMS.items()}

    def confident(self):
        """List the attacks of Table 4, a dict by name."""
        return {f"C&W κ{confidence:g}": confident(confidence) for confidence in self.confidences}


def score(work, data, settings, sizes):
    """Score benign inputs and the examples of each attack, in every form.

    An example counts whether or not it fools, as in the paper. Its score is about the label that
    the classifier gives it.

    Args:
        work: The `baselines.comparison.measurements.Work`.
        data: The `models.record.Dataset`.
        settings: Its `models.record.Settings`.
        sizes: The `Sizes`.

    Returns:
        A `pandas.DataFrame` with a row for each form, kind and input: `form`, `kind`, the number
        of the `input`, whether it is `fooled`, its `distance` from the benign input (L2), the
        score for each of `LABELS`, the share of targets that are `unfitted`, whose limit is the
        largest maximum itself, and the steps of JSMA_d and BIM_d.
    """
    benign = correctly_classified(work.classifier.model, data.x_test, data.y_test, sizes.limit)
    attacks = {**settings.attacks, **sizes.confident()}
    examples, fooled = work.craft("test", attacks, dict.fromkeys(attacks, benign))
    inputs = {"benign": benign, **examples}
    defences = {name: settings.defences[name] for name in (JSMA_D, BIM_D)}
    steps, _ = work.attack_again("test", inputs, defences)
    frames = []
    for form, options in sizes.forms().items():
        clever = Clever(work.classifier, options=options)
        for kind, x in inputs.items():
            known = {
                "form": form,
                "kind": kind,
                "input": np.arange(len(x)),
                "fooled": fooled.get(kind, False),
                "distance": np.linalg.norm((x - benign).reshape(len(x), -1), axis=1),
            }
            scores = _scores(work, f"{kind} {form}", clever, x)
            frames.append(pd.DataFrame({**known, **scores, **steps[kind]}))
    return pd.concat(frames, ignore_index=True)


def by_label(scores):
    """Pick the scores of Table 1's labels.

    Args:
        scores: Scores against the classes ranked second, third and so on, float64, (n, at least
            4).

    Returns:
        A dict from each of `LABELS` to the scores, (n,).

    Examples:
        >>> ranked = np.array([[0.4, 0.3, 0.5, 0.6, 0.7]])
        >>> print({label: float(each[0]) for label, each in by_label(ranked).items()})
        {'untargeted': 0.3, 'target-2': 0.4, 'target-5': 0.6, 'least likely': 0.7}
    """
    columns = (scores.min(axis=1), scores[:, 0], scores[:, 3], scores[:, -1])
    return dict(zip(LABELS, columns, strict=True))


def _scores(work, name, clever, x):
    """Score one kind of input, a few at a time, and keep what is finished."""
    found = []
    for first in range(0, len(x), _TOGETHER):
        part = x[first : first + _TOGETHER]
        title = f"{name} {first}-{first + len(part) - 1}"
        origin = work.basis | {"clever": repr(clever.options), "inputs": digest(part)}
        compute = functools.partial(_computed, clever, part)
        found.append(work.checkpoints.get(title, origin, compute))
    scores, unfitted = (np.concatenate([each[k] for each in found]) for k in ("scores", "unfitted"))
    return {**by_label(scores), "unfitted": unfitted.mean(axis=1)}


def _computed(clever, x):
    found = clever(x)
    return {"scores": found.scores, "unfitted": found.limits == found.maxima.max(axis=1)}
