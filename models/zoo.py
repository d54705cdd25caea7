"""The classifiers: build, train, save and load them by name.

Trained weights are in `models/weights/`, with a manifest that records how they were trained, their
accuracy, and the SHA-256 of each file.
"""

import hashlib
import json
import math
import pathlib
from typing import Any

import keras

from models import registry
from models.record import Dataset

WEIGHTS = pathlib.Path(__file__).parent / "weights"
MANIFEST = WEIGHTS / "manifest.json"


def build(name: str) -> keras.Sequential:
    """Build the untrained classifier of one data set.

    Args:
        name: The data set, a name that `models.registry.find` knows.

    Returns:
        A `keras.Sequential` with images in [0, 1] as inputs and class probabilities as outputs.

    Raises:
        ValueError: If `name` is unknown.

    Examples:
        >>> build("digits").output_shape
        (None, 10)
    """
    return keras.Sequential(registry.find(name).layers(), name=name)


def train(name: str, data: Dataset, *, seed: int = 0) -> keras.Sequential:
    """Train a classifier from scratch, as its record says.

    Args:
        name: The data set, a name that `models.registry.find` knows.
        data: A `models.datasets.Dataset`. Its test half only reports progress.
        seed: Seed of the weights, the shuffling, the augmentation and the dropout. Defaults to 0.

    Returns:
        The trained `keras.Sequential`.
    """
    keras.utils.set_random_seed(seed)
    record, model = registry.find(name), build(name)
    trained = keras.Sequential([*record.augmentation(), model])
    steps = record.epochs * math.ceil(len(data.x_train) / record.batch_size)
    trained.compile(
        record.optimizer(steps), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    trained.fit(
        data.x_train,
        data.y_train,
        batch_size=record.batch_size,
        epochs=record.epochs,
        validation_data=(data.x_test, data.y_test),
        verbose=2,
    )
    return model


def save(name: str, model: keras.Model, data: Dataset) -> dict[str, Any]:
    """Save the weights of a trained classifier, and their entry in the manifest.

    Args:
        name: The data set, a name that `models.registry.find` knows.
        model: The trained model.
        data: The `models.datasets.Dataset` it was trained on.

    Returns:
        The manifest's entry, a dict with `sha256`, `epochs`, `train_accuracy`, `test_accuracy`.
    """
    path = _weights_path(name)
    WEIGHTS.mkdir(exist_ok=True)
    bare = build(name)  # without the optimizer's state, which would triple the file
    bare.set_weights(model.get_weights())
    bare.save_weights(path)
    entry = {
        "sha256": _sha256(path),
        "epochs": registry.find(name).epochs,
        "train_accuracy": _accuracy(model, data.x_train, data.y_train),
        "test_accuracy": _accuracy(model, data.x_test, data.y_test),
    }
    MANIFEST.write_text(json.dumps(_manifest() | {name: entry}, indent=2, sort_keys=True) + "\n")
    return entry


def load(name: str) -> keras.Sequential:
    """Load a trained classifier from `models/weights/`.

    Args:
        name: The data set, a name that `models.registry.find` knows.

    Returns:
        The trained `keras.Sequential`.

    Raises:
        FileNotFoundError: If it has not been trained yet.
        ValueError: If the weights are not those that the manifest records.

    Examples:
        >>> load("digits").name
        'digits'
    """
    model, path = build(name), _weights_path(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"There are no trained weights; train them with `python -m models.train "
            f"{name}`. Received: {name}"
        )
    digest = _sha256(path)
    if digest != _manifest()[name]["sha256"]:
        raise ValueError(
            f"{path.name} is not the file that {MANIFEST.name} records; restore it, or train "
            f"again with `python -m models.train {name}`. Received: SHA-256 {digest}"
        )
    model.load_weights(path)
    return model


def load_or_train(name: str, data: Dataset) -> keras.Sequential:
    """Load a classifier. If it was never trained, train and save it first.

    Args:
        name: The data set, a name that `models.registry.find` knows.
        data: A `models.datasets.Dataset`.

    Returns:
        The trained `keras.Sequential`.
    """
    if not _weights_path(name).is_file():
        save(name, train(name, data), data)
    return load(name)


def _weights_path(name):
    return WEIGHTS / f"{name}.weights.h5"


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _manifest():
    return json.loads(MANIFEST.read_text()) if MANIFEST.is_file() else {}


def _accuracy(model, x, y):
    return round(float((model.predict(x, batch_size=512, verbose=0).argmax(-1) == y).mean()), 4)
