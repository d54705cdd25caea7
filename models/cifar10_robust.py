"""CIFAR-10's classifier of Env1, trained against PGD (Madry et al. 2018).

It has no dropout and no penalty on weights: an attacked image is regularization enough.
"""

import dataclasses

from keras import layers

from models import cifar10
from models.record import Adversary


def _layers():
    return [
        _plain(each) for each in cifar10.RECORD.layers() if not isinstance(each, layers.Dropout)
    ]


def _plain(layer):
    if isinstance(layer, layers.Dense):
        return layers.Dense(layer.units, activation=layer.activation)
    return layer


RECORD = dataclasses.replace(
    cifar10.RECORD,
    title="cifar10, robust",
    layers=_layers,
    epochs=40,
    adversary=Adversary(
        training={"eps": 8 / 255, "eps_iter": 2 / 255, "max_iterations": 7},
        warmup_epochs=5,
        test={"eps": 8 / 255, "eps_iter": 2 / 255, "max_iterations": 20},
    ),
)
