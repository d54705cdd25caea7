import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from a2d_keras.attacks.engine import randomness


def test_scrambles_as_splitmix64():
    words = randomness._mix(tf.range(1, 4, dtype=tf.int64) * randomness._GOLDEN)
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]  # of seed 0
    assert words.numpy().view("uint64").tolist() == published


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(size=(6, 4, 4, 1)).astype("float32")


def test_numbers_are_uniform_and_normal_and_independent(images):
    keys = randomness.keys(images, 0)
    u = randomness.uniform(keys, tf.range(6, dtype=tf.int64), [20_000]).numpy()
    z = randomness.normal(keys, tf.range(6, dtype=tf.int64), [20_000]).numpy()
    assert 0 < u.min() < 0.001
    assert 0.999 < u.max() < 1
    assert stats.kstest(u.ravel(), "uniform").pvalue > 0.01
    assert stats.kstest(z.ravel(), "norm").pvalue > 0.01
    assert np.abs(np.corrcoef(z) - np.eye(6)).max() < 0.03
    assert np.abs(np.corrcoef(z[0, :-1], z[0, 1:])[0, 1]) < 0.03


def test_belong_to_the_input_its_draw_and_the_seed(images):
    twice = np.concatenate([images, images[::-1]])
    zeros = tf.zeros(12, tf.int64)
    u = randomness.uniform(randomness.keys(twice, 3), zeros, [2, 5]).numpy()
    assert u.shape == (12, 2, 5)
    np.testing.assert_array_equal(u[:6], u[:5:-1])
    assert len(np.unique(u[:6])) == 60
    for other in (
        randomness.uniform(randomness.keys(twice, 4), zeros, [2, 5]),
        randomness.uniform(randomness.keys(twice, 3), zeros + 1, [2, 5]),
    ):
        assert not np.isin(other.numpy(), u).any()


def test_one_bit_of_one_pixel_makes_another_key(images):
    changed = images.copy()
    changed[:, 3, 3, 0] = np.nextafter(changed[:, 3, 3, 0], 2)
    assert not np.isin(randomness.keys(changed, 0), randomness.keys(images, 0)).any()


def test_xla_gives_the_same_numbers(images):
    def draw(x):
        return randomness.uniform(randomness.keys(x, 0), tf.range(6, dtype=tf.int64), [7])

    np.testing.assert_array_equal(tf.function(draw, jit_compile=True)(images), draw(images))


def test_only_the_largest_number_is_moved_below_one(monkeypatch):
    """One of the 2**24 numbers would round to 1. The others are those of version 0.1."""
    tops = np.concatenate([np.arange(2**16), 2**24 - 2**16 + np.arange(2**16)])
    words = tf.constant((tops.astype("uint64") << 40).view("int64"))
    monkeypatch.setattr(randomness, "_mix", lambda w: w if w.shape.rank == 1 else words[None])
    zero = tf.zeros(1, tf.int64)
    u = randomness.uniform(zero, zero, [len(tops)]).numpy()[0]
    before = (tops.astype("float32") + np.float32(0.5)) * np.float32(2.0**-24)
    assert before[-1] == 1
    np.testing.assert_array_equal(u[:-1], before[:-1])
    assert before[-2] <= u[-1] < 1
    assert np.isfinite(randomness.normal(zero, zero, [len(tops)])).all()
