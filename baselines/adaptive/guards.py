"""The guards: A2D, with autoencoders, the default, and the lowest margins."""

import dataclasses

from a2d_keras import AttackCost, Margin, guard
from baselines.adaptive.settings import FALSE_POSITIVE_RATE

_COARSER = 5  # times the steps of BIM_d


def of_autoencoders(classifier, scene, images):
    """Make a guard of each autoencoder.

    Args:
        classifier: The `a2d_keras.Classifier`.
        scene: The `baselines.adaptive.settings.Scene`.
        images: Benign images that no autoencoder has seen, float32, (n, *input shape).

    Returns:
        A dict from the name to the adapted `a2d_keras.GuardedModel`.
    """
    return {
        name: _adapted(images, classifier, scene.drop_rate, statistics=[each.statistic()])
        for name, each in scene.autoencoders.items()
    }


def of_the_red_team(classifier, scene, defence, benign):
    """Make the guards that the red team attacks, each with 5 % false positives.

    The paper's BIM_d takes 500 steps. Here its steps are five times as long and a fifth as many,
    since attackers ask for thousands of verdicts.

    Args:
        classifier: As for `of_autoencoders`.
        scene: As for `of_autoencoders`.
        defence: The paper's BIM_d.
        benign: Benign inputs to learn from, float32, (n, *input shape).

    Yields:
        The name and the adapted `a2d_keras.GuardedModel` of each.
    """
    cost = AttackCost(coarser(defence))
    kinds = {
        "lowest margins": {"statistics": [Margin()]},
        "default": {},
        "A2D": {"statistics": [cost], "rule": "zscore"},
    }
    if scene.autoencoders:
        errors = [each.statistic() for each in scene.autoencoders.values()]
        kinds["A2D + AE"] = {"statistics": [cost, *errors], "rule": "fisher"}
    for name, options in kinds.items():
        yield name, _adapted(benign, classifier, FALSE_POSITIVE_RATE, **options)


def coarser(defence):
    """Lengthen the steps of an attack, and take fewer, so that it goes as far.

    Args:
        defence: The attack, with `eps_iter` and `max_iterations`.

    Returns:
        The attack with a fifth of the steps.

    Examples:
        >>> from a2d_keras import BIM
        >>> coarser(BIM(eps_iter=0.25, max_iterations=500)).max_iterations
        100
    """
    steps = max(1, defence.max_iterations // _COARSER)
    length = defence.eps_iter * _COARSER
    return dataclasses.replace(defence, eps_iter=length, max_iterations=steps)


def _adapted(benign, classifier, rate, **options):
    guarded = guard(classifier, false_positive_rate=rate, **options)
    guarded.adapt(benign, verbose=0)
    return guarded
