import keras
import numpy as np
import pytest
import tensorflow as tf

from a2d_keras import DBA, AttackCost, Classifier, HopSkipJump, guard

ENDLESS = 1e-9  # a distance that no input reaches

pytestmark = pytest.mark.slow  # what every attack and statistic promises is tested fast


@pytest.fixture(scope="module")
def few(benign):
    return benign[:12]


@pytest.fixture(scope="module")
def result(classifier, few):
    return HopSkipJump()(classifier, few)


def lengths(result, x, norm=2):
    return np.linalg.norm((result.adversarial - x).reshape(len(x), -1), ord=norm, axis=1)


def labels_of(classifier, x):
    return classifier.logits(x).numpy().argmax(-1)


def test_ends_misclassified_and_just_within_the_distance(classifier, few, result):
    largest = HopSkipJump(norm=np.inf, distance=0.3)(classifier, few)
    limits = (result, 2, np.sqrt(64 * 0.02)), (largest, np.inf, 0.3)
    for found, norm, limit in limits:
        assert found.success.all()
        assert (labels_of(classifier, found.adversarial) != labels_of(classifier, few)).all()
        reached = lengths(found, few, norm)
        assert (reached < limit).all()
        assert np.median(reached) > 0.7 * limit


def test_asks_four_times_a_step_and_for_labels_alone(labels_only, few, result):
    asked = []

    def count(x):
        asked.append(len(x))
        return x

    inputs = keras.Input((8, 8, 1))
    counted = keras.layers.Lambda(
        lambda x: tf.ensure_shape(tf.numpy_function(count, [x], x.dtype), x.shape)
    )
    classifier = Classifier(
        keras.Model(inputs, labels_only.model(counted(inputs))), from_logits=True
    )
    asked.clear()
    found = HopSkipJump()(classifier, few)
    np.testing.assert_array_equal(found.cost, result.cost)
    np.testing.assert_array_equal(found.queries, 4 * (found.cost + 1))
    np.testing.assert_array_equal(found.gradient_evaluations, 0)
    slots = np.array(asked) // 4
    assert slots[0] == 12
    assert found.queries.sum() <= sum(asked) <= 1.5 * found.queries.sum()  # some slots are empty


def test_comes_nearer_than_the_boundary_attack_with_as_many_queries(classifier, few):
    ours = HopSkipJump(distance=ENDLESS, max_iterations=150)(classifier, few)
    theirs = DBA(distance=ENDLESS, max_iterations=60)(classifier, few)
    assert ours.queries.max() < np.median(theirs.queries)
    assert np.median(lengths(ours, few)) < 0.7 * np.median(lengths(theirs, few))


@pytest.mark.parametrize("norm", [2, np.inf])
def test_finds_the_nearest_point_of_a_plane(norm):
    """The boundary is a plane at a known distance, in five ranges of the features."""
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(2)])
    slope = np.linspace(-1, 1.2, 20)
    slope[:5] = 0
    bounds = np.full(20, -3.0), np.full(20, 5.0)
    model.set_weights([np.stack([slope, 0 * slope], axis=1), np.array([-2.0, 0])])
    classifier = Classifier(model, bounds=bounds)
    x = np.zeros((3, 20)) + 0.05 * np.eye(3, 20)
    found = HopSkipJump(norm=norm, distance=ENDLESS, max_iterations=400)(classifier, x)
    dual = np.linalg.norm(slope, ord=2 if norm == 2 else 1)
    nearest = (2 - x @ slope) / dual
    np.testing.assert_allclose(lengths(found, x, norm), nearest, rtol=0.1)
    assert (lengths(found, x, norm) >= nearest * (1 - 1e-5)).all()


def test_what_it_found_is_never_lost(classifier, few):
    reached = [
        lengths(HopSkipJump(distance=ENDLESS, max_iterations=steps)(classifier, few), few)
        for steps in (1, 8, 40, 44, 120)
    ]
    assert (np.diff(reached, axis=0) <= 0).all()
    assert np.median(reached[-1]) < 0.5 * np.median(reached[1])


def test_random_numbers_belong_to_the_input(classifier, few, result):
    other = HopSkipJump()(classifier, few[::-1], slots=5)
    np.testing.assert_array_equal(other.cost[::-1], result.cost)
    seeded = HopSkipJump(seed=1)(classifier, few)
    assert np.mean(seeded.cost == result.cost) < 0.5


def test_where_noise_has_one_class_inputs_of_the_other_are_starts():
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(1, "sigmoid")])
    model.set_weights([np.full((16, 1), 2.0), np.array([-2 * 16 * 0.9])])  # all noise is dark
    bright, dark = np.full((1, 16), 0.95), np.full((1, 16), 0.8)
    classifier = Classifier(model)
    found = HopSkipJump(starts=bright)(classifier, dark)
    assert found.success.all()
    assert found.queries == 4 * (250 + found.cost + 1)
    without = HopSkipJump()(classifier, dark)
    assert not without.success.any()
    assert without.cost == 5000
    assert without.queries == 1000
    np.testing.assert_array_equal(without.adversarial, dark.astype("float32"))


def test_adversarial_inputs_cost_less(classifier, adversarial, result):
    found = HopSkipJump()(classifier, adversarial[:12])
    assert np.median(found.cost) < np.median(result.cost) / 2


def test_guards(classifier, held_out, adversarial):
    attack = HopSkipJump(max_iterations=300)
    guarded = guard(classifier, statistics=[AttackCost(attack)])
    guarded.adapt(held_out[:100], verbose=0)
    flagged = guarded.predict(adversarial, verbose=0)["is_adversarial"]
    assert flagged.mean() > 0.3
    assert guarded.predict(held_out[100:200], verbose=0)["is_adversarial"].mean() < 0.15


def test_xla_gives_the_same(classifier, few, result):
    compiled = HopSkipJump()(classifier, few, jit_compile=True)
    assert np.mean(compiled.cost == result.cost) >= 0.9


@pytest.mark.parametrize("norm", [1, 3, None, "2"])
def test_refuses_other_norms(norm):
    with pytest.raises(ValueError, match="`norm` must be 2 or np.inf. Received: "):
        HopSkipJump(norm=norm)
