import keras
import numpy as np
import pytest
import tensorflow as tf

from a2d_keras import JSMA, Classifier, PairJSMA
from a2d_keras.attacks import saliency_map


@pytest.mark.parametrize(
    "every", [4, pytest.param(1, marks=pytest.mark.slow)], ids=["a quarter", "all"]
)
def test_parity_with_the_authors(reference, every):
    model, x, counts = reference
    result = JSMA()(Classifier(model), x[::every])
    assert np.mean(result.cost == counts["jsma"][::every]) >= 0.97


def test_reaches_the_second_most_likely_class(classifier, benign):
    order = classifier.logits(benign).numpy().argsort(axis=-1)
    result = JSMA()(classifier, benign)
    reached = classifier.logits(result.adversarial).numpy().argmax(-1)
    np.testing.assert_array_equal(reached[result.success], order[result.success, -2])
    assert result.success.mean() > 0.9
    np.testing.assert_array_equal(result.queries, result.cost + 1)
    np.testing.assert_array_equal(result.gradient_evaluations, result.cost + 1)


@pytest.mark.slow
def test_moves_one_pixel_a_step_by_theta(classifier, benign):
    one = JSMA(theta=0.05, max_iterations=1)(classifier, benign)
    change = np.abs(one.adversarial - benign).reshape(len(benign), -1)
    assert (np.count_nonzero(change, axis=1) <= 1).all()
    assert change.max() == pytest.approx(0.05, abs=1e-6)
    often = JSMA(theta=0.01, max_changes=3, max_iterations=100)(classifier, benign)
    assert np.abs(often.adversarial - benign).max() <= 0.03 + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("attack", [JSMA(targeted=True), PairJSMA(gamma=1.0, targeted=True)])
def test_reaches_given_targets(classifier, benign, attack):
    label = classifier.logits(benign).numpy().argmax(-1)
    targets = (label + 3) % 10
    result = attack(classifier, benign, targets=targets)
    reached = classifier.logits(result.adversarial).numpy().argmax(-1)
    assert result.success.mean() > 0.5
    np.testing.assert_array_equal(reached[result.success], targets[result.success])
    already = attack(classifier, benign, targets=label)
    np.testing.assert_array_equal(already.cost, 1)
    assert already.success.all()


@pytest.mark.slow
def test_nothing_left_to_move_costs_the_most_at_once():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.set_weights([np.zeros((4, 3)), np.array([9.0, 0, 0])])
    resisting = JSMA()(Classifier(model), np.full((2, 4), 0.5))
    np.testing.assert_array_equal(resisting.cost, 2000)
    np.testing.assert_array_equal(resisting.queries, 1)
    assert not resisting.success.any()
    model.set_weights([np.array([[1.0, -1, 0]] * 4), np.array([9.0, 0, 0])])
    spent = JSMA(max_changes=2)(Classifier(model), np.full((2, 4), 0.5))
    np.testing.assert_array_equal(spent.queries, 4 * 2 + 1)
    np.testing.assert_array_equal(spent.cost, 2000)
    np.testing.assert_allclose(spent.adversarial, 0.3, atol=1e-6)


def plain_pairs(evaluate, x, target, theta, gamma):
    """The published algorithm, one image at a time and every pair at once."""
    x, sign = x.copy(), np.sign(theta)
    free = np.ones(x.size, bool)
    for step in range(int(gamma * x.size / 2) + 1):
        outputs, jacobian = (values.numpy() for values in evaluate(tf.constant(x[None])))
        if outputs.argmax() == target and step:
            return x, True
        jacobian = jacobian.reshape(10, -1)
        gain = sign * jacobian[target]
        loss = -sign * np.delete(jacobian, target, axis=0).sum(axis=0)
        free &= x.ravel() < 1 if sign > 0 else x.ravel() > 0
        gains, losses = gain[:, None] + gain, loss[:, None] + loss
        allowed = np.triu(np.outer(free, free), 1) & (gains > 0) & (losses > 0)
        if step == int(gamma * x.size / 2) or not allowed.any():
            return x, False
        pair = np.unravel_index(np.argmax(np.where(allowed, gains * losses, 0)), allowed.shape)
        x.ravel()[list(pair)] = np.clip(x.ravel()[list(pair)] + theta, 0, 1)
        free[list(pair)] = False
    raise AssertionError


