"""The guards: A2D, with autoencoders, the default, and the lowest margins."""

from a2d_keras import AttackCost, Margin, guard
from baselines.adaptive.settings import FALSE_POSITIVE_RATE
from baselines.comparison.labels import correctly_classified


def benign_inputs(classifier, scene, data, count):
    """Choose training images that are classified correctly and set no autoencoder's threshold.

    Args:
        classifier: The `a2d_keras.Classifier`.
        scene: The `baselines.adaptive.settings.Scene`.
        data: The `models.record.Dataset`.
        count: How many, at most.

    Returns:
        The images, float32, (n, *input shape).
    """
    rest = data.x_train[scene.held_out :], data.y_train[scene.held_out :]
    return correctly_classified(classifier, *rest, count)


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

    Args:
        classifier: As for `of_autoencoders`.
        scene: As for `of_autoencoders`.
        defence: BIM_d.
        benign: Benign inputs to learn from, float32, (n, *input shape).

    Yields:
        The name and the adapted `a2d_keras.GuardedModel` of each.
    """
    cost = AttackCost(defence)
    kinds = {
        "lowest margins": {"statistics": [Margin()]},
        "default": {},
        "A2D": {"statistics": [cost], "rule": "zscore"},
    }
    if scene.autoencoders:
        errors = [each.statistic() for each in scene.autoencoders.values()]
        kinds["A2D + AE"] = {"statistics": [cost, *errors], "rule": "fisher"}
    for name, options in kinds.items():
        if name in scene.guards:
            yield name, _adapted(benign, classifier, FALSE_POSITIVE_RATE, **options)


def _adapted(benign, classifier, rate, **options):
    guarded = guard(classifier, false_positive_rate=rate, **options)
    guarded.adapt(benign, verbose=0)
    return guarded
