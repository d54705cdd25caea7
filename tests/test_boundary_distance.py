"""`BoundaryDistance` against closed forms, and against boundaries that were searched."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import a2d_keras as a2d
from a2d_keras.statistics.view import View

FEATURES, CLASSES = 5, 4
DUALS = {"inf": 1, "2": 2}  # the order of the dual norm


def measure(statistic, classifier, x):
    values = statistic.measure(View.of(classifier, tf.constant(x, tf.float32)), {})
    return values.numpy()


@pytest.fixture(scope="module")
def linear():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((FEATURES,)), keras.layers.Dense(CLASSES)]
    return a2d.Classifier(keras.Sequential(layers))


def closed_form(kernel, logits, norm, classes):
    """The distance to the nearest of the boundaries with the likeliest other classes."""
    distances = []
    for row in logits:
        own, *others = np.argsort(-row)
        lengths = [np.linalg.norm(kernel[:, own] - kernel[:, j], DUALS[norm]) for j in others]
        leads = row[own] - row[others]
        distances.append(min((leads / lengths)[:classes]))
    return np.array(distances)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    norm=st.sampled_from(list(DUALS)),
    classes=st.integers(1, CLASSES + 1),
    size=st.sampled_from((1e-25, 1e-3, 1, 1e15)),
)
def test_is_exact_on_a_linear_classifier(linear, seed, norm, classes, size):
    rng = np.random.default_rng(seed)
    kernel, bias = rng.normal(size=(FEATURES, CLASSES)), rng.normal(size=CLASSES) / 3
    linear.model.set_weights([size * kernel, size * bias])
    x = rng.uniform(size=(20, FEATURES)).astype("float32")
    logits = x.astype("float64") @ kernel + bias
    expected = closed_form(kernel, logits, norm, classes)
    found = measure(a2d.BoundaryDistance(norm=norm, classes=classes), linear, x)
    limit = 1 if norm == "inf" else FEATURES**0.5
    np.testing.assert_allclose(found, np.minimum(expected, limit), rtol=1e-3, atol=1e-6)


def along_the_second(kernel, logits, norm):
    """The distance at which any class takes over, on the shortest way to the second class."""
    distances = []
    for row in logits:
        own, *others = np.argsort(-row)
        ways = kernel[:, others] - kernel[:, [own]]
        way = np.sign(ways[:, 0]) if norm == "inf" else ways[:, 0] / np.linalg.norm(ways[:, 0])
        gains, leads = way @ ways, row[own] - row[others]
        distances.append(min(leads[gains > 0] / gains[gains > 0]))
    return np.array(distances)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    norm=st.sampled_from(list(DUALS)),
    size=st.sampled_from((1e-25, 1e-3, 1, 1e15)),
)
def test_a_secant_meets_the_first_boundary_of_a_linear_classifier(linear, seed, norm, size):
    """Of any class, along the direction that the second class is nearest in."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(FEATURES, CLASSES))
    x = rng.uniform(0.4, 0.6, size=(20, FEATURES)).astype("float32")
    bias = rng.normal(size=CLASSES) / 20 - 0.5 * kernel.sum(axis=0)  # all classes are near
    linear.model.set_weights([size * kernel, size * bias])
    found = measure(a2d.BoundaryDistance(secant=True, norm=norm), linear, x)
    inside = measure(a2d.BoundaryDistance(norm=norm), linear, x) < 0.4  # before the bounds
    expected = along_the_second(kernel, x.astype("float64") @ kernel + bias, norm)
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-2, atol=1e-5)
    assert inside.sum() > 10


class TestSecant:
    """One feature, at 0.1, and a first class that leads. From 0.3 on, the others bend."""

    @pytest.fixture(scope="class")
    def bent(self):
        layers = [keras.layers.Dense(2, "relu"), keras.layers.Dense(3)]
        return a2d.Classifier(keras.Sequential([keras.Input((1,)), *layers]))

    @pytest.mark.parametrize("norm", DUALS)
    @pytest.mark.parametrize(
        ("ahead", "second", "third", "linear", "secant"),
        [
            (0.8, 4, 0, 0.7, 0.7 * 0.7 / (0.7 + 4 * 0.5)),
            (0.8, 0, 40, 0.7, 0.7 * 9 / (40 * 0.5)),
            (0.8, -4, 0, 0.7, 0.7),
            (1.7, 4, 0, 1, 1.6 / (0.9 + 4 * 0.7)),
            (8.1, 4, 0, 1, 1),
            (0.1, 4, 0, 0, 0),
        ],
        ids=["sooner", "another class", "no boundary", "at the bounds", "far", "tie"],
    )
    def test_corrects_the_linearisation(self, bent, ahead, second, third, linear, secant, norm):
        """Leads of `ahead` - x - `second` * relu(x - 0.3), and of 9 - `third` * relu(x - 0.3)."""
        kernel, bias = [[0, 1, 0], [0, second, third]], [ahead, 0, ahead - 9]
        hidden = [np.ones((1, 2)), np.array([0, -0.3])]
        bent.model.set_weights([*hidden, np.array(kernel), np.array(bias)])
        for chosen, expected in ((False, linear), (True, secant)):
            found = measure(a2d.BoundaryDistance(secant=chosen, norm=norm), bent, [[0.1]])
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_two_classes_of_one_unit():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, "sigmoid")])
    model.set_weights([np.array([[1.0], [-2.0], [1.0]]), np.array([0.25])])
    x = np.array([[0.5, 0.5, 0.5], [0.1, 0.9, 0.2]])
    found = measure(a2d.BoundaryDistance(), a2d.Classifier(model), x)
    np.testing.assert_allclose(found, np.abs(x @ [1, -2, 1] + 0.25) / 4, rtol=1e-5)


