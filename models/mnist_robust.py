"""MNIST's classifier of Env1, without dropout, trained against PGD (Madry et al. 2018)."""

import dataclasses

import keras

from models import mnist
from models.record import Adversary


def _layers():
    return [each for each in mnist.RECORD.layers() if not isinstance(each, keras.layers.Dropout)]


RECORD = dataclasses.replace(
    mnist.RECORD,
    title="mnist, robust",
    layers=_layers,
    epochs=30,
    adversary=Adversary(
        training={"eps": 0.3, "eps_iter": 0.05, "max_iterations": 10},
        warmup_epochs=5,
        test={"eps": 0.3, "eps_iter": 0.02, "max_iterations": 40},
    ),
)
