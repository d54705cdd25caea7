import keras
import numpy as np
import pytest
from scipy.stats import ks_2samp

from a2d_keras import BIM, DBA, Classifier


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_costs_are_distributed_as_the_authors(reference, seed):
    model, x, counts = reference
    result = DBA(seed=seed)(Classifier(model), x)
    ours, theirs = np.split(result.cost, 2), np.split(counts["dba"], 2)
    assert np.median(ours[0]) == pytest.approx(np.median(theirs[0]), rel=0.15)
    for cost, count in zip(ours, theirs, strict=True):
        assert ks_2samp(cost, count).pvalue > 0.001
    assert np.mean(ours[1] <= 5) == pytest.approx(np.mean(theirs[1] <= 5), abs=0.1)


def test_needs_labels_alone(labels_only, classifier, benign):
    attack = DBA(distance=0.04)
    result = attack(labels_only, benign)
    np.testing.assert_array_equal(result.cost, attack(classifier, benign).cost)
    np.testing.assert_array_equal(result.gradient_evaluations, 0)


def test_ends_misclassified_and_near(classifier, benign):
    label = classifier.logits(benign).numpy().argmax(-1)
    result = DBA()(classifier, benign)
    found = classifier.logits(result.adversarial).numpy().argmax(-1)
    assert result.success.mean() > 0.9
    assert (found != label).all()
    distance = ((result.adversarial - benign) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_array_equal(distance < 0.02, result.success)
    # One step ends just below: the walk is stopped as soon as it is near enough.
    assert np.median(distance[result.success]) > 0.015


def test_walks_on_when_asked_for_less(classifier, benign):
    near = DBA(distance=0.03)(classifier, benign[:10])
    far = DBA(distance=0.06)(classifier, benign[:10])
    assert (near.cost >= far.cost).all()
    assert near.cost.mean() > 1.5 * far.cost.mean()
    distance = ((near.adversarial - benign[:10]) ** 2).mean(axis=(1, 2, 3))
    assert (distance[near.success] < 0.03).all()


def test_few_queries_are_wasted(classifier, benign):
    result = DBA()(classifier, benign)
    assert (result.queries % 4 == 0).all()
    assert result.queries.sum() / result.cost.sum() < 20


def constant():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.set_weights([np.zeros((4, 3)), np.array([1.0, 0, 0])])
    return Classifier(model, from_logits=True)


def test_without_a_start_costs_the_most_while_others_go_on(classifier, benign):
    result = DBA()(constant(), np.full((3, 4), 0.5))
    np.testing.assert_array_equal(result.cost, 5000)
    np.testing.assert_array_equal(result.queries, 1000)
    np.testing.assert_array_equal(result.adversarial, 0.5)
    assert not result.success.any()


def test_a_walk_that_converges_too_far_away_resists():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.set_weights([np.array([[1.0, 0]] * 4), np.array([-1.2, 0])])  # a plane at distance 0.4
    x = np.full((3, 4), 0.5)
    result = DBA(distance=0.001)(Classifier(model, from_logits=True), x)
    np.testing.assert_array_equal(result.cost, 5000)
    assert not result.success.any()
    assert result.queries.max() < 5000 * 25
    np.testing.assert_allclose(((result.adversarial - x) ** 2).mean(axis=1), 0.04, rtol=0.01)


def test_draws_belong_to_the_input(classifier, benign):
    twice = DBA()(classifier, np.concatenate([benign[:8], benign[7::-1]]), slots=5)
    np.testing.assert_array_equal(twice.cost[:8], twice.cost[:7:-1])
    other = DBA(seed=1)(classifier, benign[:8])
    assert np.mean(other.cost == twice.cost[:8]) < 0.5


def test_adversarial_inputs_cost_less(classifier, benign):
    adversarial = BIM(eps_iter=0.01, max_iterations=50)(classifier, benign).adversarial
    assert np.median(DBA()(classifier, adversarial).cost) < np.median(
        DBA()(classifier, benign).cost
    )


def test_lengths_are_fractions_of_the_range(model, classifier, benign):
    inputs = keras.Input((8, 8, 1))
    wide = Classifier(keras.Model(inputs, model(inputs / 4 + 0.5)), bounds=(-2, 2))
    attack = DBA(distance=0.04)
    cost, expected = attack(wide, 4 * benign - 2).cost, attack(classifier, benign).cost
    assert np.median(cost) == pytest.approx(np.median(expected), rel=0.3)
