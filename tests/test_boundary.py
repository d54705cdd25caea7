import dataclasses

import keras
import numpy as np
import pytest
from scipy.stats import ks_2samp

from a2d_keras import DBA, Classifier


@pytest.fixture(scope="module")
def few(benign):
    return benign[:12]


@pytest.fixture(scope="module")
def result(classifier, few):
    return DBA()(classifier, few)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "part", "rel", "share"),
    [(0, slice(0, 200, 10), 0.5, 0.3), *((seed, slice(200), 0.15, 0.1) for seed in (0, 1, 2))],
    ids=["a tenth", *(f"seed {seed}" for seed in (0, 1, 2))],
)
def test_costs_are_distributed_as_the_authors(reference, seed, part, rel, share):
    model, x, counts = reference
    found = DBA(seed=seed)(Classifier(model), x[part])
    ours, theirs = np.split(found.cost, 2), np.split(counts["dba"][part], 2)
    assert np.median(ours[0]) == pytest.approx(np.median(theirs[0]), rel=rel)
    for cost, count in zip(ours, theirs, strict=True):
        assert ks_2samp(cost, count).pvalue > 0.001
    assert np.mean(ours[1] <= 5) == pytest.approx(np.mean(theirs[1] <= 5), abs=share)


@pytest.mark.slow
def test_needs_labels_alone(labels_only, classifier, few):
    attack, few = DBA(distance=0.08), few[:6]
    result = attack(labels_only, few)
    np.testing.assert_array_equal(result.cost, attack(classifier, few).cost)
    np.testing.assert_array_equal(result.gradient_evaluations, 0)


@pytest.mark.slow
def test_ends_misclassified_and_near(classifier, few, result):
    label = classifier.logits(few).numpy().argmax(-1)
    found = classifier.logits(result.adversarial).numpy().argmax(-1)
    assert result.success.mean() > 0.9
    assert (found != label).all()
    distance = ((result.adversarial - few) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_array_equal(distance < 0.02, result.success)
    # One step ends just below: the walk is stopped as soon as it is near enough.
    assert np.median(distance[result.success]) > 0.015


@pytest.mark.slow
def test_walks_on_when_asked_for_less(classifier, benign):
    near, far = (DBA(distance=distance)(classifier, benign[:10]) for distance in (0.03, 0.06))
    assert (near.cost >= far.cost).all()
    assert near.cost.mean() > 1.5 * far.cost.mean()
    distance = ((near.adversarial - benign[:10]) ** 2).mean(axis=(1, 2, 3))
    assert (distance[near.success] < 0.03).all()


def test_few_queries_are_wasted(result):
    assert (result.queries % 4 == 0).all()
    assert result.queries.sum() / result.cost.sum() < 20


@pytest.fixture(scope="module")
def bright():
    """A classifier of two classes: all noise is dark, and class 0."""
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(1, "sigmoid")])
    model.set_weights([np.full((16, 1), 2.0), np.array([-2 * 16 * 0.9])])
    return Classifier(model)


class TestStarts:
    DARK, BRIGHT = np.linspace(0.1, 0.8, 48).reshape(3, 16), np.linspace(0.91, 1, 32).reshape(2, 16)
    ATTACK = DBA(distance=0.2)

    @pytest.mark.slow
    def test_without_one_an_input_resists_while_others_go_on(self, bright):
        x = np.concatenate([self.DARK, self.BRIGHT])
        for starts in (None, self.DARK):  # none at all, or none of another class
            attack = dataclasses.replace(self.ATTACK, starts=starts)
            result = attack(bright, x, slots=2)
            np.testing.assert_array_equal(result.cost[:3], 5000)
            np.testing.assert_array_equal(result.queries[:3], 1000 if starts is None else 1004)
            np.testing.assert_allclose(result.adversarial[:3], self.DARK, rtol=1e-6)
            np.testing.assert_array_equal(result.success, [False] * 3 + [True] * 2)

    @pytest.mark.slow
    def test_where_noise_has_one_class_inputs_of_the_other_are_starts(self, bright):
        starts = np.concatenate([self.DARK, self.BRIGHT])
        attack = dataclasses.replace(self.ATTACK, starts=starts, distance=0.1)
        near = starts[2:]
        result = attack(bright, near, slots=2)
        assert result.success.all()
        reached = bright.logits(result.adversarial).numpy().argmax(-1)
        np.testing.assert_array_equal(reached, [1, 0, 0])
        assert (((result.adversarial - near) ** 2).mean(axis=1) < 0.1).all()
        assert result.queries[0] > 1000
        assert (result.queries <= attack.max_queries(bright, 5000)).all()

    @pytest.mark.slow
    def test_are_not_asked_for_where_noise_does(self, bright):
        starts = np.concatenate([self.DARK, self.BRIGHT])
        without, together = (
            dataclasses.replace(self.ATTACK, starts=given)(bright, self.BRIGHT, slots=2)
            for given in (None, starts)
        )
        for one, other in zip(without, together, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_are_saved_with_the_attack(self):
        attack = dataclasses.replace(self.ATTACK, starts=self.BRIGHT)
        config = keras.saving.serialize_keras_object(attack)
        restored = keras.saving.deserialize_keras_object(config)
        np.testing.assert_array_equal(restored.starts, self.BRIGHT)

    def test_must_be_inputs_of_the_classifier(self, bright):
        for starts, message in (
            (self.DARK[:, 1:], "shape.*Received: "),
            (self.DARK + 1, "Received: 0 values .* 48 outside"),
        ):
            attack = dataclasses.replace(self.ATTACK, starts=starts)
            with pytest.raises(ValueError, match=message):
                attack(bright, self.DARK)


@pytest.mark.slow
def test_a_walk_that_converges_too_far_away_resists():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.set_weights([np.array([[1.0, 0]] * 4), np.array([-1.2, 0])])  # a plane at distance 0.4
    x = np.full((1, 4), 0.5)
    result = DBA(distance=0.001)(Classifier(model, from_logits=True), x)
    np.testing.assert_array_equal(result.cost, 5000)
    assert not result.success.any()
    assert result.queries.max() < 5000 * 25
    np.testing.assert_allclose(((result.adversarial - x) ** 2).mean(axis=1), 0.04, rtol=0.01)


@pytest.mark.slow
def test_draws_belong_to_the_input(classifier, benign):
    attack = DBA(distance=0.04)
    twice = attack(classifier, np.concatenate([benign[:8], benign[7::-1]]), slots=5)
    np.testing.assert_array_equal(twice.cost[:8], twice.cost[:7:-1])
    other = DBA(distance=0.04, seed=1)(classifier, benign[:8], slots=5)
    assert np.mean(other.cost == twice.cost[:8]) < 0.5


@pytest.mark.slow
def test_adversarial_inputs_cost_less(classifier, adversarial, result):
    assert np.median(DBA()(classifier, adversarial[:12]).cost) < np.median(result.cost) / 2


@pytest.mark.slow
def test_lengths_are_fractions_of_the_range(model, classifier, benign):
    benign = benign[:12]
    inputs = keras.Input((8, 8, 1))
    wide = Classifier(keras.Model(inputs, model(inputs / 4 + 0.5)), bounds=(-2, 2))
    attack = DBA(distance=0.04)
    cost, expected = attack(wide, 4 * benign - 2).cost, attack(classifier, benign).cost
    assert np.median(cost) == pytest.approx(np.median(expected), rel=0.3)