@pytest.fixture(scope="module")
def curved():
    """A classifier of the unit square with curved boundaries, and a grid that shows them."""
    big, shifted = (keras.initializers.RandomNormal(stddev=3.0, seed=seed) for seed in (3, 4))
    hidden = keras.layers.Dense(16, "tanh", kernel_initializer=big, bias_initializer=shifted)
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((2,)), hidden, keras.layers.Dense(3)])
    side = np.linspace(0, 1, 201)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    return a2d.Classifier(model), grid, model.predict(grid, batch_size=50_000, verbose=0).argmax(-1)


@pytest.mark.parametrize("norm", DUALS)
def test_a_secant_comes_nearer_to_the_boundary(curved, norm):
    classifier, grid, labels = curved
    assert len(np.unique(labels)) >= 2
    x = np.random.default_rng(0).uniform(size=(150, 2))
    own = classifier.logits(tf.constant(x, tf.float32)).numpy().argmax(-1)
    order = {"inf": np.inf, "2": 2}[norm]
    distances = np.linalg.norm(grid[None] - x[:, None], order, axis=-1)
    true = np.where(labels[None] != own[:, None], distances, np.inf).min(axis=1)
    near = true < 0.2
    assert near.sum() > 30
    errors = [
        np.abs(measure(a2d.BoundaryDistance(secant=secant, norm=norm), classifier, x) - true)[near]
        for secant in (False, True)
    ]
    assert np.median(errors[1]) < 0.7 * np.median(errors[0])
    assert errors[1].mean() < errors[0].mean()


@pytest.mark.parametrize("norm", DUALS)
def test_a_secant_stays_within_the_bounds(curved, norm):
    """Where the gradient nearly vanishes, the step would be long."""
    classifier, grid, _ = curved
    found = measure(a2d.BoundaryDistance(secant=True, norm=norm), classifier, grid[::97])
    assert (found >= 0).all()
    assert (found <= (1 if norm == "inf" else 2**0.5)).all()


@pytest.mark.slow
def test_xla_compiles_a_secant(curved):
    classifier, grid, _ = curved
    secant, x = a2d.BoundaryDistance(secant=True, norm="2"), tf.constant(grid[::997], tf.float32)
    run = tf.function(lambda x: secant.measure(View.of(classifier, x), {}), jit_compile=True)
    np.testing.assert_allclose(run(x), measure(secant, classifier, x), rtol=1e-3, atol=1e-4)


class TestNoGradient:
    """It says nothing about the distance, so the distance is never far."""

    @pytest.mark.parametrize(
        "options", [{}, {"norm": "2"}, {"classes": 3}, {"secant": True}], ids=str
    )
    def test_is_zero(self, linear, options):
        same = np.repeat(np.arange(FEATURES)[:, None], CLASSES, axis=1)
        linear.model.set_weights([same, np.array([9.0, 0, 0, 0])])  # a large margin
        x = np.random.default_rng(0).uniform(size=(9, FEATURES))
        found = measure(a2d.BoundaryDistance(**options), linear, x)
        np.testing.assert_array_equal(found, np.zeros(9))

    def test_of_a_dead_unit_counts_as_suspicious(self):
        """Half of the inputs lie where no unit is active."""
        dead = keras.layers.Dense(3, kernel_initializer="orthogonal")
        stack = [keras.layers.Rescaling(1, -0.5), keras.layers.ReLU(), dead]
        model = keras.Sequential([keras.Input((4,)), *stack])
        dead.set_weights([dead.get_weights()[0], np.array([5.0, 0, 0])])
        x = np.random.default_rng(0).uniform(0.6, 1, size=(100, 4)).astype("float32")
        guarded = a2d.guard(model, statistics=[a2d.BoundaryDistance()])
        guarded.adapt(x, verbose=0)
        out = guarded.predict(np.full((3, 4), 0.2), verbose=0)
        np.testing.assert_array_equal(out["statistics"], 0)
        assert out["is_adversarial"].all()


@pytest.mark.parametrize("options", [{}, {"classes": 3}, {"secant": True}], ids=str)
def test_a_masked_class_is_no_neighbour(linear, options):
    """It counts as one that is far behind, where another would be near."""
    inputs = keras.Input((FEATURES,))
    mask = np.array([0, 0, 0, -np.inf], "float32")
    masked = keras.layers.Lambda(lambda t: t + mask)(linear.model(inputs))
    classifier = a2d.Classifier(keras.Model(inputs, masked), from_logits=True)
    rng = np.random.default_rng(0)
    kernel, x = rng.normal(size=(FEATURES, CLASSES)), rng.uniform(size=(20, FEATURES))
    linear.model.set_weights([kernel, np.array([0, 0, 0, 0.1])])
    found, near = (measure(a2d.BoundaryDistance(**options), c, x) for c in (classifier, linear))
    linear.model.set_weights([kernel, np.array([0, 0, 0, -1e9])])
    far = measure(a2d.BoundaryDistance(**options), linear, x)
    np.testing.assert_allclose(found, far, rtol=1e-3)
    assert not np.allclose(found, near, rtol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 1.5}, "`classes` must be a whole number.* Received: 1.5"),
        ({"norm": "1"}, "`norm` must be .* Received: '1'"),
        ({"norm": 2}, "`norm` must be .* Received: 2"),
        ({"tail": "left"}, "`tail` must be .* Received: 'left'"),
        ({"secant": True, "classes": 2}, "goes to all classes.* Received: 2 classes and a secant"),
    ],
)
def test_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        a2d.BoundaryDistance(**options)
