"""MNIST: 28×28 grey digits, and the classifier of Env1 (Zhao et al. 2021, Section 5.2)."""

import functools

import keras
from keras import layers

from a2d_keras import BIM, FGSM, PairJSMA
from models.parameters import CARLINI_WAGNER, DEFENCES, strong
from models.record import Record, Settings
from models.sources import from_folder_or_keras


def _layers():
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


RECORD = Record(
    title="mnist",
    load=functools.partial(from_folder_or_keras, keras.datasets.mnist),
    layers=_layers,
    epochs=8,
    settings=Settings(
        attacks={
            "FGSM": FGSM(eps=0.3),
            "BIM-a": BIM(eps=0.3, eps_iter=0.01, max_iterations=50),
            "JSMA": PairJSMA(theta=1.0, gamma=0.1, probabilities=True),
            "C&W": CARLINI_WAGNER,
        },
        defences=DEFENCES,
        baselines={"KD+BU": {"bandwidth": 1.20}, "mutation testing": {"rate": 0.05}},  # as theirs
        strong=strong(eps=0.3, eps_iter=0.01),
        benign_accuracy=0.897,
    ),
)
