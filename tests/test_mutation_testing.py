import math

import keras
import numpy as np
import pytest
from scipy import stats

from a2d_keras import BIM, Classifier
from baselines.mutation_testing import operators
from baselines.mutation_testing.detector import MutationTesting
from baselines.mutation_testing.mutants import Mutants
from baselines.mutation_testing.operators import OPERATORS, Units
from baselines.mutation_testing.sequential import benign_rate, sequential_test
from models import zoo

pytestmark = pytest.mark.checkout

LAYERS = {  # each has 12 units
    "convolution": keras.layers.Conv2D(12, 3),
    "convolution without biases": keras.layers.Conv2D(12, 3, use_bias=False),
    "depthwise": keras.layers.DepthwiseConv2D(3, depth_multiplier=4),
    "dense": keras.layers.Dense(12),
}


@pytest.fixture(scope="module")
def small():
    """A network with layers of 4, 9, 18, 5 and 10 units, and batch normalization."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.Conv2D(9, 3),
            keras.layers.DepthwiseConv2D(2, depth_multiplier=2, trainable=False),
            keras.layers.Flatten(),
            keras.layers.Dense(5),
            keras.Sequential([keras.Input((5,)), keras.layers.Dense(10, "softmax")]),
        ]
    )
    generator = np.random.default_rng(0)
    model.set_weights([generator.uniform(1, 2, w.shape) for w in model.get_weights()])
    return model


def original(model):
    return [variable.numpy().copy() for variable in operators.parameters(model)]


def mutate(model, operator, rate, *, seed=0, weights=None):
    weights = original(model) if weights is None else [array.copy() for array in weights]
    layout = operators.units(model)
    OPERATORS[operator](weights, layout, rate, np.random.default_rng(seed))
    return weights


def changed_columns(model, weights):
    """Which units of each layer have other incoming weights than in the model."""
    return [
        (old != new).reshape(-1, layer.count).any(axis=0)
        for layer in operators.units(model)
        for old, new in [(original(model)[layer.kernel], weights[layer.kernel])]
    ]


def kernels(model, weights):
    return [weights[layer.kernel].reshape(-1, layer.count) for layer in operators.units(model)]


def others(model, weights):
    """All parameters but kernels."""
    places = {layer.kernel for layer in operators.units(model)}
    return [array for place, array in enumerate(weights) if place not in places]


def assert_same(left, right):
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)


def test_units_and_parameters(small):
    assert operators.units(small) == [
        Units(0, None, 4),
        Units(3, 4, 9),
        Units(5, 6, 18),
        Units(7, 8, 5),
        Units(9, 10, 10),
    ]
    assert [tuple(variable.shape) for variable in operators.parameters(small)] == [
        *((3, 3, 1, 4), (4,), (4,), (3, 3, 4, 9), (9,)),
        *((2, 2, 9, 2), (18,), (162, 5), (5,), (5, 10), (10,)),
    ]


def test_lenet_has_the_numbers_of_its_authors():
    lenet = zoo.build("lenet5")
    assert sum(layer.count for layer in operators.units(lenet)) == 236
    assert sum(array.size for array in original(lenet)) == 61_706
    lenet.set_weights([np.random.default_rng(0).normal(size=w.shape) for w in lenet.get_weights()])
    for operator in ("NAI", "WS"):
        found = changed_columns(lenet, mutate(lenet, operator, 0.05))
        assert sum(columns.sum() for columns in found) == 11
    fuzzed = mutate(lenet, "GF", 0.05)
    pairs = zip(fuzzed, original(lenet), strict=True)
    assert sum((new != old).sum() for new, old in pairs) == 3085
    found = [changed_columns(lenet, mutate(lenet, "NS", 0.05, seed=seed)) for seed in range(8)]
    assert np.max([[c.sum() for c in layers] for layers in found], axis=0).tolist() == [
        *(0, 0, 6, 4, 0)
    ]


@pytest.mark.parametrize("kind", LAYERS)
def test_an_inverted_unit_has_the_opposite_output(kind, small_images):
    layer = LAYERS[kind]
    model = keras.Sequential([keras.Input((6, 6, 3)), type(layer).from_config(layer.get_config())])
    model.set_weights([np.random.default_rng(0).normal(size=w.shape) for w in model.get_weights()])
    x = np.concatenate([small_images, small_images[..., :1]], axis=-1)
    before = model.predict(x, verbose=0)
    model.set_weights(mutate(model, "NAI", 0.49))
    after = model.predict(x, verbose=0)
    inverted = np.isclose(after, -before, atol=1e-5).all(axis=(0, 1, 2))
    kept = (after == before).all(axis=(0, 1, 2))
    assert inverted.sum() == int(12 * 0.49) == 5
    assert kept.sum() == 7


def test_inverting_the_same_units_twice_is_the_identity(small):
    once = mutate(small, "NAI", 0.3, seed=4)
    assert sum(columns.sum() for columns in changed_columns(small, once)) == int(46 * 0.3)
    assert_same(mutate(small, "NAI", 0.3, seed=4, weights=once), original(small))


def test_inverting_leaves_batch_normalization_alone(small):
    weights = mutate(small, "NAI", 1.0)
    for place, (new, old) in enumerate(zip(weights, original(small), strict=True)):
        np.testing.assert_array_equal(new, old if place in (1, 2) else -old)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.5])
def test_fuzzing_replaces_a_share_of_all_parameters(small, rate):
    before = original(small)
    total = sum(array.size for array in before)
    found = [mutate(small, "GF", rate, seed=seed) for seed in range(20)]
    counts = [[(n != o).sum() for n, o in zip(w, before, strict=True)] for w in found]
    assert np.sum(counts, axis=1).tolist() == [int(total * rate)] * 20
    expected = rate * np.array([array.size for array in before])
    assert (np.mean(counts, axis=0) < 4 * expected + 2).all()
    assert np.sum(counts, axis=0)[[1, 2]].sum() > 0 or rate < 0.05  # batch normalization


def test_fuzzed_values_are_normal_like_the_array(small):
    before, fuzzed = original(small), mutate(small, "GF", 1.0)
    for new, old in zip(fuzzed, before, strict=True):
        assert stats.kstest(new.ravel(), "norm", (old.mean(), old.std(ddof=1))).pvalue > 1e-3


def test_shuffling_permutes_what_comes_into_a_unit(small):
    weights = mutate(small, "WS", 0.5)
    assert_same(others(small, weights), others(small, original(small)))
    pairs = zip(kernels(small, weights), kernels(small, original(small)), strict=True)
    for new, old in pairs:
        np.testing.assert_array_equal(np.sort(new, axis=0), np.sort(old, axis=0))
    changed = changed_columns(small, weights)
    assert int(46 * 0.5) - 2 <= sum(columns.sum() for columns in changed) <= int(46 * 0.5)
    first = [kernels(small, mutate(small, "WS", 1.0))[3][:, unit] for unit in (0, 1)]
    orders = [np.argsort(np.argsort(column)) for column in first]
    old = kernels(small, original(small))[3]
    assert not np.array_equal(*(np.argsort(old[:, u])[o] for u, o in enumerate(orders)))


def test_switching_leaves_small_layers_alone_and_moves_whole_units(small):
    moved = np.zeros(5, int)
    for seed in range(20):
        weights = mutate(small, "NS", 0.2, seed=seed)
        assert_same(others(small, weights), others(small, original(small)))
        for new, old in zip(kernels(small, weights), kernels(small, original(small)), strict=True):
            assert {*map(bytes, new.T.copy())} == {*map(bytes, old.T.copy())}
        found = changed_columns(small, weights)
        moved = np.maximum(moved, [columns.sum() for columns in found])
    assert moved.tolist() == [0, 0, 3, 0, 2]  # ⌊3.6⌋ of 18; ⌈2.0⌉ of 10


def plain_labels(model, weights, x):
    """The labels of a copy of the model that has the weights."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for variable, array in zip(operators.parameters(copy), weights, strict=True):
        variable.assign(array)
    return copy.predict(x, verbose=0).argmax(axis=-1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "operator",
    ["NAI", *(pytest.param(n, marks=pytest.mark.slow) for n in OPERATORS if n != "NAI")],
)
def test_labels_are_those_of_copies_with_the_weights(model, digits, operator):
    before, x = model.get_weights(), digits.x_test[:300]
    mutants = Mutants(model, operator=operator, rate=0.1, seed=0)
    found = mutants.labels(x, numbers=[3, 0, 7])
    assert (found.shape, found.dtype) == ((3, 300), np.int32)
    expected = [plain_labels(model, mutants.weights(number), x) for number in (3, 0, 7)]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(mutants.original_labels(x), plain_labels(model, before, x))
    assert len({row.tobytes() for row in found}) == 3
    assert_same(model.get_weights(), before)


