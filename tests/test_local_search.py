import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from a2d_keras import Classifier
from a2d_keras.attacks.engine import randomness
from a2d_keras.attacks.local_search import LSA

ATTACK = LSA(r=1.2, t=16, max_iterations=20)  # fools many of the digits, few at once
WIDER = LSA(r=2.0, t=16, d=2, max_iterations=12, seed=5)


@pytest.fixture(scope="module")
def found(classifier, benign):
    return ATTACK(classifier, benign[:20])


def random_classifier(shape, bounds=(0.0, 1.0)):
    keras.utils.set_random_seed(3)
    stack = [keras.layers.Flatten(), keras.layers.Dense(4)]
    return Classifier(keras.Sequential([keras.Input(shape), *stack]), bounds=bounds)


def plain(attack, classifier, image):
    """LocSearchAdv of one image, written plainly; returns the image, cost, queries, and gap.

    The gap is the least by which a chosen candidate ever led one that was not.
    """
    low, high = classifier.bounds
    value = (image - (low + high) / 2) / (high - low)
    height, width = image.shape[:2]
    key = randomness.keys(tf.constant(image[None]), attack.seed)

    def logits(values):
        images = np.stack(values) * (high - low) + (low + high) / 2
        return classifier.logits(tf.constant(images, tf.float32)).numpy().astype("float64")

    def cyclic(number):
        number = attack.r * number
        return number + 1 if number < -0.5 else number - 1 if number > 0.5 else number

    label = logits([value])[0].argmax()
    places = [divmod(i, width) for i in range(height * width)]
    most, queries, gap = min(128, max(height * width // 10, 1)), 0, np.inf
    for step in range(attack.max_iterations):
        draw = randomness.uniform(key, tf.constant([step], tf.int64), [height * width]).numpy()[0]
        candidates = sorted(places, key=lambda at: -draw[at[0] * width + at[1]])[:most]
        trials = []
        for at in candidates:
            trial = value.copy()
            trial[at] = attack.p * np.sign(trial[at])
            trials.append(trial)
        z = logits(trials)
        others = np.log(np.exp(np.delete(z, label, axis=1)).sum(axis=1))
        scores = z[:, label] - others
        order = np.argsort(scores, kind="stable")
        chosen = [candidates[i] for i in order[: attack.t]]
        gap = min([gap, *np.diff(scores[order])[attack.t - 1 : attack.t]])
        for at in chosen:
            value[at] = np.vectorize(cyclic)(value[at])
        queries += 1 + len(trials)
        if logits([value])[0].argmax() != label:
            break
        d, most = attack.d, 128
        places = sorted(
            {
                (row, column)
                for y, x in chosen
                for row in range(max(y - d, 0), min(y + d + 1, height))
                for column in range(max(x - d, 0), min(x + d + 1, width))
            }
        )
    return value * (high - low) + (low + high) / 2, step + 1, queries, gap


@pytest.mark.slow
@pytest.mark.parametrize("attack", [ATTACK, pytest.param(WIDER, marks=pytest.mark.slow)])
def test_is_local_search_written_plainly(classifier, benign, attack):
    result = attack(classifier, benign[:12])
    found = [plain(attack, classifier, x) for x in benign[:12]]
    images, costs, queries, gaps = map(np.array, zip(*found, strict=True))
    equal = np.abs(result.adversarial - images).max(axis=(1, 2, 3)) < 1e-4
    assert np.mean(equal & (result.cost == costs)) >= 0.95
    assert len(set(costs)) >= 3
    beyond = result.queries - queries  # up to 8: the last pass, which tests success
    as_many = (beyond >= 0) & (beyond <= 8)
    assert as_many[gaps > 1e-4].all()
    assert as_many.mean() >= 0.9  # a tie may break the other way, and lead to other places


@pytest.mark.slow
def test_is_local_search_in_wide_images_with_channels():
    classifier = random_classifier((9, 31, 3), bounds=(-1.0, 3.0))
    images = np.random.default_rng(2).uniform(-1, 3, size=(3, 9, 31, 3)).astype("float32")
    attack = LSA(d=1, p=0.5, max_iterations=7)
    result = attack(classifier, images)
    for x, adversarial, cost in zip(images, result.adversarial, result.cost, strict=True):
        expected, expected_cost, *_ = plain(attack, classifier, x)
        np.testing.assert_allclose(adversarial, expected, atol=1e-4)
        assert cost == expected_cost


def test_success_is_a_change_of_the_prediction(classifier, benign, found):
    label = classifier.logits(benign[:20]).numpy().argmax(-1)
    predicted = classifier.logits(found.adversarial).numpy().argmax(-1)
    np.testing.assert_array_equal(predicted != label, found.success)
    assert 0.2 < found.success.mean() < 1
    assert found.adversarial.min() >= 0
    assert found.adversarial.max() <= 1
    np.testing.assert_array_equal(found.gradient_evaluations, 0)


@pytest.mark.slow
def test_changes_t_pixels_in_all_channels(small_images):
    result = LSA(t=3, max_iterations=1)(random_classifier((6, 6, 2)), small_images)
    changed = result.adversarial != small_images
    np.testing.assert_array_equal(changed[..., 0], changed[..., 1])
    np.testing.assert_array_equal(changed[..., 0].sum(axis=(1, 2)), 3)


@pytest.mark.slow
def test_goes_on_near_the_changed_pixels(small_images):
    once, twice = (
        LSA(t=1, d=1, max_iterations=steps)(random_classifier((6, 6, 2)), small_images)
        for steps in (1, 2)
    )
    going = twice.cost == 2
    assert going.sum() > 5
    for before, after, x in zip(
        once.adversarial[going], twice.adversarial[going], small_images[going], strict=True
    ):
        first, then = (np.argwhere((a != b).any(-1))[0] for a, b in ((x, before), (before, after)))
        assert np.abs(first - then).max() <= 1


@pytest.mark.slow
def test_draws_belong_to_the_input_and_the_seed(classifier, benign):
    attack = LSA(max_iterations=2)
    result = attack(classifier, np.repeat(benign[:2], 3, axis=0), slots=4)
    for same in np.split(result.adversarial, 2):
        np.testing.assert_array_equal(same, same[:1].repeat(3, axis=0))
    other = dataclasses.replace(attack, seed=1)(classifier, benign[:2], slots=4)
    assert (other.adversarial != result.adversarial[::3]).any(axis=(1, 2, 3)).all()


@pytest.mark.slow
def test_needs_no_gradient(benign):
    layers = [
        keras.Input((8, 8, 1)),
        keras.layers.Flatten(),
        keras.layers.Dense(10),
        keras.layers.Lambda(tf.stop_gradient, output_shape=(10,)),
    ]
    result = ATTACK(Classifier(keras.Sequential(layers)), benign[:5])
    assert result.success.mean() > 0.5


@pytest.mark.slow
def test_images_without_channels():
    images = np.random.default_rng(6).uniform(size=(3, 6, 6)).astype("float32")
    result = LSA(t=2, max_iterations=1)(random_classifier((6, 6)), images)
    np.testing.assert_array_equal((result.adversarial != images).sum(axis=(1, 2)), 2)


@pytest.mark.slow
def test_nothing_moves_in_the_middle_of_the_range():
    grey = np.full((2, 6, 6, 1), 0.5, "float32")
    result = LSA()(random_classifier((6, 6, 1)), grey)
    np.testing.assert_array_equal(result.cost, 150)
    np.testing.assert_array_equal(result.success, False)
    np.testing.assert_array_equal(result.adversarial, grey)
    assert result.queries.max() <= 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("r", "value", "expected"), [(2.0, 0.9, 0.3), (2.0, 0.0, 0.5), (1.5, 0.25, 0.125)]
)
def test_values_come_back_in_at_the_other_end(r, value, expected):
    image = np.full((1, 4, 4, 1), value, "float32")
    result = LSA(r=r, t=1, max_iterations=1)(random_classifier((4, 4, 1)), image)
    assert result.adversarial[result.adversarial != image] == pytest.approx(expected)


def test_refuses_what_are_not_images():
    with pytest.raises(ValueError, match=r"LSA needs a classifier of images.*Received: .*\(12,\)"):
        LSA()(random_classifier((12,)), np.zeros((1, 12)))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("r", [0, -1.0, 2.1, np.nan, "1", None]),
        ("p", [0, -1.0, np.inf, np.nan, "1", None]),
        ("d", [-1, 1.5, "1", None]),
        ("t", [0, -1, 1.5, "1", None]),
        ("seed", [-1, 1.5, "1", None]),
        ("max_iterations", [0, 1.5, None]),
    ],
)
def test_refuses_other_parameters(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"`{name}` must be a .*Received: {value}"):
            LSA(**{name: value})


@pytest.mark.slow
def test_channels_first_is_the_same():
    last = random_classifier((7, 9, 3))
    inputs = keras.Input((3, 7, 9))
    first = Classifier(keras.Model(inputs, last.model(keras.layers.Permute((2, 3, 1))(inputs))))
    assert first.data_format == "channels_first"
    x = np.random.default_rng(3).uniform(size=(8, 7, 9, 3)).astype("float32")
    attack = LSA(r=1.2, t=12, d=2, max_iterations=30)
    expected, result = attack(last, x), attack(first, x.transpose(0, 3, 1, 2))
    assert 0 < expected.success.sum() < 8
    np.testing.assert_array_equal(result.adversarial.transpose(0, 2, 3, 1), expected.adversarial)
    for name in ("success", "cost", "queries"):
        np.testing.assert_array_equal(getattr(result, name), getattr(expected, name))
