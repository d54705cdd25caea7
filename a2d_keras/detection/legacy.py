"""Read the configuration and the weights in files of version 0.1."""

from typing import Any

import keras

from a2d_keras.statistics.attack_cost import AttackCost

_CLASSIFIER = ("bounds", "from_logits", "precision")
_KEPT = ("name", "model", "false_positive_rate", "on_invalid", "slots", "on_changed_weights")


def is_legacy(config: dict[str, Any]) -> bool:
    """Return whether a `DetectorLayer` was saved by version 0.1.

    Args:
        config: Its configuration.

    Returns:
        Whether the configuration has the form of version 0.1.
    """
    return "detector" in config


def converted(config: dict[str, Any]) -> dict[str, Any]:
    """Convert a configuration of version 0.1 to the current form.

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


def read_as_before(layer: Any) -> None:
    """Let a layer find the weights of its rule where version 0.1 saved them.

    Keras looks for weights by the names of attributes, and takes the first ones that it finds.

    Args:
        layer: The `DetectorLayer`.
    """
    layer.verdict = layer.rule


def own_variables(store: Any) -> dict[str, Any]:
    """Read the variables that version 0.1 saved of a layer, apart from its rule's.

    Args:
        store: The argument of `load_own_variables`.

    Returns:
        `eps_iter`, `adapted` and `weights_hash`, or an empty dict if another version saved them.
    """
    names = ("eps_iter", "adapted", "weights_hash")
    if len(store.keys()) != len(names) or store["0"].dtype != "float32":
        return {}
    return {name: store[str(place)][()] for place, name in enumerate(names)}