@pytest.mark.parametrize(
    ("theta", "probabilities"),
    [
        (1.0, False),
        (-0.4, True),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in ((-1.0, False), (0.4, False), (1.0, True))
        ),
    ],
)
def test_pairs_are_those_of_the_published_algorithm(classifier, benign, theta, probabilities):
    benign = benign[:15]
    targets = (classifier.logits(benign).numpy().argmax(-1) + 1) % 10
    attack = PairJSMA(theta=theta, gamma=0.3, probabilities=probabilities, targeted=True)

    @tf.function
    def evaluate(image):
        with tf.GradientTape() as tape:
            tape.watch(image)
            outputs = tf.cast(classifier.logits(image), "float64")
            outputs = tf.nn.softmax(outputs) if probabilities else outputs
        return outputs, tape.jacobian(outputs, image)

    result = attack(classifier, benign, targets=targets)
    plain = [plain_pairs(evaluate, x, t, theta, 0.3) for x, t in zip(benign, targets, strict=True)]
    same = [np.allclose(x, y[0], atol=1e-5) for x, y in zip(result.adversarial, plain, strict=True)]
    assert np.mean(same) >= 0.9
    assert np.mean(result.success == [success for _, success in plain]) >= 0.9
    assert np.mean(result.success) > 0.1


@pytest.mark.parametrize("pixels", [2, 3, 40])
def test_the_best_pair_is_the_first_of_all_pairs(pixels):
    generator = np.random.default_rng(0)
    ties = generator.integers(-2, 4, (2, 30, pixels))
    gains, losses = np.concatenate([ties, generator.normal(size=ties.shape)], 1).astype("float32")
    searched = generator.random(gains.shape) < 0.8
    salience, pair = saliency_map._best_pair(*map(tf.constant, (gains, losses, searched)))
    gain, loss = (values[:, :, None] + values[:, None, :] for values in (gains, losses))
    allowed = searched[:, :, None] & searched[:, None, :] & (gain > 0) & (loss > 0)
    every = np.where(np.triu(allowed, 1), gain * loss, 0).reshape(len(gains), -1)
    np.testing.assert_array_equal(salience, every.max(axis=-1))
    found, first = salience > 0, np.stack(np.divmod(every.argmax(axis=-1), pixels), axis=-1)
    np.testing.assert_array_equal(pair[found], first[found])


@pytest.mark.slow
def test_pairs_fit_any_number_of_pixels(model, classifier, benign, monkeypatch):
    whole = PairJSMA()(classifier, benign)
    monkeypatch.setattr("a2d_keras.attacks.saliency_map._PAIRS_AT_ONCE", 5 * 64)
    parts = PairJSMA()(Classifier(model), benign)
    np.testing.assert_array_equal(whole.adversarial, parts.adversarial)


@pytest.mark.slow
def test_random_targets_belong_to_the_input(classifier, benign):
    attack = PairJSMA(gamma=1.0)
    first = attack(classifier, np.concatenate([benign, benign[::-1]]))
    np.testing.assert_array_equal(first.adversarial[:40], first.adversarial[:39:-1])
    other = PairJSMA(gamma=1.0, seed=1)(classifier, benign)
    assert np.mean((other.adversarial == first.adversarial[:40]).all(axis=(1, 2, 3))) < 0.5
    label = classifier.logits(benign).numpy().argmax(-1)
    reached = classifier.logits(first.adversarial[:40]).numpy().argmax(-1)
    assert len(set((reached - label)[first.success[:40]] % 10)) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("attack", [JSMA(targeted=True), PairJSMA(gamma=0.5, targeted=True)])
def test_lengths_are_fractions_of_the_range(model, classifier, benign, attack):
    inputs = keras.Input((8, 8, 1))
    wide = Classifier(keras.Model(inputs, model(inputs / 4)), bounds=(0, 4))
    targets = (classifier.logits(benign).numpy().argmax(-1) + 1) % 10
    result = attack(wide, 4 * benign, targets=targets)
    expected = attack(classifier, benign, targets=targets)
    assert np.mean(result.cost == expected.cost) >= 0.95


def test_refuses_other_parameters(classifier, benign):
    with pytest.raises(ValueError, match="`theta` must be .* Received: 0"):
        JSMA(theta=0)
    with pytest.raises(ValueError, match="`max_changes` must be .* Received: 0"):
        JSMA(max_changes=0)
    with pytest.raises(ValueError, match="`gamma` must be .* Received: -1"):
        PairJSMA(gamma=-1)
    with pytest.raises(ValueError, match="`seed` must be .* Received: -1"):
        PairJSMA(seed=-1)
    with pytest.raises(ValueError, match="allow a pair of pixels.*gamma=0.03 for 64 pixels"):
        PairJSMA(gamma=0.03)(classifier, benign)


def test_needs_a_gradient(labels_only, benign):
    for attack in (JSMA(), PairJSMA()):
        with pytest.raises(ValueError, match=r"use DBA, .* Received: "):
            attack(labels_only, benign)
