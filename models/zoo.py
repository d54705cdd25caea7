"""The classifiers of Env1: build, train, save and load them.

Trained weights live in `models/weights/`, beside a manifest that records how they were made,
what they score, and the SHA-256 of each file.
"""

import hashlib
import json
import math
import pathlib

import keras
from keras import layers

WEIGHTS = pathlib.Path(__file__).parent / "weights"
MANIFEST = WEIGHTS / "manifest.json"


EPOCHS = {"digits": 100, "mnist": 8, "cifar10": 32}


def build(name):
    """Build the untrained classifier of one data set.

    Args:
        name: `"digits"`, `"mnist"` or `"cifar10"`.

    Returns:
        A `keras.Sequential` with images in [0, 1] as inputs and ten probabilities as
        outputs. MNIST and CIFAR-10 are the classifiers of Env1 (Zhao et al. 2021, Section 5.2).

    Raises:
        ValueError: If `name` is unknown.

    Examples:
        >>> build("digits").output_shape
        (None, 10)
    """
    if name not in EPOCHS:
        raise ValueError(f"`name` must be one of {', '.join(EPOCHS)}. Received: {name!r}")
    return keras.Sequential(_LAYERS[name](), name=name)


def train(name, data, seed=0):
    """Train a classifier of Env1 from scratch: Adam, from 1e-3 on a cosine down to zero.

    CIFAR-10 is trained on images flipped and shifted at random, up to 3 pixels.

    Args:
        name: `"digits"`, `"mnist"` or `"cifar10"`.
        data: A `models.datasets.Dataset`; its test half only reports progress.
        seed: Seed of the weights, the shuffling, the changes of images and the dropout. Defaults
            to 0.

    Returns:
        The trained `keras.Sequential`.
    """
    keras.utils.set_random_seed(seed)
    model = build(name)
    trained = keras.Sequential([*_changes(name), model])
    steps = EPOCHS[name] * math.ceil(len(data.x_train) / 128)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    optimizer = keras.optimizers.Adam(rate)
    trained.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    trained.fit(
        data.x_train,
        data.y_train,
        batch_size=128,
        epochs=EPOCHS[name],
        validation_data=(data.x_test, data.y_test),
        verbose=2,
    )
    return model


def save(name, model, data):
    """Keep a trained classifier: its weights, and its line in the manifest.

    Args:
        name: `"digits"`, `"mnist"` or `"cifar10"`.
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
        "epochs": EPOCHS[name],
        "train_accuracy": _accuracy(model, data.x_train, data.y_train),
        "test_accuracy": _accuracy(model, data.x_test, data.y_test),
    }
    MANIFEST.write_text(json.dumps(_manifest() | {name: entry}, indent=2, sort_keys=True) + "\n")
    return entry


def load(name):
    """Load a trained classifier from `models/weights/`.

    Args:
        name: `"digits"`, `"mnist"` or `"cifar10"`.

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
            f"There are no trained weights; make them with `python -m models.train "
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


def load_or_train(name, data):
    """Load a classifier; where it was never trained, train it first and keep it.

    Args:
        name: `"digits"`, `"mnist"` or `"cifar10"`.
        data: A `models.datasets.Dataset`.

    Returns:
        The trained `keras.Sequential`.
    """
    if not _weights_path(name).is_file():
        save(name, train(name, data), data)
    return load(name)


def _digits():
    return [
        keras.Input((8, 8, 1)),
        layers.Conv2D(16, 3, activation="relu"),
        layers.Conv2D(32, 3, activation="relu"),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(64, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ]


def _mnist():
    return [
        keras.Input((28, 28, 1)),
        layers.Conv2D(64, 3, activation="relu"),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Dropout(0.5),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ]


def _cifar10():
    stack = [keras.Input((32, 32, 3))]
    for filters in (32, 64, 128):
        stack += [
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
        ]
    stack += [layers.Flatten(), layers.Dropout(0.5)]
    for units in (1024, 512):
        stack += [
            layers.Dense(units, activation="relu", kernel_regularizer="l2", bias_regularizer="l2"),
            layers.Dropout(0.5),
        ]
    return [*stack, layers.Dense(10, activation="softmax")]


_LAYERS = {"digits": _digits, "mnist": _mnist, "cifar10": _cifar10}


def _changes(name):
    """Make the layers that change images in training, and only there."""
    if name != "cifar10":
        return []
    return [
        layers.RandomFlip("horizontal"),
        layers.RandomTranslation(0.1, 0.1, fill_mode="reflect", interpolation="nearest"),
    ]


def _weights_path(name):
    return WEIGHTS / f"{name}.weights.h5"


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _manifest():
    return json.loads(MANIFEST.read_text()) if MANIFEST.is_file() else {}


def _accuracy(model, x, y):
    return round(float((model.predict(x, batch_size=512, verbose=0).argmax(-1) == y).mean()), 4)
