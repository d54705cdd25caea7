"""The requirements for every statistic in the registry."""

import functools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from a2d_keras import statistics
from a2d_keras.statistics.view import View
from tests.tiny import Counter

REGISTERED = [value() for value in vars(statistics).values() if isinstance(value, type)]
OTHERS = [
    a2d.AttackCost(a2d.BIM(eps_iter=0.01, max_iterations=20), exact=True),
    a2d.BoundaryDistance(secant=True, norm="2", tail="both"),
    a2d.BoundaryDistance(classes=3),
    a2d.Consistency(views=("left", "up")),
    a2d.Margin(tail="high"),
    a2d.Squeezing(median=3, bits=4),
]
NOT_COSTS = [s for s in REGISTERED if not isinstance(s, a2d.AttackCost)]
LONG = [a2d.AttackCost(), *OTHERS]
KINDS = [*NOT_COSTS, *(pytest.param(each, marks=pytest.mark.slow) for each in LONG)]
SIDE = 6
RATE, SLOTS = 0.05, 128

every = pytest.mark.parametrize("statistic", KINDS, ids=repr)
registered = pytest.mark.parametrize("statistic", KINDS[: len(REGISTERED)], ids=repr)
no_costs = pytest.mark.parametrize("statistic", NOT_COSTS, ids=repr)


def subject(shape, *before):
    """A small classifier of inputs of any shape."""
    keras.utils.set_random_seed(0)
    body = [keras.layers.Flatten(), keras.layers.Dense(12, "tanh"), keras.layers.Dense(4)]
    return a2d.Classifier(keras.Sequential([keras.Input(shape), *before, *body]))


def wrapped(head, *before, after=(), data_format=None, bounds=(0, 1), shape=None):
    layers = [*before, head, *after]
    model = keras.Sequential([keras.Input(shape or head.input_shape[1:]), *layers])
    return a2d.Classifier(model, data_format=data_format, bounds=bounds)


