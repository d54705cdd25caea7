"""`sweep`: C&W with rising confidence against A2D and autoencoders (Figure 7, Table 4)."""

import dataclasses
from typing import NamedTuple

import numpy as np

from a2d_keras import ZScoreDetector
from a2d_keras.redteam import KappaSweep
from baselines.adaptive.guards import benign_inputs, of_autoencoders
from baselines.adaptive.settings import Z_SCORE
from baselines.clever.measure import Clever, CleverOptions
from baselines.digests import digest

BIM_D = "BIM_d"


class Pairs(NamedTuple):
    """Inputs, each with a class that it is to be taken for.

    Attributes:
        x: The inputs, float32, (n, *input shape).
        y: Their classes, int64, (n,).
        targets: The classes to reach, int64, (n,).
    """

    x: np.ndarray
    y: np.ndarray
    targets: np.ndarray


class Swept(NamedTuple):
    """What C&W with one confidence made of pairs.

    Attributes:
        confidence: The confidence κ.
        x: The examples, float32, (n, *input shape).
        reached: Whether each is classified as its target, with a lead of κ, bool, (n,).
        distance: Their L2 distances from the inputs, float64, (n,).
        steps: Their costs by BIM_d, int64, (n,).
        flagged: A dict from the defence to whether it flags each, bool, (n,).
    """

    confidence: float
    x: np.ndarray
    reached: np.ndarray
    distance: np.ndarray
    steps: np.ndarray
    flagged: dict


def pairs(x, y, limit):
    """Pair the first input of each class with every other class.

    Args:
        x: Inputs, float32, (n, *input shape).
        y: Their classes, int, (n,).
        limit: The largest number of pairs. The first ones have all inputs, each with one target.

    Returns:
        The `Pairs`.

    Examples:
        >>> pairs(np.eye(3), np.array([2, 0, 1]), 4).targets
        array([1, 2, 0, 2])
    """
    classes, firsts = np.unique(y, return_index=True)
    shifts = range(1, len(classes))
    rows = np.concatenate([firsts for _ in shifts])[:limit]
    targets = np.concatenate([np.roll(classes, -shift) for shift in shifts])[:limit]
    return Pairs(x[rows], y[rows], targets)


def sweep(work, scene, data, sizes, *, defence, confidences):
    """Attack the pairs with each confidence, and let every defence judge.

    Args:
        work: The `baselines.comparison.measurements.Work`.
        scene: The `baselines.adaptive.settings.Scene`.
        data: The `models.record.Dataset`.
        sizes: The `baselines.adaptive.settings.Sizes`.
        defence: BIM_d.
        confidences: The confidences κ.

    Returns:
        The pairs, and a list with what was `Swept` for each confidence.
    """
    chosen = pairs(data.x_test, data.y_test, sizes.pairs)
    benign = benign_inputs(work.classifier, scene, data, sizes.benign)
    fields = {"steps": "cost"}
    costs = work.attack(f"benign {BIM_D}", defence, benign, fields)["steps"]
    a2d = ZScoreDetector(h=Z_SCORE).fit(costs[:, None])
    guards = of_autoencoders(work.classifier, scene, data.x_train[: scene.held_out])
    found = []
    for confidence in confidences:
        x, success = _craft(work, chosen, confidence, sizes.iterations)
        steps = work.attack(f"κ{confidence} {BIM_D}", defence, x, fields)["steps"]
        by_error = {n: g.predict(x, verbose=0)["is_adversarial"] for n, g in guards.items()}
        found.append(
            Swept(
                confidence=float(confidence),
                x=x,
                reached=success,
                distance=np.linalg.norm((x - chosen.x).reshape(len(x), -1), axis=1),
                steps=steps,
                flagged=together(a2d.predict(steps[:, None]) == -1, by_error),
            )
        )
    return chosen, found


def together(by_cost, by_error):
    """Combine verdicts: an input is flagged if any part flags it.

    Args:
        by_cost: Whether A2D flags each input, bool, (n,).
        by_error: A dict from the name of an autoencoder to whether it does, bool, (n,).

    Returns:
        A dict from the defence to whether it flags each input.

    Examples:
        >>> verdicts = {"AE I": np.array([False, True]), "AE II": np.array([False, False])}
        >>> [*together(np.array([False, False]), verdicts)]
        ['A2D', 'AE I', 'AE II', 'AE', 'A2D + AE']
    """
    if not by_error:
        return {"A2D": by_cost}
    either = np.any([*by_error.values()], axis=0)
    return {"A2D": by_cost, **by_error, "AE": either, "A2D + AE": by_cost | either}


def clever_scores(work, swept, sizes):
    """Compute the untargeted CLEVER scores of examples, on the logits.

    Args:
        work: As for `sweep`.
        swept: What was `Swept`.
        sizes: As for `sweep`.

    Returns:
        The scores, float64, (n,).
    """
    clever = Clever(
        work.classifier, options=CleverOptions(samples=sizes.samples, maxima=sizes.maxima)
    )
    origin = work.basis | {"clever": repr(clever.options), "inputs": digest(swept.x)}

    def compute():
        return {"scores": clever(swept.x).scores.min(axis=1)}

    return work.checkpoints.get(f"κ{swept.confidence:g} CLEVER", origin, compute)["scores"]


def _craft(work, chosen, confidence, iterations):
    attack = KappaSweep(search_iterations=iterations).attack(confidence)
    attack = dataclasses.replace(attack, targeted=True)

    def compute():
        found = attack(work.classifier, chosen.x, targets=chosen.targets, verbose=work.verbose)
        return {"x": found.adversarial, "success": found.success}

    origin = work.basis | {"attack": repr(attack), "pairs": digest(*chosen)}
    kept = work.checkpoints.get(f"κ{confidence}", origin, compute)
    return kept["x"], kept["success"]
