"""A guarded classifier that is made in no time, for tests of what every guard does."""

import keras
import numpy as np
import tensorflow as tf

import a2d_keras as a2d

SHAPE = (2, 3, 1)
ATTACKS = [a2d.BIM(eps_iter=1e-3, max_iterations=99), a2d.BIM2(eps_iter=1e-3, max_iterations=99)]
GUARDS = {"statistics": {}, "costs": {"attacks": ATTACKS}}  # the default guard, and the paper's
X = np.random.default_rng(0).uniform(size=(60, *SHAPE)).astype("float32")


def classifier():
    keras.utils.set_random_seed(0)  # since module fixtures run before those of a test
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)]
    return keras.Sequential(layers)


def adapted(guard, x=X, **options):
    guarded = a2d.guard(classifier(), **GUARDS[guard], **options)
    guarded.adapt(x, verbose=0)
    return guarded


def predict(guarded, x):
    return guarded.predict(x, verbose=0)


def assert_equal(left, right):
    assert set(left) == set(right)
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def batches(x):
    return tf.data.Dataset.from_tensor_slices(x).batch(16)
