"""The error of an autoencoder: a least-squares one, or the user's."""

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import a2d_keras as a2d
from a2d_keras.statistics import Reconstruction
from a2d_keras.statistics.view import View


def linear(shape, **options):
    keras.utils.set_random_seed(0)
    stack = [layers.Flatten(), layers.Dense(3)]
    return a2d.Classifier(keras.Sequential([keras.Input(shape), *stack]), **options)


def learn(statistic, classifier, benign):
    return statistic.fit(classifier, benign, 0.05, 128)


def measure(statistic, classifier, x, state, **options):
    def graph(x):
        return statistic.measure(
            View.of(classifier, x), {k: tf.constant(v) for k, v in state.items()}
        )

    return tf.function(graph, autograph=False, **options)(tf.constant(x, tf.float32)).numpy()


def predicted(image, state):
    """Predict each pixel from its 3×3 window, one at a time, with the edges repeated."""
    wide = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    found = np.zeros_like(image)
    for row, column in itertools.product(*map(range, image.shape[:2])):
        window = wide[row : row + 3, column : column + 3]
        found[row, column] = np.tensordot(window, state["kernel"], 3) + state["bias"]
    return np.clip(found, 0, 1)


@pytest.mark.parametrize("p", [1, 2])
def test_is_the_mean_error_of_a_convolution(small_images, p):
    statistic, classifier = Reconstruction(p=p), linear((6, 6, 2))
    state = learn(statistic, classifier, small_images)
    expected = [np.mean(np.abs(x - predicted(x, state)) ** p) for x in small_images]
    found = measure(statistic, classifier, small_images, state)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    compiled = measure(statistic, classifier, small_images, state, jit_compile=True)
    np.testing.assert_allclose(compiled, expected, rtol=1e-4)
    alone = measure(statistic, classifier, small_images[3:4], state)
    np.testing.assert_allclose(alone, found[3:4], rtol=1e-5)


@pytest.mark.slow
def test_the_convolution_takes_noise_away(held_out, classifier):
    state = learn(Reconstruction(noise=0.1), classifier, held_out[:150])
    clean = held_out[150:180]
    noise = 0.1 * np.random.default_rng(1).standard_normal(clean.shape)
    noisy = np.clip(clean + noise, 0, 1)
    left = np.array([predicted(x, state) for x in noisy]) - clean
    assert np.mean(left**2) < 0.85 * np.mean((noisy - clean) ** 2)
    dataset = tf.data.Dataset.from_tensors(held_out[:150])
    again = learn(Reconstruction(noise=0.1), classifier, dataset)
    for name, value in state.items():
        np.testing.assert_array_equal(again[name], value)


def test_finds_adversarial_digits(classifier, held_out, benign, adversarial):
    statistic = Reconstruction()
    state = learn(statistic, classifier, held_out[:200])
    normal = measure(statistic, classifier, benign, state)
    assert np.mean(measure(statistic, classifier, adversarial, state) > normal) > 0.9


def test_bounds_and_the_place_of_channels_do_not_matter(small_images):
    plain = linear((6, 6, 2))
    options = {"bounds": (-3.0, 5.0), "data_format": "channels_first"}
    other, moved = linear((2, 6, 6), **options), 8 * np.moveaxis(small_images, -1, 1) - 3
    ranges = {
        "bounds": (np.zeros((2, 1, 1)), np.full((2, 1, 1), 4.0)),
        "data_format": "channels_first",
    }
    per_feature = linear((2, 6, 6), **ranges)
    statistic = Reconstruction()
    expected = measure(statistic, plain, small_images, learn(statistic, plain, small_images))
    found = measure(statistic, other, moved, learn(statistic, other, moved))
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    moved = (moved + 3) / 2
    found = measure(statistic, per_feature, moved, learn(statistic, per_feature, moved))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("count", [3, 200])
def test_other_inputs_are_projected_on_principal_axes(count):
    statistic, classifier = Reconstruction(p=1, noise=0.1), linear((4,))
    x = np.random.default_rng(0).uniform(size=(count, 4)).astype("float32")
    state = learn(statistic, classifier, x)
    assert {n: v.shape for n, v in state.items()} == {
        n: v.shape for n, v in statistic.initial_state(classifier).items()
    }
    covariance, centred = np.cov(x.T, bias=True), x - x.mean(axis=0)
    found = centred @ np.linalg.solve(covariance + 0.01 * np.eye(4), covariance)
    expected = np.abs(centred - found).mean(axis=1)
    np.testing.assert_allclose(measure(statistic, classifier, x, state), expected, rtol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 40, 3), (5,), (7, 2)])
