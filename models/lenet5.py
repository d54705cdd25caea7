"""LeNet-5 on MNIST: the classifier of Env2 (Wang et al. 2019; Zhao et al. 2021, Table 6)."""

import keras
from keras import layers

from a2d_keras import FGSM, DeepFool, PairJSMA
from models import mnist
from models.parameters import CARLINI_WAGNER, DEFENCES, strong
from models.record import Record, Settings

_MEAN, _DEVIATION = 0.1307, 0.3081  # of MNIST's pixels


def _layers():
    return [
        keras.Input((28, 28, 1)),
        layers.Rescaling(1 / _DEVIATION, offset=-_MEAN / _DEVIATION),
        layers.Conv2D(6, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(name="pool_1"),
        layers.Conv2D(16, 5, activation="relu"),
        layers.MaxPooling2D(name="pool_2"),
        layers.Flatten(),
        layers.Dense(120, activation="relu", name="hidden_1"),
        layers.Dense(84, activation="relu", name="hidden_2"),
        layers.Dense(10, activation="softmax"),
    ]


def _sgd(_):
    return keras.optimizers.SGD(0.01, momentum=0.5)


RECORD = Record(
    title="mnist, LeNet-5",
    load=mnist.RECORD.load,
    layers=_layers,
    epochs=10,
    batch_size=64,
    optimizer=_sgd,
    settings=Settings(
        attacks={
            "FGSM": FGSM(eps=0.35),
            "FGSM 0.108": FGSM(eps=0.35 * _DEVIATION),  # what 0.35 is in its authors' units
            "JSMA": PairJSMA(theta=1.0, gamma=0.12),
            "DeepFool": DeepFool(overshoot=0.02, max_iterations=50),
            "C&W": CARLINI_WAGNER,
        },
        defences=DEFENCES,
        baselines={
            "mutation testing": {"rate": 0.05},
            "Dissector": {"hidden": ["pool_1", "pool_2", "hidden_1", "hidden_2"]},  # as its authors
        },
        strong=strong(eps=0.3, eps_iter=0.01),
        benign_accuracy=0.897,
    ),
)
