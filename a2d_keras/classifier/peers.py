"""A classifier as the models that Foolbox and ART attack. Neither need be installed."""

import importlib
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from a2d_keras.classifier.classifier import Classifier


def foolbox_model(classifier: "Classifier") -> Any:
    """Make a `foolbox.TensorFlowModel`; see `Classifier.as_foolbox`."""
    foolbox = _imported("foolbox", "foolbox")
    if not isinstance(classifier.bounds[0], float):
        raise ValueError(
            "Foolbox knows one range for all features: give it `classifier.unit.as_foolbox()`, "
            "and convert its examples with `classifier.from_unit`. "
            f"Received: bounds of the shape {classifier.bounds[0].shape}"
        )
    return foolbox.TensorFlowModel(classifier.logits, bounds=classifier.bounds)


def art_classifier(classifier: "Classifier") -> Any:
    """Make an `art.estimators.classification.TensorFlowV2Classifier`; see `Classifier.as_art`."""
    art = _imported("art.estimators.classification", "adversarial-robustness-toolbox")

    def logits(x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return classifier.logits(tf.cast(x, tf.float32))

    return art.TensorFlowV2Classifier(
        model=logits,
        nb_classes=classifier.classes,
        input_shape=classifier.input_shape,
        loss_object=keras.losses.CategoricalCrossentropy(from_logits=True),
        channels_first=classifier.data_format == "channels_first",
        clip_values=classifier.bounds,
    )


def _imported(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This needs another package: `pip install {package}`. Received: {error}"
        ) from error