def test_labels_do_not_depend_on_how_many_mutants_run_together(model, digits, monkeypatch):
    monkeypatch.setattr("baselines.mutation_testing.mutants._TOGETHER", 2)
    two = Mutants(model, operator="NAI", rate=0.1, seed=0).labels(digits.x_test, numbers=range(5))
    monkeypatch.setattr("baselines.mutation_testing.mutants._MAX_VALUES", 1)
    one = Mutants(model, operator="NAI", rate=0.1, seed=0).labels(digits.x_test, numbers=range(5))
    np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_labels_of_frozen_nested_and_normalized_layers(small, digits):
    mutants = Mutants(small, operator="GF", rate=0.5, seed=0)
    x = digits.x_test[:100]
    expected = [plain_labels(small, mutants.weights(number), x) for number in range(4)]
    np.testing.assert_array_equal(mutants.labels(x, numbers=range(4)), expected)
    assert len(np.unique(expected)) > 1


def test_a_classifier_of_one_unit_has_two_labels(digits):
    stack = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(8)]
    one = keras.Sequential([*stack, keras.layers.Dense(1, "sigmoid")])
    mutants = Mutants(one, operator="NAI", rate=0.2, seed=0)
    expected = one.predict(digits.x_test, verbose=0)[:, 0] > 0.5
    np.testing.assert_array_equal(mutants.original_labels(digits.x_test), expected)
    assert {*np.unique(mutants.labels(digits.x_test, numbers=[0, 1]))} == {0, 1}


