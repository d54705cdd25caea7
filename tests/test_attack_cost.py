"""The cost of an attack as a statistic; see also the contract of all statistics."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from a2d_keras.statistics.attack_cost import column_names, measure

COSTS = [
    a2d.AttackCost(),
    a2d.AttackCost(a2d.BIM(eps_iter=0.002, max_iterations=60)),
    a2d.AttackCost(a2d.DBA(max_iterations=20)),
]


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).uniform(size=(30, 4)).astype("float32")


@pytest.fixture(scope="module")
def tiny():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(3)]
    return a2d.Classifier(keras.Sequential([keras.Input((4,)), *layers]))


@pytest.mark.parametrize("statistic", COSTS, ids=repr)
def test_what_was_learned_is_the_attacks(statistic, tiny, x):
    state = statistic.fit(tiny, x, 0.05, 128)
    attack = statistic.fitted(state)
    given = statistic.parameters(tiny, {n: tf.constant(v) for n, v in state.items()})
    own = attack.parameters(tiny)
    assert given.keys() == own.keys()
    for name, value in own.items():
        np.testing.assert_allclose(given[name], value, rtol=1e-7)


@pytest.mark.parametrize("attack", [a2d.BIM(targeted=True), a2d.LBFGS(), "BIM", a2d.BIM], ids=str)
def test_costs_are_of_untargeted_steps(attack):
    with pytest.raises(ValueError, match="must be an untargeted StepAttack.* Received: "):
        a2d.AttackCost(attack)


def test_a_classifier_without_the_attacks_needs_is_refused(tiny):
    """A statistic refuses what its attack refuses, such as inputs without pixels."""
    with pytest.raises(ValueError, match="Received: "):
        a2d.guard(tiny, attacks=[a2d.LSA()])


def test_starts_are_of_every_predicted_class(tiny, x):
    statistic = a2d.AttackCost(a2d.DBA(max_iterations=20))
    starts = statistic.fit(tiny, x, 0.05, 128)["starts"]
    predicted = tiny.logits(starts).numpy().argmax(-1)
    everything = np.unique(tiny.logits(x).numpy().argmax(-1))
    np.testing.assert_array_equal(np.unique(predicted), everything)
    counts = np.bincount(predicted)[everything]
    assert counts.max() - counts.min() <= 1 or counts.min() < 5
    given = a2d.DBA(starts=x[:3])
    assert a2d.AttackCost(given).initial_state(tiny) == {}


@pytest.mark.slow
def test_measure_counts_passes_beside_costs(tiny, x):
    attacks = [a2d.BIM(eps_iter=0.002, max_iterations=60), a2d.DBA(max_iterations=20)]
    found = measure(tiny, attacks, x, options=a2d.RunOptions())
    for index, attack in enumerate(attacks):
        result = attack(tiny, x)
        np.testing.assert_array_equal(found.costs[:, index], result.cost)
        np.testing.assert_array_equal(found.queries[:, index], result.queries)
        evaluations = found.gradient_evaluations[:, index]
        np.testing.assert_array_equal(evaluations, result.gradient_evaluations)
    assert column_names(attacks) == ["bim_0", "dba_1"]
