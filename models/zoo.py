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
import numpy as np
import tensorflow as tf

from a2d_keras import AdversarialTraining
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
    steps_per_epoch = math.ceil(len(data.x_train) / record.batch_size)
    fit = _fit_robustly if record.adversary else _fit_denoising if record.denoising else _fit
    fit(record, model, data, record.optimizer(record.epochs * steps_per_epoch))
    return model


def _fit(record, model, data, optimizer):
    trained = keras.Sequential([*record.augmentation(), model])
    trained.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    trained.fit(
        data.x_train,
        data.y_train,
        batch_size=record.batch_size,
        epochs=record.epochs,
        validation_data=(data.x_test, data.y_test),
        verbose=2,
    )


def _fit_robustly(record, model, data, optimizer):
    augment = keras.Sequential([keras.Input(data.x_train.shape[1:]), *record.augmentation()])
    batches = tf.data.Dataset.from_tensor_slices((data.x_train, data.y_train))
    batches = batches.shuffle(len(data.x_train)).batch(record.batch_size)
    batches = batches.map(lambda x, y: (augment(x, training=True), y)).prefetch(tf.data.AUTOTUNE)
    warmup_steps = record.adversary.warmup_epochs * len(batches)
    trained = AdversarialTraining(model, **record.adversary.training, warmup_steps=warmup_steps)
    trained.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    trained.fit(
        batches,
        shuffle=False,  # they are
        epochs=record.epochs,
        validation_data=(data.x_test, data.y_test),
        verbose=2,
    )


def _fit_denoising(record, model, data, optimizer):
    clean = data.x_train[record.denoising.held_out :]
    noise = np.random.default_rng(0).standard_normal(clean.shape, "float32")
    noisy = np.clip(clean + record.denoising.noise * noise, 0, 1)
    model.compile(optimizer, "mean_squared_error")
    model.fit(
        noisy,
        clean,
        batch_size=record.batch_size,
        epochs=record.epochs,
        validation_data=(data.x_test, data.x_test),
        verbose=2,
    )


def save(name: str, model: keras.Model, data: Dataset) -> dict[str, Any]:
    """Save the weights of a trained classifier, and their entry in the manifest.

    Args:
        name: The data set, a name that `models.registry.find` knows.
        model: The trained model.
        data: The `models.datasets.Dataset` it was trained on.

    Returns:
        The manifest's entry, a dict with `sha256`, `epochs`, `train_accuracy`, `test_accuracy`,
        and `robust_accuracy` (on attacked test images) if the record has an adversary. Of an
        autoencoder it has `test_error`, its mean squared error, in place of accuracies.
    """
    path = _weights_path(name)
    WEIGHTS.mkdir(exist_ok=True)
    bare = build(name)  # without the optimizer's state, which would triple the file
    bare.set_weights(model.get_weights())
    bare.save_weights(path)
    entry = {"sha256": _sha256(path), "epochs": registry.find(name).epochs}
    entry |= _measured(name, model, data)
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


def _measured(name, model, data):
    record = registry.find(name)
    if record.denoising:
        found = model.predict(data.x_test, batch_size=512, verbose=0)
        return {"test_error": round(float(((found - data.x_test) ** 2).mean()), 6)}
    entry = {
        "train_accuracy": _accuracy(model, data.x_train, data.y_train),
        "test_accuracy": _accuracy(model, data.x_test, data.y_test),
    }
    if record.adversary:
        entry["robust_accuracy"] = _robust_accuracy(name, model, data)
    return entry


def _weights_path(name):
    return WEIGHTS / f"{name}.weights.h5"


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _manifest():
    return json.loads(MANIFEST.read_text()) if MANIFEST.is_file() else {}


def _robust_accuracy(name, model, data):
    """Measure the accuracy on test images attacked as the record says."""
    keras.utils.set_random_seed(0)
    trained = AdversarialTraining(model, **registry.find(name).adversary.test)
    trained.compile(loss="sparse_categorical_crossentropy")
    attack = tf.function(trained.attack, autograph=False, reduce_retracing=True)
    batches = tf.data.Dataset.from_tensor_slices((data.x_test, data.y_test)).batch(500)
    return _accuracy(model, np.concatenate([attack(x, y) for x, y in batches]), data.y_test)


def _accuracy(model, x, y):
    return round(float((model.predict(x, batch_size=512, verbose=0).argmax(-1) == y).mean()), 4)
