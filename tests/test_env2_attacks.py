import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from baselines.env2.attacks import (
    CarliniWagnerAsCoded,
    DeepFoolAsCoded,
    FGSMAsCoded,
    JSMAAsCoded,
    substitute,
)
from baselines.env2.normalized import stretched

pytestmark = pytest.mark.checkout

SCALE = {"mean": (0.3,), "deviation": (0.4,)}
ATTACKS = [
    FGSMAsCoded(eps=0.5, **SCALE),
    JSMAAsCoded(theta=1.0, gamma=0.2, **SCALE),
    DeepFoolAsCoded(**SCALE),
    CarliniWagnerAsCoded(c=0.6, iterations=60, learning_rate=0.05, **SCALE),
]


@pytest.fixture(scope="module")
def logits(model):
    """The digits classifier without its softmax, as a function of normalised images."""
    bare = keras.models.clone_model(model)
    bare.set_weights(model.get_weights())
    bare.layers[-1].activation = keras.activations.linear
    return lambda z: bare(0.3 + 0.4 * z, training=False)


def captured(attack, classifier, x):
    """The normalised images of an attack before they are stretched, and what it returns."""
    seen = []

    class Seen(type(attack)):
        def craft(self, *args):
            seen.append((args[1], *super().craft(*args)))
            return seen[-1][1:]

    found = Seen(**vars(attack))(classifier, x)
    return *seen[0], found


def by_gradient(logits, z, weights):
    with tf.GradientTape() as tape:
        z = tf.constant(z)
        tape.watch(z)
        total = tf.reduce_sum(logits(z) * weights)
    return tape.gradient(total, z).numpy()


def test_stretching_is_what_a_file_holds():
    images = np.random.default_rng(0).normal(size=(4, 5, 6, 3))
    found = stretched(images)
    for one, image in zip(found, images, strict=True):
        low, high = image.min(), image.max()
        bytes_ = [int((value - low) * 255 / (high - low) + 0.5) for value in image.ravel()]
        np.testing.assert_array_equal(one.ravel() * np.float32(255), bytes_)
    assert not stretched(np.full((1, 2, 2, 1), 7.0)).any()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_every_attack_says_what_fools(attack, classifier, model, benign):
    _, images, crafted, found = captured(attack, classifier, benign)
    labels = model.predict(benign, verbose=0).argmax(-1)
    np.testing.assert_array_equal(found.adversarial, stretched(images))
    again = model.predict(found.adversarial, verbose=0).argmax(-1)
    np.testing.assert_array_equal(found.success, crafted & (again != labels))
    assert found.success.mean() > (0.05 if isinstance(attack, JSMAAsCoded) else 0.4)
    assert found.adversarial.dtype == np.float32
    assert (found.adversarial.min(axis=(1, 2, 3)) == 0).all()
    assert (found.adversarial.max(axis=(1, 2, 3)) == 1).all()


def test_fgsm_is_a_step_in_units_of_the_deviation(classifier, logits, benign):
    z, images, success, _ = captured(ATTACKS[0], classifier, benign)
    np.testing.assert_allclose(z, (benign - 0.3) / 0.4, atol=1e-6)
    labels = logits(z).numpy().argmax(-1)
    gradient = by_gradient(logits, z, -np.eye(10, dtype="float32")[labels])
    clear = abs(gradient) > 1e-4
    np.testing.assert_allclose(images[clear], (z + 0.5 * np.sign(gradient))[clear], atol=1e-6)
    np.testing.assert_array_equal(success, logits(images).numpy().argmax(-1) != labels)


