"""A guarded classifier that is made in no time, for tests of what every guard does."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d

SHAPE = (2, 3, 1)
ATTACKS = [a2d.BIM(eps_iter=1e-3, max_iterations=99), a2d.BIM2(eps_iter=1e-3, max_iterations=99)]
GUARDS = {"statistics": {}, "costs": {"attacks": ATTACKS}}  # the default guard, and the paper's
EACH = ["statistics", pytest.param("costs", marks=pytest.mark.slow)]
X = np.random.default_rng(0).uniform(size=(60, *SHAPE)).astype("float32")


def classifier():
    keras.utils.set_random_seed(0)  # since module fixtures run before those of a test
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)]
    return keras.Sequential(layers)


def adapted(guard, x=X, **options):
    guarded = a2d.guard(classifier(), **GUARDS[guard], **options)
    guarded.adapt(x, verbose=0)
    return guarded


@functools.cache
def shared(guard):
    """An adapted guard that tests must not change, so that its graphs are traced once."""
    return adapted(guard)


def predict(guarded, x):
    return guarded.predict(x, verbose=0)


def assert_equal(left, right):
    assert set(left) == set(right)
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def batches(x):
    return tf.data.Dataset.from_tensor_slices(x).batch(16)


class Counter(keras.layers.Layer):
    """Counts the inputs that pass through it, forward and backward, in graphs too."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # No weights: they are not to be saved.
        self.forward = tf.Variable(0, dtype="int64", trainable=False)
        self.backward = tf.Variable(0, dtype="int64", trainable=False)

    def call(self, x):
        @tf.custom_gradient
        def counted(x):
            def gradient(upstream):
                return self._count(self.backward, upstream)

            return self._count(self.forward, x), gradient

        return counted(x)

    def count(self, run):
        """Run a function; return the passes that it took, forward and backward."""
        before = int(self.forward), int(self.backward)
        run()
        return int(self.forward) - before[0], int(self.backward) - before[1]

    def _count(self, variable, x):
        with tf.control_dependencies([variable.assign_add(tf.shape(x, tf.int64)[0])]):
            return tf.identity(x)
