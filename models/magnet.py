"""The autoencoders of MagNet for MNIST (Meng, Chen 2017, Tables 2 and 3), which detect.

They learn to take noise away from the images of `mnist`. MagNet trains them for 100 epochs, at
Adam's rate of 1e-3. Here it is 10 epochs, at a rate that falls from 1e-2 to zero on a cosine.
"""

import dataclasses
import functools

import keras
from keras import layers

from models import mnist
from models.record import Denoising

_CONVOLUTION = functools.partial(
    layers.Conv2D,
    kernel_size=3,
    padding="same",
    activation="sigmoid",
    activity_regularizer=keras.regularizers.L2(1e-9),
)


def _layers_i():
    return [
        keras.Input((28, 28, 1)),
        _CONVOLUTION(3),
        layers.AveragePooling2D(2),
        *(_CONVOLUTION(3) for _ in range(2)),
        layers.UpSampling2D(2),
        _CONVOLUTION(3),
        _CONVOLUTION(1),
    ]


def _layers_ii():
    return [keras.Input((28, 28, 1)), *(_CONVOLUTION(filters) for filters in (3, 3, 1))]


def _adam(steps):
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, steps))


def _record(title, layers):
    return dataclasses.replace(
        mnist.RECORD,
        title=title,
        layers=layers,
        epochs=10,
        batch_size=256,
        optimizer=_adam,
        denoising=Denoising(noise=0.1, held_out=5000),
    )


RECORDS = {
    "magnet_i": _record("mnist, autoencoder I", _layers_i),
    "magnet_ii": _record("mnist, autoencoder II", _layers_ii),
}
