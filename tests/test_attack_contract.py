"""The requirements for every attack in the registry."""

import dataclasses
import inspect
import json

import keras
import numpy as np
import pytest

import a2d_keras as a2d
from a2d_keras import attacks

COUNTS = ("success", "cost", "queries", "gradient_evaluations")
SLOTS = 5  # fewer than inputs, so that slots are filled again
SHAPE = (6, 6, 1)
# One range per feature, in powers of two, so that no input is rounded on its way there and back.
LOW = np.resize(np.float32([-3, 0, 20, 0.5]), SHAPE)
HIGH = LOW + np.resize(np.float32([1, 8, 0.5, 64, 2]), SHAPE)

# Parameters for small images, and few steps. An attack that is not here is tried as it is.
PARAMETERS = {
    "BIM": {"eps_iter": 0.01, "max_iterations": 60},
    "BIM2": {"eps_iter": 0.01, "max_iterations": 60},
    "JSMA": {"max_iterations": 60},
    "PairJSMA": {"gamma": 0.5},
    "DeepFool": {"norm": np.inf, "candidates": 3},
    "CarliniWagner": {
        "binary_search_steps": 3,
        "search_iterations": 30,
        "initial_c": 0.3,
        "learning_rate": 0.1,
    },
    "LBFGS": {"c": 0.05},
    "LSA": {"t": 3, "d": 2, "r": 1.2, "max_iterations": 20},
    "DBA": {"distance": 0.01, "max_iterations": 40},
    "HopSkipJump": {"distance": 0.01, "initial_evaluations": 8, "max_iterations": 60},
}

# On trained digits, where the defaults take long, or rounding grows over thousands of steps.
ON_DIGITS = {
    "CarliniWagner": PARAMETERS["CarliniWagner"] | {"search_iterations": 60},
    "LSA": {"r": 1.2, "t": 16, "max_iterations": 20},
    "DBA": {"distance": 0.08},
    "HopSkipJump": {"distance": 0.04, "max_iterations": 400},
}

FRACTIONS = {"eps", "eps_iter", "theta", "distance", "p"}
POSITIVE = FRACTIONS | {
    *("r", "c", "gamma", "overshoot", "spherical_step", "source_step", "step_adaptation"),
    *("initial_c", "learning_rate", "proposals", "candidates", "max_changes", "t"),
    *("search_iterations", "initial_evaluations", "max_iterations"),
}


@keras.saving.register_keras_serializable(package="tests_contract")
class Heard(keras.layers.Layer):
    """Counts its calls from Python: one per trace."""

    calls = 0

    def call(self, x):
        self.calls += 1
        return x