def test_the_filter_keeps_the_first_mutants_that_are_accurate(model, digits):
    x, y = digits.x_test, digits.y_test
    mutants = Mutants(model, operator="NAI", rate=0.08, seed=0)
    chosen = mutants.choose(x, y, 10)
    drawn = mutants.labels(x, numbers=range(chosen[-1] + 1))
    needed = round(0.9 * np.mean(mutants.original_labels(x) == y), 2)
    accurate = [round(float(np.mean(row == y)), 2) >= needed for row in drawn]
    np.testing.assert_array_equal(np.flatnonzero(accurate), chosen)
    assert len(chosen) == 10 < len(drawn)


def test_the_filter_gives_up(model, digits):
    mutants = Mutants(model, operator="WS", rate=0.9, seed=0)
    with pytest.raises(
        ValueError, match="Too few mutants .* of 0.88 or more.* Received: 0.9, with"
    ):
        mutants.choose(digits.x_test[:200], digits.y_test[:200], 2)


@pytest.fixture(scope="module")
def benign_and_adversarial(digits, model):
    predicted = model.predict(digits.x_test, verbose=0).argmax(-1)
    benign = digits.x_test[predicted == digits.y_test][:120]
    return benign, BIM(eps_iter=0.01, max_iterations=50)(Classifier(model), benign).adversarial


@pytest.fixture(scope="module")
def fitted(model, digits, benign_and_adversarial):
    benign, adversarial = benign_and_adversarial
    return MutationTesting.from_data(model, digits, mutants=60).fit(benign, benign, adversarial)


