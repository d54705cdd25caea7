"""Digits: 8×8 grey images that ship with scikit-learn, and a small convolutional network."""

import keras
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from a2d_keras import BIM, FGSM, PairJSMA
from models.parameters import CARLINI_WAGNER, DEFENCES, strong
from models.record import Dataset, Record, Settings


def _load(_):
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype("float32")
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=600, stratify=labels, random_state=0
    )
    return Dataset(x_train, y_train, x_test, y_test)


def _layers():
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


RECORD = Record(
    title="digits",
    load=_load,
    layers=_layers,
    epochs=100,
    settings=Settings(
        attacks={
            "FGSM": FGSM(eps=0.2),
            "BIM-a": BIM(eps=0.3, eps_iter=0.01, max_iterations=50),
            "JSMA": PairJSMA(theta=1.0, gamma=0.3, probabilities=True),
            "C&W": CARLINI_WAGNER,
        },
        defences=DEFENCES,
        baselines={"mutation testing": {"mutants": 100}},  # enough for so small a network
        strong=strong(eps=0.3, eps_iter=0.01),
        benign_accuracy=0.897,
    ),
    bundled=True,
)
