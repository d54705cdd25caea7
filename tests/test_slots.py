import dataclasses
import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from a2d_keras import BIM, BIM2, DBA, LBFGS, Classifier, StepAttack, progress
from a2d_keras.attacks.engine.compiled import CompiledLoop, cached_for
from a2d_keras.attacks.engine.slots import SlotLoop, Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Countdown(StepAttack):
    """Succeeds after the number of steps in the first pixel, so costs are known without a model."""

    max_iterations: int = 50

    def start(self, classifier, inputs):
        return {"left": tf.cast(inputs[:, 0], tf.int64)}

    def step(self, classifier, slots):
        success = slots.state["left"] == 0
        after = slots._replace(
            x=slots.x + 1,
            steps=slots.steps + 1,
            queries=slots.queries + 1,
            state={"left": tf.maximum(slots.state["left"] - 1, 0)},
        )
        return after, success


@dataclasses.dataclass(frozen=True, kw_only=True)
class Impatient(Countdown):
    """Has nothing left to try after 10 steps."""

    def step(self, classifier, slots):
        after, success = super().step(classifier, slots)
        return after._replace(exhausted=slots.steps >= 10), success


WIDTHS = set()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watched(Countdown):
    """Records the number of slots in each pass."""

    def step(self, classifier, slots):
        tf.numpy_function(WIDTHS.add, [tf.shape(slots.x)[0]], [])
        return super().step(classifier, slots)


@pytest.fixture(scope="module")
def anything():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    return Classifier(model, bounds=(0, 100))


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(st.integers(0, 70), max_size=40),
    slots=st.sampled_from([1, 3, 128]),
    budget=st.one_of(st.none(), st.sampled_from([1, 7, 50])),
)
def test_every_input_gets_its_own_result(anything, steps, slots, budget):
    x = np.stack([np.array(steps), np.arange(len(steps))], axis=1).astype("float32")
    result = Countdown()(anything, x, slots=slots, budget=budget)
    limit = budget or 50
    # Success is looked for from step 1 on, so an input that would need none costs one.
    needed = np.maximum(x[:, 0], 1)
    cost = np.minimum(needed, limit)
    np.testing.assert_array_equal(result.cost, cost)
    np.testing.assert_array_equal(result.success, needed <= limit)
    np.testing.assert_array_equal(result.queries, cost + 1)
    np.testing.assert_array_equal(result.gradient_evaluations, 0)
    np.testing.assert_array_equal(result.adversarial, x + cost[:, None])


def test_exhausted_inputs_end_at_once_and_cost_the_most(anything):
    x = np.stack([np.arange(30), np.zeros(30)], axis=1)
    for budget in (None, 20):
        result = Impatient()(anything, x, slots=4, budget=budget)
        np.testing.assert_array_equal(result.success, x[:, 0] <= 10)
        np.testing.assert_array_equal(
            result.cost, np.where(x[:, 0] <= 10, np.maximum(x[:, 0], 1), 50)
        )
        assert result.queries.max() == 11


def test_many_more_inputs_than_fit_one_batch(anything):
    x = np.stack([np.arange(9000) % 61, np.zeros(9000)], axis=1)
    result = Countdown()(anything, x, slots=128)
    np.testing.assert_array_equal(result.cost, np.clip(x[:, 0], 1, 50))


@pytest.mark.slow
def test_widths_are_few(anything):
    """For any costs, since a device prepares kernels for each width."""
    WIDTHS.clear()
    for seed in range(10):
        steps = np.random.default_rng(seed).integers(0, 70, 500)
        Watched()(anything, np.stack([steps, steps], axis=1), slots=64)
    few = [64, 56, 49, 42, 36, 31, 27, 23, 20, 17, 14, 12, 10, *range(1, 9)]
    assert {64, 56, 49} < WIDTHS <= set(few)