@pytest.mark.slow
def test_scores_are_label_change_rates(fitted, model, benign_and_adversarial):
    benign, adversarial = benign_and_adversarial
    rates = [fitted.score(x) for x in benign_and_adversarial]
    own = model.predict(adversarial, verbose=0).argmax(axis=-1)
    pairs = zip(fitted.labels(adversarial).T, own, strict=True)
    expected = [np.mean(column != label) for column, label in pairs]
    np.testing.assert_allclose(rates[1], expected, atol=1e-12)
    assert rates[0].mean() < 0.1 < 0.3 < rates[1].mean()
    votes = fitted.characteristics(benign)
    assert votes.shape == (120, 60)
    assert {*np.unique(votes)} == {0.0, 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("as_coded", [False, True])
def test_detects_by_few_votes(fitted, benign_and_adversarial, as_coded):
    benign, adversarial = (fitted.detect(x, as_coded=as_coded) for x in benign_and_adversarial)
    assert benign.is_adversarial.mean() < 0.2
    assert adversarial.is_adversarial.mean() > 0.8
    assert adversarial.used.mean() < 45 < benign.used.mean()
    votes = fitted.characteristics(benign_and_adversarial[0]) == 1
    threshold = benign_rate(votes.mean(axis=1))
    expected = sequential_test(votes, threshold, as_coded=as_coded)
    np.testing.assert_array_equal(benign.used, expected.used)
    lenient = fitted.detect(benign_and_adversarial[1], extend_scale=10, as_coded=as_coded)
    assert lenient.is_adversarial.mean() < 0.8


def by_loops(votes, h, relax, as_coded):
    """The test of one input, vote by vote."""
    p1, p0 = h + relax * h, h - relax * h
    c = 0
    for n, vote in enumerate(votes, start=1):
        c += vote and not as_coded
        ratio = c * math.log(p1 / p0) + (n - c) * math.log((1 - p1) / (1 - p0))
        if vote or not as_coded:
            if ratio >= math.log(0.95 / 0.05):
                return True, n
            if ratio <= math.log(0.05 / 0.95):
                return False, n
        c += vote and as_coded
    return False, len(votes) + as_coded


@pytest.mark.parametrize("as_coded", [False, True])
@pytest.mark.parametrize(("h", "relax"), [(0.0441, 0.1), (0.3, 0.1), (0.3, 0.5)])
def test_the_sequential_test_equals_a_loop(h, relax, as_coded):
    generator = np.random.default_rng(0)
    votes = generator.random((200, 500)) < generator.random((200, 1)) * 3 * h
    found = sequential_test(votes, h, relax_scale=relax, as_coded=as_coded)
    expected = [by_loops(row, h, relax, as_coded) for row in votes.tolist()]
    assert list(zip(*(each.tolist() for each in found), strict=True)) == expected
    assert 0 < found.is_adversarial.sum() < 200
    assert len(np.unique(found.used)) > 20


def test_the_sequential_test_keeps_its_promise():
    generator = np.random.default_rng(0)
    for rate, share in ((0.044 * 0.9, 0.05), (0.044 * 1.1, 0.95)):
        found = sequential_test(generator.random((400, 20_000)) < rate, 0.044)
        assert found.is_adversarial.mean() == pytest.approx(share, abs=0.04)


def test_the_bound_is_half_a_99_percent_interval_above_the_mean():
    rates = np.random.default_rng(0).random(200)
    interval = stats.norm.interval(0.99, rates.mean(), stats.sem(rates))
    assert benign_rate(rates) == pytest.approx(interval[1], abs=1e-3)


def test_labels_that_never_change_give_no_threshold(model, digits, fitted):
    detector = MutationTesting.from_data(model, digits, mutants=60)
    nothing = np.zeros((8, 60))
    detector.fit_characteristics(nothing, nothing, nothing + 1)
    with pytest.raises(ValueError, match="`threshold` must lie between 0 and 1.* Received: 0.0"):
        detector.detect(digits.x_test[:3])


def test_another_seed_draws_other_mutants(model, digits):
    x = digits.x_test[:200]
    one, same, other = (
        MutationTesting.from_data(model, digits, mutants=5, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.labels(x), same.labels(x))
    assert (one.labels(x) != other.labels(x)).any()


def test_a_loaded_detector_needs_no_held_out_inputs(fitted, model, digits, tmp_path):
    fitted.save(tmp_path / "file")
    loaded = MutationTesting.load(tmp_path / "file", zoo.load("digits"))
    x = digits.x_test[:50]
    np.testing.assert_array_equal(loaded.labels(x), fitted.labels(x))
    assert loaded.detect(x).used.tolist() == fitted.detect(x).used.tolist()
    assert (tmp_path / "file").stat().st_size < 10_000  # mutants are seeds


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"operator": "XYZ"}, '`operator` must be "NAI" or "GF" or "WS" or "NS"'),
        ({"rate": 0.0}, "`rate` must be a share"),
        ({"rate": 1.5}, "`rate` must be a share"),
        ({"rate": "much"}, "`rate` must be a share"),
        ({"rate": 0.001}, "`rate` is so small that NAI changes no weight"),
        ({"operator": "NS", "rate": 0.01}, "`rate` is so small that NS changes no weight"),
        ({"mutants": 0}, "`mutants` must be a whole number, at least 1"),
    ],
)
def test_refuses_a_bad_parameter(model, digits, options, sentence):
    with pytest.raises(ValueError, match=f"{sentence}.* Received: "):
        MutationTesting.from_data(model, digits, **options)


def test_refuses_classes_that_do_not_fit(model, digits):
    for y in (digits.y_test[:5], np.eye(10)[digits.y_test[:6]]):
        with pytest.raises(ValueError, match="`y` must hold the class of each.* Received: shape"):
            MutationTesting(model, digits.x_test[:6], y)


def test_refuses_a_model_without_units():
    stack = [keras.Input((4,)), keras.layers.BatchNormalization(), keras.layers.Softmax()]
    with pytest.raises(ValueError, match="a convolution or a dense layer to mutate. Received: Seq"):
        Mutants(keras.Sequential(stack), operator="NAI", rate=0.5, seed=0)


def test_refuses_lora():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="merged")])
    model.layers[0].enable_lora(2)
    with pytest.raises(ValueError, match="without LoRA.* Received: the layer 'merged'"):
        operators.units(model)
