"""The traces, passes and Python calls of a verdict and of a cost. Times are not tested."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from models import zoo

FOUR = (a2d.JSMA(), a2d.BIM(), a2d.BIM2(), a2d.DBA(distance=0.05, max_iterations=60))


CALLS = collections.Counter()  # not in the layers, whose changes the detector notices


class Heard(keras.layers.Layer):
    """Counts its calls from Python: one per trace, and one per call that is not compiled."""

    def call(self, x):
        CALLS[self.name] += 1
        return x


@pytest.fixture
def heard():
    """The digits classifier, and the counter of its calls from Python."""
    inputs, layer = keras.Input((8, 8, 1)), Heard()
    return keras.Model(inputs, zoo.load("digits")(layer(inputs))), layer


def calls(layer, run):
    before = CALLS[layer.name]
    run()
    return CALLS[layer.name] - before


@pytest.fixture(scope="module")
def x(benign, adversarial):
    return np.concatenate([benign, adversarial])


class TestTraces:
    """A second call, with another number of inputs, finds everything compiled."""

    COUNTS = (1, 33, 80)

    @pytest.mark.parametrize(
        "attack",
        [a2d.BIM(), pytest.param(a2d.DBA(max_iterations=10), marks=pytest.mark.slow)],
        ids=["BIM", "DBA"],
    )
    def test_attack(self, heard, x, attack):
        model, layer = heard
        classifier = a2d.Classifier(model)
        assert calls(layer, lambda: attack(classifier, x[:5])) > 0
        for count in self.COUNTS:
            assert calls(layer, lambda n=count: attack(classifier, x[:n])) == 0

    @pytest.mark.slow
    def test_costs(self, heard, x):
        model, layer = heard
        costs = a2d.AttackCosts(model, attacks=[a2d.BIM(), a2d.JSMA(max_iterations=30)])
        assert calls(layer, lambda: costs.transform(x[:5])) > 0
        for count in self.COUNTS:
            assert calls(layer, lambda n=count: costs.transform(x[:n])) == 0

    @pytest.mark.parametrize("rule", ["fisher", pytest.param("zscore", marks=pytest.mark.slow)])
    def test_guarded_predict(self, heard, held_out, x, rule):
        model, layer = heard
        guarded = a2d.guard(model, rule=rule)
        guarded.adapt(held_out[:100], verbose=0)
        assert calls(layer, lambda: guarded.predict(x[:5], verbose=0)) > 0
        for count in self.COUNTS:
            assert calls(layer, lambda n=count: guarded.predict(x[:n], verbose=0)) == 0


@pytest.mark.slow
def test_no_python_in_what_is_compiled(model, held_out):
    guarded = a2d.guard(model, attacks=FOUR)
    specs = tf.TensorSpec((None, 8, 8, 1), tf.float32), tf.TensorSpec((None,), tf.bool)
    traced = tf.function(guarded.detector.judge, autograph=False).get_concrete_function(*specs)
    graph = traced.graph.as_graph_def()
    ops = {node.op for node in graph.node}
    ops |= {node.op for function in graph.library.function for node in function.node_def}
    assert "Conv2D" in ops
    assert not {op for op in ops if "PyFunc" in op}


class TestPasses:
    @pytest.mark.parametrize("attack", FOUR[:3], ids=lambda attack: type(attack).__name__)
    def test_a_cost_takes_one_more(self, classifier, x, attack):
        result = attack(classifier, x)
        np.testing.assert_array_equal(result.queries, result.cost + 1)
        np.testing.assert_array_equal(result.gradient_evaluations, result.cost + 1)

    @pytest.mark.slow
    def test_labels_take_no_gradient(self, classifier, benign):
        result = FOUR[3](classifier, benign[:10])
        assert (result.gradient_evaluations == 0).all()
        assert (result.queries > result.cost).all()

    def shares(self, guarded, fresh):
        """The gradients of verdicts on benign inputs, as a share of those of full costs."""
        model = guarded.detector.model
        lazy = guarded.predict(fresh, verbose=0)["cost"]
        full = a2d.AttackCosts(model, attacks=guarded.detector.attacks).transform(fresh)
        gradients = [not isinstance(attack, a2d.DBA) for attack in guarded.detector.attacks]
        taken = np.where(lazy > 0, lazy + 1, 0)[:, gradients].sum()
        return taken / (full + 1)[:, gradients].sum()

    @pytest.mark.slow
    def test_a_verdict_takes_half_of_them_at_most(self, guard_digits, digits):
        assert self.shares(guard_digits(rule="zscore"), digits.x_test[:200]) <= 0.5

    @pytest.mark.slow
    def test_a_verdict_of_four_attacks_takes_two_fifths_at_most(self, guard_digits, digits):
        assert self.shares(guard_digits(attacks=FOUR, count=150), digits.x_test[:100]) <= 0.4


@pytest.mark.slow
def test_xla_gives_the_same_costs_and_verdicts(guard_digits, classifier, digits):
    guarded = guard_digits(rule="zscore")
    (attack,) = guarded.detector.attacks
    fresh = digits.x_test[:200]
    crafted = a2d.BIM(eps_iter=0.01, max_iterations=50)(classifier, fresh).adversarial
    x = np.concatenate([fresh, crafted])
    plain, xla = (attack(classifier, x, jit_compile=xla).cost[:, None] for xla in (False, True))
    assert np.mean(plain == xla) >= 0.95
    verdicts = [guarded.detector.rule(tf.constant(cost))[0].numpy() for cost in (plain, xla)]
    assert np.mean(verdicts[0] == verdicts[1]) >= 0.99