@pytest.mark.slow
def test_number_of_inputs_known_when_traced(anything):
    x = tf.constant([[n % 61, 0.0] for n in range(300)])
    limit = tf.constant(50, tf.int64)
    task = Task(x, tf.zeros(300, tf.int64), limit, limit, {})
    result = tf.function(SlotLoop(Countdown(), anything, 16).run)(task)
    np.testing.assert_array_equal(result.cost, np.clip(x[:, 0], 1, 50))


def test_xla_runs_the_same_loop(anything):
    x = np.stack([np.arange(300) % 61, np.zeros(300)], axis=1)
    result = Countdown()(anything, x, slots=16, jit_compile=True)
    np.testing.assert_array_equal(result.cost, np.clip(x[:, 0], 1, 50))
    np.testing.assert_array_equal(result.success, x[:, 0] <= 50)


@pytest.mark.slow
def test_budget_cuts_costs_short(classifier, benign):
    full, short = BIM()(classifier, benign), BIM()(classifier, benign, budget=100)
    np.testing.assert_array_equal(short.cost, np.minimum(full.cost, 100))
    np.testing.assert_array_equal(short.success, full.success & (full.cost <= 100))
    never_longer = BIM(max_iterations=100)(classifier, benign, budget=200)
    np.testing.assert_array_equal(never_longer.cost, short.cost)


@pytest.mark.slow
def test_dataset_equals_array(classifier, benign):
    dataset = tf.data.Dataset.from_tensor_slices((benign, np.zeros(len(benign)))).batch(7)
    from_dataset, from_array = BIM()(classifier, dataset), BIM()(classifier, benign)
    for left, right in zip(from_dataset, from_array, strict=True):
        np.testing.assert_array_equal(left, right)


def test_tensor_and_integers(anything):
    x = np.array([[3, 0], [5, 0]])
    for form in (x, x.astype("uint8"), tf.constant(x), x.tolist()):
        np.testing.assert_array_equal(Countdown()(anything, form).cost, [3, 5])


def test_compiled_once_for_any_number_of_inputs(anything):
    traces = []

    class Traced(Countdown):
        def step(self, classifier, slots):
            traces.append(slots)
            return super().step(classifier, slots)

    for n in (1, 5, 400):
        Traced()(anything, np.ones((n, 2)))
    assert len(traces) == 1


class TestCompiled:
    """The graphs that are compiled for a classifier."""

    @staticmethod
    def make():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        return Classifier(model, bounds=(np.zeros(4), np.arange(1.0, 5.0)))

    @pytest.mark.slow
    def test_does_not_keep_the_classifier_alive(self):
        classifier = self.make()  # a fixture would be kept alive by pytest
        for attack in (BIM(max_iterations=2), LBFGS(max_iterations=2)):
            attack(classifier, np.full((2, 4), 0.5))
            attack(classifier, np.full((2, 4), 0.5), jit_compile=True, images=False)
        one, unit, model = map(weakref.ref, (classifier, classifier.unit, classifier.model))
        del classifier
        gc.collect()
        assert one() is None
        assert unit() is None
        assert model() is None

    def test_belongs_to_one_version_of_it(self):
        classifier, made = self.make(), []
        for version, number in ((0, 1), (0, 1), (1, 2)):
            classifier.version = version
            cached_for(classifier, "key", made.append)
            assert len(made) == number
        cached_for(classifier, "another", made.append)
        assert len(made) == 3

    def test_is_one_for_a_kind_of_attack(self):
        assert BIM(eps=1).kind() == BIM(eps_iter=0.01, max_iterations=3).kind()
        assert DBA(starts=np.ones((2, 4)), seed=3, distance=0.1).kind() == DBA().kind()
        kinds = [BIM(), BIM(targeted=True), BIM(stop_at_success=False), BIM2(), DBA(proposals=9)]
        assert len({attack.kind() for attack in kinds}) == 5


