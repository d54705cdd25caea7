"""Files of version 0.1: how their configuration and their weights are read."""

from typing import Any

import keras

from a2d_keras.detection.rules import Rule
from a2d_keras.statistics.attack_cost import AttackCost

_CLASSIFIER = ("bounds", "from_logits", "precision")
_KEPT = ("name", "model", "false_positive_rate", "on_invalid", "slots", "on_changed_weights")


def is_legacy(config: dict[str, Any]) -> bool:
    """Tell whether a `DetectorLayer` was saved by version 0.1.

    Args:
        config: Its configuration.

    Returns:
        Whether it was.
    """
    return "detector" in config


def converted(config: dict[str, Any]) -> dict[str, Any]:
    """Bring a configuration of version 0.1 to the present form.

    Args:
        config: The configuration.

    Returns:
        What `DetectorLayer.get_config` would return now.
    """
    attacks = [keras.saving.deserialize_keras_object(a) for a in config["attacks"] or [None]]
    costs = [AttackCost(attack, exact=config["exact"]) for attack in attacks]
    return {
        **{name: config[name] for name in _KEPT},
        "classifier": {name: config[name] for name in _CLASSIFIER},
        "statistics": [keras.saving.serialize_keras_object(cost) for cost in costs],
        "rule": config["detector"],
    }


class LegacyRule(keras.layers.Layer):
    """Stands where version 0.1 kept what a rule learned, and hands that on when a file is read.

    Args:
        rule: The `Rule` that takes it.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self._take = rule.load_own_variables

    def save_own_variables(self, store: Any) -> None:
        """Save nothing: the rule does."""

    def load_own_variables(self, store: Any) -> None:
        """Hand a file's variables on, where it has any here."""
        if len(store.keys()):
            self._take(store)