@pytest.fixture(scope="module")
def images():
    """Smooth images, whose labels survive small shifts."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    rng = np.random.default_rng(0)
    waves = rng.uniform(0, [[[6]], [[1]], [[1]]], size=(48, 3, 1, 1))
    x = 0.5 + 0.4 * np.sin(waves[:, 0] + waves[:, 1] * rows + waves[:, 2] * columns)
    classifier = subject((SIDE, SIDE, 1), keras.layers.AveragePooling2D(2))
    return SimpleNamespace(classifier=classifier, x=x[..., None].astype("float32"))


@functools.cache
def compiled(statistic, classifier, jit_compile=False):
    state = statistic.initial_state(classifier)
    specs = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in state.items()}
    x = tf.TensorSpec((None, *classifier.input_shape), tf.float32)

    def measure(x, state):
        return statistic.measure(View.of(classifier, x), state)

    return tf.function(
        measure, input_signature=[x, specs], autograph=False, jit_compile=jit_compile
    )


def measure(statistic, classifier, state, x, **options):
    tensors = {name: tf.constant(value) for name, value in state.items()}
    return compiled(statistic, classifier, **options)(tf.constant(x), tensors).numpy()


learned = {}


def fitted(statistic, given):
    key = statistic, id(given)
    if key not in learned:
        learned[key] = statistic.fit(given.classifier, given.x, RATE, SLOTS)
    return learned[key]


@pytest.fixture
def state(statistic, images):
    return fitted(statistic, images)


@every
class TestEvery:
    def test_is_a_value(self, statistic):
        assert isinstance(statistic, a2d.Statistic)
        assert statistic.tail in ("low", "high", "both")
        config = keras.saving.serialize_keras_object(statistic)
        again = keras.saving.deserialize_keras_object(config)
        assert again == statistic
        assert hash(again) == hash(statistic)
        assert again.get_config() == statistic.get_config()
        with pytest.raises(AttributeError, match="cannot assign"):
            statistic.tail = "high"

    def test_what_it_learns_has_room_and_is_the_same_each_time(self, statistic, images, state):
        room = statistic.initial_state(images.classifier)
        dataset = tf.data.Dataset.from_tensor_slices(images.x).batch(7)
        again = statistic.fit(images.classifier, dataset, RATE, SLOTS)
        assert room.keys() == state.keys() == again.keys()
        for name, value in state.items():
            assert (value.shape, value.dtype) == (room[name].shape, room[name].dtype)
            np.testing.assert_array_equal(again[name], value)
        assert isinstance(statistic.describe(images.classifier, state), str)

    def test_is_a_finite_number_for_each_input(self, statistic, images, state):
        flat = np.ones((3, SIDE, SIDE, 1)) * np.array([0, 0.5, 1]).reshape(3, 1, 1, 1)
        corners = np.random.default_rng(1).integers(0, 2, size=(4, SIDE, SIDE, 1))
        for x in (images.x[:8], flat, corners):
            found = measure(statistic, images.classifier, state, x.astype("float32"))
            assert (found.shape, found.dtype) == ((len(x),), "float32")
            assert np.isfinite(found).all()

    def test_does_not_depend_on_the_other_inputs(self, statistic, images, state):
        run = functools.partial(measure, statistic, images.classifier, state)
        x = images.x[:9]
        together, alone = run(x), np.concatenate([run(x[i : i + 1]) for i in range(3)])
        np.testing.assert_allclose(run(x[::-1])[::-1], together, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(alone, together[:3], rtol=1e-3, atol=1e-5)
        assert run(x[:0]).shape == (0,)

    def test_takes_as_many_passes_as_it_says(self, statistic, images):
        """Beside the pass over the input and its gradient, which all statistics share."""
        counter = Counter()
        classifier = wrapped(images.classifier.model, counter)
        state, x = statistic.initial_state(classifier), images.x[:5]
        forward, backward = counter.count(lambda: measure(statistic, classifier, state, x))
        said = statistic.passes(classifier)
        most = (
            len(x) * (1 + said.queries),
            len(x) * (statistic.needs_gradient + said.gradient_evaluations),
        )
        if isinstance(statistic, a2d.AttackCost):  # which may end early
            assert 0 < forward <= SLOTS * most[0]  # empty slots run along
            assert backward <= SLOTS * most[1]
        elif forward == 0:  # it reads the input alone
            assert (backward, said) == (0, a2d.Passes())
        else:
            assert (forward, backward) == most


@no_costs
class TestRegistered:
    @pytest.mark.parametrize("size", [1e25, pytest.param(1e-30, marks=pytest.mark.slow)])
    def test_is_finite_for_logits_of_any_size(self, statistic, images, size):
        classifier = wrapped(images.classifier.model, after=[keras.layers.Rescaling(size)])
        state = statistic.fit(classifier, images.x, RATE, SLOTS)
        assert np.isfinite(measure(statistic, classifier, state, images.x)).all()

    def test_xla_compiles_it(self, statistic, images, state):
        """`AttackCost` is left out: the loop over slots has shapes that its data decides."""
        plain, xla = (
            measure(statistic, images.classifier, state, images.x, jit_compile=jit)
            for jit in (False, True)
        )
        np.testing.assert_allclose(xla, plain, rtol=1e-3, atol=1e-4)

    def test_channels_first(self, statistic, images, state):
        to_last = keras.layers.Permute((2, 3, 1))
        shape = (1, SIDE, SIDE)
        classifier = wrapped(
            images.classifier.model, to_last, shape=shape, data_format="channels_first"
        )
        found = measure(statistic, classifier, state, np.moveaxis(images.x, -1, 1))
        expected = measure(statistic, images.classifier, state, images.x)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize(
        "each",
        [pytest.param(False, marks=pytest.mark.slow), True],
        ids=["two numbers", "each value"],
    )
    def test_other_bounds_give_the_same_values(self, statistic, images, each):
        """Of -1 to 254 for all values, or for each of them."""
        if isinstance(statistic, a2d.Consistency):  # noise is seeded by the bits of an input
            statistic = a2d.Consistency(views=("left", "up"))
        low, high = -1.0, 254.0
        if each:
            low, high = (np.full((SIDE, SIDE, 1), bound) for bound in (low, high))
        unit = keras.layers.Rescaling(1 / 255, 1 / 255)
        classifier = wrapped(images.classifier.model, unit, bounds=(low, high))
        x = 255 * images.x - 1
        state = fitted(statistic, images)
        there = statistic.fit(classifier, x, RATE, SLOTS)
        for name, value in state.items():
            np.testing.assert_allclose(there[name], value, rtol=1e-2, atol=1e-3)
        found = measure(statistic, classifier, state, x)
        expected = measure(statistic, images.classifier, state, images.x)
        np.testing.assert_allclose(found, expected, rtol=5e-3, atol=1e-4)


def refuses(statistic, classifier):
    try:
        statistic.require(classifier)
    except ValueError:
        return True
    return False


@registered
@pytest.mark.parametrize(
    "shape", [(5,), pytest.param((6, 3), marks=pytest.mark.slow)], ids=["table", "sequence"]
)
def test_inputs_that_are_no_images_are_measured_or_refused(statistic, shape):
    classifier = subject(shape)
    x = np.random.default_rng(0).uniform(size=(24, *shape)).astype("float32")
    if refuses(statistic, classifier):
        with pytest.raises(ValueError, match="Received: "):
            a2d.guard(classifier, statistics=[statistic])
        return
    state = statistic.fit(classifier, x, RATE, SLOTS)
    found = measure(statistic, classifier, state, x)
    assert np.isfinite(found).all()
    assert len(np.unique(found)) > 1


def test_views_that_change_every_label_say_nothing(images):
    """A guard that chose its statistics itself must not fail for want of a view."""
    statistic = a2d.Consistency(views=("flip",))
    weights = np.zeros((SIDE, SIDE, 1, 2))
    weights[:, :3, :, 0] = weights[:, 3:, :, 1] = 1
    head = keras.Sequential(
        [keras.Input((SIDE, SIDE, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    head.set_weights([weights.reshape(-1, 2), np.zeros(2)])
    classifier = a2d.Classifier(head)
    with pytest.warns(UserWarning, match="survive no view.* Received: flip"):
        state = statistic.fit(classifier, images.x, RATE, SLOTS)
    np.testing.assert_array_equal(measure(statistic, classifier, state, images.x), 0)
    assert "no view" in statistic.describe(classifier, state)


class TestGuard:
    """All statistics at once."""

    @pytest.fixture(scope="class")
    def counter(self):
        return Counter()

    @pytest.fixture(scope="class", params=[0, pytest.param(None, marks=pytest.mark.slow)])
    def guarded(self, request, images, counter):
        classifier = wrapped(images.classifier.model, counter)
        guarded = a2d.guard(classifier, statistics=[*NOT_COSTS, *OTHERS[: request.param]])
        guarded.adapt(images.x, verbose=0)
        return guarded

    @pytest.fixture(scope="class")
    def out(self, guarded, images):
        return guarded.predict(images.x, verbose=0)

    def test_columns_are_the_statistics(self, guarded, images, out):
        layer = guarded.detector
        for index, statistic in enumerate(layer.statistics):
            half = SimpleNamespace(classifier=images.classifier, x=images.x[::2])
            state = statistic.fit(half.classifier, half.x, RATE, SLOTS)
            expected = measure(statistic, images.classifier, state, images.x)
            found = out["statistics"][:, index]
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4, err_msg=statistic)

    def test_saved_and_exported(self, guarded, images, out, tmp_path):
        guarded.save(tmp_path / "guarded.keras")
        loaded = keras.models.load_model(
            tmp_path / "guarded.keras", custom_objects={"Counter": Counter}
        )
        assert loaded.detector.statistics == guarded.detector.statistics
        loaded.export(tmp_path / "serving")
        exported = tf.saved_model.load(tmp_path / "serving")
        again = exported.serve(tf.constant(images.x))
        for name, values in out.items():
            np.testing.assert_array_equal(again[name], values, err_msg=name)

    def test_the_default_shares_one_pass_with_the_prediction(self, images, counter):
        model = wrapped(images.classifier.model, counter).model
        guarded = a2d.guard(model)
        guarded.adapt(images.x, verbose=0)
        layer, x = guarded.detector, images.x
        passes = 0
        for each in layer._learned:
            kept = getattr(each.statistic, "kept", None)  # the views that `adapt` chose
            passes += (
                len(kept(layer.classifier, each.state))
                if kept
                else each.statistic.passes(layer.classifier).queries
            )
        found = {}
        forward, _ = counter.count(lambda: found.update(guarded.predict(x, verbose=0)))
        assert forward == len(x) * (1 + passes)
        assert 1 + passes <= guarded.max_queries_per_input
        expected = model.predict(x, batch_size=layer.batch_size, verbose=0)
        np.testing.assert_array_equal(found["predictions"], expected)  # bit for bit
