"""Energies of Haar bands, and warnings of data that flatters them."""

import itertools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import a2d_keras as a2d
from a2d_keras.statistics import Spectrum
from a2d_keras.statistics.view import View


def linear(shape, **options):
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


def energies(image, levels):
    """Describe the bands of one channel by hand."""
    found = []
    for _ in range(levels):
        image = np.pad(image, [(0, side % 2) for side in image.shape], mode="edge")
        a, b = image[::2, ::2], image[::2, 1::2]
        c, d = image[1::2, ::2], image[1::2, 1::2]
        bands = (a - b + c - d) / 4, (a + b - c - d) / 4, (a - b - c + d) / 4
        for energy in (band**2 + 1 / 255**2 for band in bands):
            found += [np.log(np.mean(energy)), np.mean(np.log(energy))]
        image = (a + b + c + d) / 4
    return found


def natural(count, shape, roughness=1.0):
    """Make smooth images with the spectrum of photographs, as 8-bit pixels."""
    rows, columns, _ = shape
    frequencies = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns))
    frequencies[0, 0] = 1
    noise = np.random.default_rng(0).standard_normal((count, *shape))
    waves = np.fft.fft2(noise, axes=(1, 2)) / frequencies[..., None] ** roughness
    images = np.fft.ifft2(waves, axes=(1, 2)).real
    images = 0.5 + 0.22 * (images - images.mean()) / images.std()
    return (np.round(255 * np.clip(images, 0, 1)) / 255).astype("float32")


def coded(images, quality=10):
    """Round the coefficients of 8×8 blocks to multiples of `quality`, as JPEG does."""
    frequency, place = np.arange(8)[:, None], np.arange(8)
    waves = np.cos(np.pi * frequency * (2 * place + 1) / 16) / 2
    waves[0] /= np.sqrt(2)
    coded = images.astype("float64") * 255
    for row, column in itertools.product(*(range(0, side, 8) for side in images.shape[1:3])):
        block = coded[:, row : row + 8, column : column + 8]
        found = np.einsum("ui,nijc,vj->nuvc", waves, block, waves)
        rounded = quality * np.round(found / quality)
        block[:] = np.einsum("ui,nuvc,vj->nijc", waves, rounded, waves)
    return (np.round(np.clip(coded, 0, 255)) / 255).astype("float32")


@pytest.mark.slow
def test_is_the_distance_of_log_energies():
    x = natural(80, (9, 12, 2))
    statistic, classifier = Spectrum(levels=2), linear((9, 12, 2))
    state = learn(statistic, classifier, x)
    assert {n: v.shape for n, v in state.items()} == {
        n: v.shape for n, v in statistic.initial_state(classifier).items()
    }
    rows = np.array([np.ravel([energies(i[..., c], 2) for c in (0, 1)], order="F") for i in x])
    np.testing.assert_allclose(state["mean"], rows.mean(axis=0), rtol=1e-4)
    residuals = (rows - rows.mean(axis=0)) @ state["whitening"].astype("float64")
    expected = np.linalg.norm(residuals, axis=1)
    found = measure(statistic, classifier, x, state)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert np.mean(found**2) == pytest.approx(24, rel=0.01)  # the dimensions
    compiled = measure(statistic, classifier, x, state, jit_compile=True)
    np.testing.assert_allclose(compiled, found, rtol=1e-4)
    np.testing.assert_allclose(measure(statistic, classifier, x[5:6], state), found[5:6], rtol=1e-4)


def test_bounds_and_the_place_of_channels_do_not_matter():
    x, statistic, plain = natural(40, (8, 10, 3)), Spectrum(), linear((8, 10, 3))
    other = linear((3, 8, 10), bounds=(-3.0, 5.0))
    moved = 8 * np.moveaxis(x, -1, 1) - 3
    expected = measure(statistic, plain, x, learn(statistic, plain, x))
    found = measure(statistic, other, moved, learn(statistic, other, moved))
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_finds_adversarial_digits(classifier, held_out, benign, adversarial):
    statistic = Spectrum()
    with pytest.warns(UserWarning, match="2×2 blocks have one value"):
        state = learn(statistic, classifier, held_out)
    normal = measure(statistic, classifier, benign, state)
    assert np.mean(measure(statistic, classifier, adversarial, state) > normal) > 0.8


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 32, 3)])
def test_constant_images_have_finite_distances(shape):
    statistic, classifier = Spectrum(), linear(shape)
    x = np.stack([np.full(shape, value, "float32") for value in (0, 0.5, 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = learn(statistic, classifier, x)
    assert np.isfinite(measure(statistic, classifier, x, state)).all()


@pytest.mark.parametrize("roughness", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("shape", [(32, 32, 3), (24, 20, 1)])
def test_natural_images_are_learned_without_a_warning(shape, roughness):
    classifier, images = linear(shape), natural(30, shape, roughness)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn(Spectrum(), classifier, images)


def test_jpeg_and_an_empty_background_are_told():
    classifier, images = linear((32, 32, 1)), natural(30, (32, 32, 1))
    with pytest.warns(UserWarning, match=r"Received: .*JPEG's grid of 8×8 blocks"):
        learn(Spectrum(), classifier, coded(images))
    images[:, :16] = 0
    with pytest.warns(UserWarning, match=r"Received: images in which \d\d% .* have one value"):
        learn(Spectrum(), classifier, images)


@pytest.mark.parametrize("options", [{"levels": 0}, {"tail": "long"}], ids=str)
def test_invalid_parameters_are_refused(options):
    with pytest.raises(ValueError, match="Received: "):
        Spectrum(**options)


def test_other_inputs_are_refused():
    with pytest.raises(ValueError, match="needs images.* Received: "):
        Spectrum().require(linear((12,)))