def small_model(seed=3):
    """A quick classifier that is not trained."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    hidden = layers.Dense(16, "tanh", kernel_initializer="he_normal")
    stack = [Heard(), layers.Flatten(), hidden, layers.Dense(5)]
    return keras.Sequential([keras.Input(SHAPE), *stack])


@pytest.fixture(scope="module")
def small():
    return small_model()


@pytest.fixture(scope="module")
def target(small):
    return a2d.Classifier(small)


@pytest.fixture(scope="module")
def x():
    """Twelve inputs; the last three equal the first three."""
    images = np.random.default_rng(4).integers(50, 200, size=(9, *SHAPE)) / np.float32(256)
    return np.concatenate([images, images[:3]])


@pytest.fixture(scope="module", params=attacks.__all__)
def kind(request):
    return getattr(attacks, request.param)


@pytest.fixture(scope="module")
def make(kind):
    """Make the attack with other parameters."""
    given = {}
    if kind is a2d.Transfer:
        given = {"substitute": a2d.Classifier(small_model()), "attack": a2d.FGSM(eps=0.2)}
    return lambda **other: kind(**{**PARAMETERS.get(kind.__name__, given), **other})


@pytest.fixture(scope="module")
def attack(make):
    return make()


@pytest.fixture(scope="module")
def result(attack, target, x):
    return attack(target, x, slots=SLOTS)


def labels_of(classifier, x):
    return classifier.logits(x).numpy().argmax(-1)


def fields_of(kind):
    return [field for field in dataclasses.fields(kind) if field.init]


def assert_same(one, other, *, share=1.0):
    """The same counts, and nearly the same images."""
    for name in COUNTS:
        assert np.mean(getattr(one, name) == getattr(other, name)) >= share
    near = np.abs(one.adversarial - other.adversarial).max(axis=(1, 2, 3)) < 1e-3
    assert near.mean() >= share


def test_is_an_immutable_value(kind, make, attack):
    assert dataclasses.replace(attack) == attack
    assert hash(dataclasses.replace(attack)) == hash(attack)
    assert attack != (a2d.FGSM() if kind is not a2d.FGSM else a2d.BIM())
    for field in dataclasses.fields(kind):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(attack, field.name, 1)
    parameters = inspect.signature(kind).parameters.values()
    assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}


def test_keras_serializes_it(attack, target, x, result):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(attack)))
    restored = keras.saving.deserialize_keras_object(config)
    assert type(restored) is type(attack)
    if isinstance(attack, a2d.Transfer):  # its substitute is now another one
        assert_same(restored(target, x, slots=SLOTS), result)
    else:
        assert restored == attack
        assert hash(restored) == hash(attack)


def test_result_is_what_it_says(attack, target, x, result):
    assert result.adversarial.shape == x.shape
    assert result.adversarial.dtype == "float32"
    assert result.success.dtype == bool
    assert all(getattr(result, name).dtype == "int64" for name in COUNTS[1:])
    assert np.isfinite(result.adversarial).all()
    assert result.adversarial.min() >= 0
    assert result.adversarial.max() <= 1
    assert 1 <= result.cost.min() <= result.cost.max() <= attack.max_iterations
    assert result.queries.min() >= 1
    assert result.gradient_evaluations.min() >= 0
    changed = labels_of(target, result.adversarial) != labels_of(target, x)
    assert result.success.any()
    assert changed[result.success].all()
    resisting = ~result.success & (result.cost < attack.max_iterations)
    assert not resisting.any() or isinstance(attack, a2d.Transfer)


def test_queries_are_no_more_than_were_promised(attack, target, result):
    if isinstance(attack, a2d.StepAttack):
        limit = attack.max_queries(target, attack.max_iterations)
        assert result.queries.max() <= limit
        assert limit <= attack.max_queries(target, attack.max_iterations + 1)


def test_equal_inputs_get_equal_results(result):
    head, tail = (
        type(result)(*(rows[part] for rows in result)) for part in (slice(3), slice(9, 12))
    )
    assert_same(head, tail)


def test_is_deterministic_and_takes_no_inputs(attack, target, x, result):
    for one, other in zip(result, attack(target, x, slots=SLOTS), strict=True):
        np.testing.assert_array_equal(one, other)
    nothing = attack(target, x[:0], slots=SLOTS)
    assert nothing.adversarial.shape == (0, *SHAPE)
    assert len(nothing.cost) == 0


@pytest.mark.slow
def test_counts_do_not_depend_on_slots_or_on_images(attack, target, x, result):
    (counts,) = attack.in_batches(target, x, slots=1, images=False)
    assert np.shape(counts.adversarial) in ((0,), x.shape)
    for name in COUNTS:
        np.testing.assert_array_equal(getattr(counts, name), getattr(result, name))


@pytest.mark.slow  # XLA compiles for seconds; `test_slots.py` tries it on one loop
def test_xla_gives_the_same(attack, target, x, result):
    assert_same(attack(target, x, slots=SLOTS, jit_compile=True), result)


def test_a_budget_cuts_it_short(attack, target, x, result):
    budget = max(1, int(np.median(result.cost)) - 1)
    short = attack(target, x, slots=SLOTS, budget=budget)
    in_time = result.success & (result.cost <= budget)
    np.testing.assert_array_equal(short.success, in_time)
    np.testing.assert_array_equal(short.cost[in_time], result.cost[in_time])
    assert set(short.cost[~in_time]) <= {budget, attack.max_iterations}


@pytest.mark.slow
def test_another_value_of_a_traced_parameter_takes_no_other_graph(attack, small, x):
    traced = getattr(attack, "traced", ())
    assert set(traced) <= {field.name for field in dataclasses.fields(attack)}
    (heard,) = (layer for layer in small.layers if isinstance(layer, Heard))
    classifier = a2d.Classifier(small)
    attack(classifier, x, slots=SLOTS)
    before = heard.calls
    changed = dataclasses.replace(attack, **{name: other(getattr(attack, name)) for name in traced})
    one = changed(classifier, x, slots=SLOTS)
    assert heard.calls == before
    for name in traced:  # one graph for any kind of number
        number = np.int32 if isinstance(getattr(attack, name), int) else np.float32
        value = number(getattr(attack, name))
        dataclasses.replace(attack, **{name: value})(classifier, x, slots=SLOTS)
    assert heard.calls == before
    if traced:
        assert_same(one, changed(a2d.Classifier(small), x, slots=SLOTS))


def other(value):
    return value + 1 if isinstance(value, int) else 1.1 * value + 0.01


@pytest.mark.slow
def test_features_of_other_ranges_are_attacked_alike(kind, make, small, x, result):
    def with_ranges(model):
        inputs = keras.Input(SHAPE)
        scaled = keras.Model(inputs, model((inputs - LOW) / (HIGH - LOW)))
        return a2d.Classifier(scaled, bounds=(LOW, HIGH))

    given = {"substitute": with_ranges(small_model())} if kind is a2d.Transfer else {}
    found = make(**given)(with_ranges(small), LOW + x * (HIGH - LOW), slots=SLOTS)
    assert (found.adversarial >= LOW).all()
    assert (found.adversarial <= HIGH).all()
    scaled = found._replace(adversarial=(found.adversarial - LOW) / (HIGH - LOW))
    assert_same(scaled, result, share=0.9)


@pytest.mark.slow
def test_infinite_gradients_leave_images_finite(kind, make, small, x, result):
    """Like that of a square root at black pixels."""
    if not result.gradient_evaluations.any():
        pytest.skip("takes no gradient")
    inputs = keras.Input(SHAPE)
    steep = keras.Model(inputs, small(0.9 * inputs + 0.1 * keras.ops.sqrt(inputs)))
    classifier = a2d.Classifier(steep)
    x = np.where(x < 0.4, 0, x)
    found = make()(classifier, x, slots=SLOTS)
    assert np.isfinite(found.adversarial).all()
    changed = labels_of(classifier, found.adversarial) != labels_of(classifier, x)
    assert changed[found.success].all()
    assert found.success.mean() >= 0.5


def test_aims_at_targets(kind, make, target, x):
    names = {field.name for field in fields_of(kind)}
    if kind is a2d.Transfer:
        attack = make(attack=a2d.FGSM(eps=0.5, targeted=True))
    elif "targeted" in names:
        attack = make(targeted=True)
    else:
        with pytest.raises(TypeError, match="targeted"):
            make(targeted=True)
        with pytest.raises(ValueError, match="no other attack takes them. Received: "):
            make()(target, x, targets=np.zeros(12, int))
        return
    with pytest.raises(ValueError, match="A targeted attack needs `targets`.*Received: "):
        attack(target, x)
    label = labels_of(target, x)
    there = np.arange(12) % 4 == 0
    targets = np.where(there, label, (label + 1) % 5)
    result = attack(target, x, targets=targets, slots=SLOTS)
    reached = labels_of(target, result.adversarial) == targets
    np.testing.assert_array_equal(result.success, reached)
    assert result.success[~there].any()
    if kind is not a2d.FGSM and kind is not a2d.Transfer:  # these always take their one step
        np.testing.assert_array_equal(result.success[there], True)
        np.testing.assert_array_equal(result.cost[there], 1)


def test_refuses_parameters_out_of_range(kind, make):
    wrong = {int: (-1, 1.5, "1", None, np.nan), float: (np.nan, "0.1", None)}
    for field in fields_of(kind):
        for value in wrong.get(type(field.default), ()):
            with pytest.raises(ValueError, match=f"`{field.name}` must .*Received: "):
                make(**{field.name: value})
    for name in POSITIVE & {field.name for field in fields_of(kind)}:
        with pytest.raises(ValueError, match=f"`{name}` must .*Received: 0"):
            make(**{name: 0})
    for name in FRACTIONS & {field.name for field in fields_of(kind)}:
        for value in (np.inf, 1e-60):  # the second is zero in float32
            with pytest.raises(ValueError, match=f"`{name}` must .*Received: {value}"):
                make(**{name: value})


@pytest.mark.slow
class TestOnDigits:
    """The same on a trained classifier, mostly with the default parameters."""

    def test_counts_do_not_depend_on_batching_or_xla(self, kind, classifier, benign):
        parameters = ON_DIGITS.get(kind.__name__, {})
        if kind is a2d.Transfer:
            substitute = a2d.train_substitute(classifier, benign, rounds=1)
            parameters = {"substitute": substitute, "attack": a2d.BIM(eps_iter=0.02)}
        attack = kind(**parameters)
        whole = attack(classifier, benign)
        for options in ({"slots": 1}, {"slots": 7}, {"slots": 3, "jit_compile": True}):
            other = attack(classifier, benign, **options)
            assert np.mean(whole.cost == other.cost) >= 0.95
            assert np.mean(whole.success == other.success) >= 0.95