def test_jsma_raises_each_pixel_once(classifier, logits, benign):
    z, images, success, _ = captured(ATTACKS[1], classifier, benign)
    steps = images - z
    raised = ~np.isclose(steps, 0)
    np.testing.assert_allclose(steps[raised], 1, atol=1e-5)
    assert raised.sum(axis=(1, 2, 3)).max() == int(0.2 * 64)
    assert 0 < success.sum() < len(success)
    # The first pixel of an input that takes one step only is the one of the largest saliency.
    first = JSMAAsCoded(theta=1.0, gamma=1 / 64, **SCALE)
    z, images, _, _ = captured(first, classifier, benign)
    labels = logits(z).numpy().argmax(-1)
    target = (labels + np.random.default_rng(0).integers(1, 10, len(z))) % 10
    wanted = np.eye(10, dtype="float32")[target]
    up, down = (by_gradient(logits, z, weights) for weights in (wanted, 1 - wanted))
    saliency = (np.maximum(up, 0) * np.maximum(-down, 0)).reshape(len(z), -1)
    pixel = (images - z).reshape(len(z), -1).argmax(axis=1)
    np.testing.assert_allclose(saliency[np.arange(len(z)), pixel], saliency.max(axis=1), rtol=1e-3)


def deepfool_by_loops(logits, z):
    """The change of one image, as Moosavi-Dezfooli et al. define it."""
    label, total = logits(z[None]).numpy().argmax(), np.zeros_like(z)
    for _ in range(50):
        image = z + np.float32(1.02) * total
        values = logits(image[None]).numpy()[0]
        if values.argmax() != label:
            break
        steps = []
        for other in {*range(10)} - {label}:
            weights = np.eye(10, dtype="float32")[other] - np.eye(10, dtype="float32")[label]
            slope = by_gradient(logits, image[None], weights)[0]
            distance = abs(values[other] - values[label]) / np.linalg.norm(slope)
            steps.append((distance, slope / np.linalg.norm(slope)))
        distance, direction = min(steps, key=lambda step: step[0])
        total += (distance + 1e-4) * direction
    return z + np.float32(1.02) * total


@pytest.mark.slow
def test_deepfool_equals_the_definition(classifier, logits, benign):
    z, images, success, _ = captured(ATTACKS[2], classifier, benign)
    assert success.all()
    for one, image in zip(z[:6], images, strict=False):
        np.testing.assert_allclose(image, deepfool_by_loops(logits, one), atol=1e-3)


def test_cw_stands_still_on_what_is_already_across(classifier, logits, benign):
    z, images, success, _ = captured(ATTACKS[3], classifier, benign)
    assert (abs(images) <= 0.5).all()
    labels = logits(z).numpy().argmax(-1)
    before = logits(np.tanh(z) / 2).numpy().argmax(-1) != labels
    np.testing.assert_allclose(images[before], (np.tanh(z) / 2)[before], atol=1e-7)
    assert success[before].all()
    assert success.sum() > before.sum()


def test_cw_leaves_what_has_come_to_rest(classifier, logits, benign):
    attack = CarliniWagnerAsCoded(c=0.6, iterations=400, learning_rate=0.05, **SCALE)
    z, images, _, _ = captured(attack, classifier, benign[:6])
    labels = logits(z).numpy().argmax(-1)
    w, mean, square = np.zeros_like(z), 0.0, 0.0
    for step in range(1, 401):  # for all to the end
        inside = np.tanh(z + w) / 2
        values = logits(inside).numpy()
        others = np.where(np.eye(10)[labels] > 0, -np.inf, values).argmax(-1)
        weights = -0.6 * np.eye(10)[others] * (values.argmax(-1) == labels)[:, None]
        gradient = by_gradient(logits, inside, weights.astype("float32"))
        gradient = gradient * (1 - 4 * inside**2) / 2
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        estimate = square / (1 - 0.999**step)
        w -= (0.05 * mean / (1 - 0.9**step) / (np.sqrt(estimate) + 1e-8)).astype("float32")
    np.testing.assert_allclose(images, np.tanh(z + w) / 2, atol=0.02)


@pytest.mark.slow
def test_the_substitute_learns_from_labels(classifier, digits):
    imitation = a2d.train_substitute(
        classifier, digits.x_test[:100], substitute((8, 8, 1)), rounds=1, epochs=30, batch_size=16
    )
    own, other = (c.logits(digits.x_test[100:]).numpy().argmax(-1) for c in (classifier, imitation))
    assert np.mean(own == other) > 0.25  # by chance: 0.1