def graph_of(attack, classifier):
    loop = CompiledLoop(SlotLoop(attack, classifier, 128), attack.parameters(classifier))
    return loop._advance.graph.as_graph_def()


def test_gradients_stand_outside_the_loops_graph():
    """TensorFlow gives max pooling's gradient to oneDNN only in a function that is not inlined."""
    pooling = [keras.layers.MaxPooling2D(), keras.layers.Flatten(), keras.layers.Dense(2)]
    classifier = Classifier(keras.Sequential([keras.Input((4, 4, 1)), *pooling]))
    graph = graph_of(BIM(), classifier)
    takes_gradients = [
        function
        for function in graph.library.function
        if any(node.op == "MaxPoolGrad" for node in function.node_def)
    ]
    assert takes_gradients
    assert all(function.attr["_noinline"].b for function in takes_gradients)


def test_no_python_inside_the_loop(classifier):
    graph = graph_of(BIM(), classifier)
    ops = {node.op for node in graph.node}
    for function in graph.library.function:
        ops |= {node.op for node in function.node_def}
    assert "StatelessWhile" in ops or "While" in ops
    assert not {op for op in ops if "PyFunc" in op}


def test_progress_reports_every_input(anything, monkeypatch, capsys):
    monkeypatch.setattr(progress, "visible", lambda: True)
    Countdown()(anything, np.ones((30, 2)), verbose=1)
    assert "30/30" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[0, np.nan], [1, 1]], "1 values that are not finite, 0 outside.*1 of 2 inputs"),
        ([[0, 101], [-1, 1]], "2 outside the bounds, in 2 of 2 inputs, from -1 to 101"),
        (np.zeros((2, 3)), r"shape \(None, 2\). Received: \(2, 3\)"),
        (np.array([["a", "b"]]), "real numbers. Received: <U1"),
        (np.array([[object(), 1]]), "real numbers. Received: object"),
        (np.zeros((2, 2), complex), "real numbers. Received: complex128"),
    ],
)
def test_refuses_other_inputs(anything, x, message):
    with pytest.raises(ValueError, match=message):
        Countdown()(anything, x)


def test_refuses_other_inputs_from_datasets(anything):
    dataset = tf.data.Dataset.from_tensor_slices([[0.0, 101.0]]).batch(1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="1 outside the bounds"):
        Countdown()(anything, dataset)
    with pytest.raises(tf.errors.InvalidArgumentError, match="shape"):
        Countdown()(anything, tf.data.Dataset.from_tensor_slices([[0.0]]).batch(1))


def test_clips_what_lies_a_rounding_outside(anything):
    result = Countdown()(anything, [[100.00005, -0.00005]])
    assert result.adversarial.min() >= 50  # 50 steps of 1 from 0


def test_refuses_other_parameters(anything):
    with pytest.raises(ValueError, match="`max_iterations` must be .* Received: 0"):
        Countdown(max_iterations=0)
    with pytest.raises(ValueError, match="needs `targets`"):
        Countdown(targeted=True)(anything, [[1, 1]])
    with pytest.raises(ValueError, match="no other attack takes them"):
        Countdown()(anything, [[1, 1]], targets=[1])
    with pytest.raises(ValueError, match="`budget`.*Received: 0"):
        Countdown()(anything, [[1, 1]], budget=0)
    dataset = tf.data.Dataset.from_tensor_slices([[1.0, 1], [2, 2]]).batch(1)
    for x in ([[1, 1], [2, 2]], dataset):
        for targets in ([1], [1, 1, 1]):
            with pytest.raises(ValueError, match="as many `targets` as inputs. Received: [13]$"):
                Countdown(targeted=True)(anything, x, targets=targets)
    for targets in ([3], [-1], [0.5], [[1]], ["a"], [True]):
        with pytest.raises(ValueError, match="`targets` must be whole numbers from 0 to 2.*Rec"):
            Countdown(targeted=True)(anything, [[1, 1]], targets=targets)
