"""ResNet-20 on CIFAR-10 (He et al. 2016), in the place of GoogLeNet, the classifier of Env2.

GoogLeNet has no published weights, and takes 40 minutes an epoch on two cores.
"""

import keras
from keras import layers

from a2d_keras import FGSM, DeepFool, PairJSMA
from models import cifar10
from models.parameters import CARLINI_WAGNER
from models.record import Record, Settings

_MEAN, _DEVIATION = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)  # of CIFAR-10's pixels
_STAGES = (16, 32, 64)
_BLOCKS = 3  # of a stage


def _layers():
    inputs = keras.Input((32, 32, 3))
    variance = [deviation**2 for deviation in _DEVIATION]
    x = layers.Normalization(mean=_MEAN, variance=variance)(inputs)
    x = layers.ReLU()(_convolution(x, _STAGES[0]))
    for stage, filters in enumerate(_STAGES):
        for block in range(_BLOCKS):
            x = _block(x, filters, strides=2 if stage and not block else 1)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(10, activation="softmax")(x)
    return [keras.Input(inputs.shape[1:]), keras.Model(inputs, outputs, name="network")]


def _block(x, filters, strides):
    """Two convolutions, and the input added; a 1 × 1 convolution fits it to their shape."""
    y = layers.ReLU()(_convolution(x, filters, strides=strides))
    y = _convolution(y, filters)
    if strides > 1:
        x = _convolution(x, filters, size=1, strides=strides)
    return layers.ReLU()(layers.Add()([x, y]))


def _convolution(x, filters, *, size=3, strides=1):
    x = layers.Conv2D(
        filters, size, strides, "same", use_bias=False, kernel_initializer="he_normal"
    )(x)
    return layers.BatchNormalization()(x)


def _augmentation():
    return [
        layers.RandomFlip("horizontal"),
        layers.RandomTranslation(0.125, 0.125, fill_mode="constant", interpolation="nearest"),
    ]


def _sgd(steps):
    rate = keras.optimizers.schedules.CosineDecay(0.1, steps)
    return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=5e-4)


RECORD = Record(
    title="cifar10, ResNet-20",
    load=cifar10.RECORD.load,
    layers=_layers,
    epochs=40,
    optimizer=_sgd,
    augmentation=_augmentation,
    settings=Settings(
        attacks={
            "FGSM": FGSM(eps=0.05),
            "JSMA": PairJSMA(theta=1.0, gamma=0.12),
            "DeepFool": DeepFool(overshoot=0.02, max_iterations=50),
            "C&W": CARLINI_WAGNER,
        },
        defences=cifar10.RECORD.settings.defences,
        baselines={"mutation testing": {"rate": 0.005}},
        strong=cifar10.RECORD.settings.strong,
        benign_accuracy=0.740,
    ),
    copies=cifar10.RECORD.copies,
)