def test_constant_inputs_have_finite_errors(shape):
    statistic, classifier = Reconstruction(), linear(shape)
    x = np.stack([np.full(shape, value, "float32") for value in (0, 0.5, 1)])
    for benign in (x[:1], x):
        errors = measure(statistic, classifier, x, learn(statistic, classifier, benign))
        assert np.isfinite(errors).all()


def test_images_of_any_size():
    stack = [layers.Conv2D(2, 3, padding="same"), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    classifier = a2d.Classifier(keras.Sequential([keras.Input((None, None, 1)), *stack]))
    x = np.random.default_rng(0).uniform(size=(5, 9, 12, 1)).astype("float32")
    state = learn(Reconstruction(), classifier, x)
    assert state["kernel"].shape == Reconstruction().initial_state(classifier)["kernel"].shape
    expected = [np.mean((each - predicted(each, state)) ** 2) for each in x[:, :7]]
    found = measure(Reconstruction(), classifier, x[:, :7], state)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


class TestOfTheUser:
    @pytest.fixture(scope="class")
    def autoencoder(self):
        keras.utils.set_random_seed(1)
        stack = [layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization()]
        stack += [layers.Dropout(0.5, seed=0), layers.Conv2D(1, 3, padding="same")]
        return keras.Sequential([keras.Input((8, 8, 1)), *stack])

    def test_is_the_error_of_its_predictions(self, autoencoder, model, benign):
        classifier = a2d.Classifier(model, bounds=(-1, 3))
        statistic = Reconstruction(autoencoder=autoencoder, p=1)
        statistic.require(classifier)
        state = learn(statistic, classifier, benign)
        errors = np.abs(benign - autoencoder.predict(benign, verbose=0)) / 4
        for options in ({}, {"jit_compile": True}):
            found = measure(statistic, classifier, benign, state, **options)
            np.testing.assert_allclose(found, errors.mean(axis=(1, 2, 3)), rtol=1e-4)
        zeros = {name: np.zeros_like(value) for name, value in state.items()}
        found = measure(statistic, classifier, benign, zeros)  # the state is what counts
        np.testing.assert_allclose(found, np.abs(benign).mean(axis=(1, 2, 3)) / 4, rtol=1e-5)

    def test_is_saved_with_its_weights(self, autoencoder):
        statistic = Reconstruction(autoencoder=autoencoder, p=3)
        config = json.dumps(keras.saving.serialize_keras_object(statistic))
        again = keras.saving.deserialize_keras_object(json.loads(config))
        assert again == statistic
        assert hash(again) == hash(statistic)
        assert again != Reconstruction(p=3)
        again.autoencoder.set_weights([0 * w for w in again.autoencoder.get_weights()])
        assert again != statistic

    def test_what_does_not_fit_is_refused(self, autoencoder, classifier):
        halved = keras.Sequential([keras.Input((8, 8, 1)), layers.MaxPooling2D()])
        for given, other in ((autoencoder, linear((9,))), (halved, classifier)):
            with pytest.raises(ValueError, match="one array of the same shape. Received: "):
                Reconstruction(autoencoder=given).require(other)

    def test_an_infinite_error_is_the_largest(self, classifier, benign):
        broken = keras.Sequential([keras.Input((8, 8, 1)), layers.Lambda(lambda x: x / 0.0)])
        found = measure(Reconstruction(autoencoder=broken), classifier, benign, {})
        assert (found == np.finfo("float32").max).all()


@pytest.mark.parametrize(
    "options", [{"autoencoder": "MagNet"}, {"p": 0}, {"noise": -1}, {"tail": "long"}], ids=str
)
def test_invalid_parameters_are_refused(options):
    with pytest.raises(ValueError, match="Received: "):
        Reconstruction(**options)


def test_open_sides_of_other_inputs_are_refused():
    stack = [layers.GlobalAveragePooling1D(), layers.Dense(3)]
    classifier = a2d.Classifier(keras.Sequential([keras.Input((None, 2)), *stack]))
    with pytest.raises(ValueError, match="one size"):
        Reconstruction().require(classifier)
