"""A classifier that changes after `guard`: no call answers for the old classifier."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d

pytestmark = pytest.mark.keras

ATTACK = a2d.BIM(eps_iter=2e-3, max_iterations=150)
CHANGED = "changed since `adapt`.*call `adapt` with benign inputs again.* Received: "
STALE = "layers have changed since this graph was traced: compile the model around"
OUTPUTS = ("is_adversarial", "score", "cost", "exact")


class Net(keras.Model):
    """The same layers, subclassed."""

    def __init__(self):
        super().__init__()
        self.normalize = keras.layers.Normalization()
        self.hidden = keras.layers.Dense(8, "relu")
        self.head = keras.layers.Dense(3)

    def call(self, x):
        return self.head(self.hidden(self.normalize(x)))


def subclassed(x):
    model = Net()
    model.normalize.adapt(x)
    model(x)
    return model


def sequential(x):
    keras.utils.set_random_seed(0)
    normalize = keras.layers.Normalization()
    normalize.adapt(x)
    hidden, head = keras.layers.Dense(8, "relu"), keras.layers.Dense(3)
    return keras.Sequential([keras.Input((4,)), normalize, hidden, head])


def enable_lora(model, x):
    hidden = model.layers[-2]
    hidden.enable_lora(2)
    hidden.lora_kernel_b.assign(keras.random.normal((2, 8), seed=1))


def quantize(model, x):
    model.layers[-2].kernel.assign(3 * model.layers[-2].kernel)  # to see more than rounding
    model.quantize("int8")


def replace_last(model, x):
    model.pop()
    model.add(keras.layers.Dense(3))


def swap_activation(model, x):
    model.layers[1].activation = keras.activations.tanh


def adapt_normalization(model, x):
    model.layers[0].adapt(2 * x[:20])


def train(model, x):
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, np.arange(len(x)) % 3, epochs=3, verbose=0)


CHANGES = {
    "lora": (sequential, enable_lora),
    "int8": (sequential, quantize),
    "replaced layer": (sequential, replace_last),
    "activation": (sequential, swap_activation),
    "normalization": (sequential, adapt_normalization),
    "normalization, subclassed": (subclassed, adapt_normalization),
    "trained": (sequential, train),
}
SAME_LAYERS = {"trained"}  # only the values of variables differ


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).uniform(size=(40, 4)).astype("float32")


WAYS = {
    "predict": lambda guarded, x: guarded.predict(x, verbose=0),
    "dataset": lambda guarded, x: guarded.predict(
        tf.data.Dataset.from_tensor_slices(x).batch(16), verbose=0
    ),
    "predict_on_batch": lambda guarded, x: guarded.predict_on_batch(x),
    "predict_step": lambda guarded, x: guarded.predict_step((x,)),
    "call": lambda guarded, x: guarded(x),
    "layer": lambda guarded, x: guarded.detector(x),
}


def around(guarded):
    """The layer inside another model."""
    inputs = keras.Input((4,))
    return keras.Model(inputs, guarded.detector(inputs))


class Changed:
    """A guarded model that has answered in some ways, and whose classifier then changed."""

    def __init__(self, kind, x, ways, *, with_outer=False, **options):
        build, change = CHANGES[kind]
        self.x, self.ways, self.model = x, ways, build(x)
        self.guarded = a2d.guard(self.model, attacks=[ATTACK], **options)
        self.guarded.adapt(x, verbose=0)
        self.before, *_ = [WAYS[way](self.guarded, x) for way in ways]  # each has its graph
        self.outer = around(self.guarded)
        if with_outer:
            self.outer.predict(x, verbose=0)
        change(self.model, x)

    def adapt(self):
        """Adapt again, and return the right answers now."""
        self.guarded.adapt(self.x, verbose=0)
        cost = ATTACK(a2d.Classifier(self.model), self.x).cost
        assert (cost != self.before["cost"][:, 0]).any()
        layer = self.guarded.detector
        np.testing.assert_array_equal(layer.benign_costs[0], np.bincount(cost, None, 151))
        seen = np.minimum(cost, layer.thresholds)[:, None]
        flagged, score = layer.rule(tf.constant(seen))
        self.right = {"predictions": self.model.predict(self.x, verbose=0), "cost": seen}
        self.right |= {"is_adversarial": flagged, "score": score}

    def require_refusals(self):
        assert not self.guarded.detector.up_to_date
        for way in self.ways:
            with pytest.raises(ValueError, match=CHANGED):
                WAYS[way](self.guarded, self.x)

    def require_right(self):
        assert self.guarded.detector.up_to_date
        for way in self.ways:
            self.is_right(WAYS[way](self.guarded, self.x))

    def is_right(self, out):
        np.testing.assert_allclose(out["predictions"], self.right["predictions"], atol=1e-5)
        for name in ("is_adversarial", "score", "cost"):
            np.testing.assert_array_equal(out[name], self.right[name], err_msg=name)


@pytest.mark.parametrize(
    ("kind", "ways"),
    [
        ("activation", ["predict"]),
        *[pytest.param(kind, list(WAYS), marks=pytest.mark.slow) for kind in CHANGES],
    ],
)
def test_no_answer_is_of_what_it_was(kind, ways, x):
    changed = Changed(kind, x, ways)
    changed.require_refusals()
    changed.adapt()
    changed.require_right()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "trained"])
def test_a_graph_of_other_layers_refuses(kind, x):
    """What was compiled around the layer before; one of the same layers shares their variables."""
    changed = Changed(kind, x, ["predict"], with_outer=True)
    outer = changed.outer
    changed.adapt()
    if kind == "lora":
        with pytest.raises(tf.errors.InvalidArgumentError, match=STALE):
            outer.predict(x, verbose=0)
        outer.make_predict_function(force=True)
    changed.is_right(outer.predict(x, verbose=0))


@pytest.mark.slow
def test_no_way_to_an_answer_is_left_out(x, tmp_path):
    changed = Changed("lora", x, list(WAYS))
    changed.require_refusals()
    with pytest.raises(ValueError, match=CHANGED):
        changed.guarded.export(tmp_path / "serving")
    with pytest.raises(ValueError, match=CHANGED):
        around(changed.guarded).predict(x, verbose=0)  # when it is traced
    changed.adapt()
    changed.require_right()
    changed.guarded.export(tmp_path / "serving")
    exported = tf.saved_model.load(tmp_path / "serving")
    changed.is_right(exported.serve(tf.constant(x)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "ways"),
    [
        ("activation", ["predict"]),
        *[
            pytest.param(kind, list(WAYS), marks=pytest.mark.slow)
            for kind in ("activation", "lora", "trained")
        ],
    ],
)
def test_who_is_only_warned_gets_what_it_is_now(kind, ways, x):
    changed = Changed(kind, x, ways, on_changed_weights="warn")
    guarded, model = changed.guarded, changed.model
    threshold, costs = guarded.detector.thresholds[0], ATTACK(a2d.Classifier(model), x).cost
    for way in ways:
        with pytest.warns(UserWarning, match=CHANGED) as caught:
            out = WAYS[way](guarded, x)
        told = [warning for warning in caught if warning.category is UserWarning]
        assert {warning.filename for warning in told} == {__file__}  # the caller's line
        np.testing.assert_allclose(out["predictions"], model.predict(x, verbose=0), atol=1e-5)
        np.testing.assert_array_equal(out["cost"][:, 0], np.minimum(costs, threshold))
    assert not guarded.detector.up_to_date
    guarded.adapt(x, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        guarded.predict(x, verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["activation", *(pytest.param(k, marks=pytest.mark.slow) for k in CHANGES)]
)
def test_the_default_guard_answers_for_the_new_classifier_only(kind, x):
    build, change = CHANGES[kind]
    classifier = a2d.Classifier(build(x))
    guarded = a2d.guard(classifier)
    guarded.adapt(x, verbose=0)
    before = guarded.predict(x, verbose=0)
    change(classifier.model, x)
    for way in WAYS.values():
        with pytest.raises(ValueError, match=CHANGED):
            way(guarded, x)
    guarded.adapt(x, verbose=0)
    fresh = a2d.guard(a2d.Classifier(classifier.model))
    fresh.adapt(x, verbose=0)
    expected = fresh.predict(x, verbose=0)
    assert (expected["statistics"] != before["statistics"]).any()
    for way in WAYS.values():
        out = way(guarded, x)
        for name in ("statistics", "score", "p_value"):
            np.testing.assert_allclose(out[name], expected[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_guards_on_one_classifier_change_together(x):
    classifier = a2d.Classifier(sequential(x))
    first, second = (a2d.guard(classifier, attacks=[ATTACK]) for _ in range(2))
    for guarded in (first, second):
        guarded.adapt(x, verbose=0)
        guarded.predict(x, verbose=0)
    swap_activation(classifier.model, x)
    first.adapt(x, verbose=0)
    with pytest.raises(ValueError, match=CHANGED):
        second.predict(x, verbose=0)
    second.adapt(x, verbose=0)
    np.testing.assert_array_equal(
        first.predict(x, verbose=0)["cost"], second.predict(x, verbose=0)["cost"]
    )


@pytest.mark.slow
def test_weights_that_travel_leave_graphs_as_they_are(x):
    """The state comes from a guarded model whose classifier has changed; this one's has not."""
    stays, moves = (a2d.guard(sequential(x), attacks=[ATTACK]) for _ in range(2))
    outer = around(stays)
    stays.adapt(x, verbose=0)
    expected = outer.predict(x, verbose=0)
    swap_activation(moves.detector.model, x)
    moves.adapt(x, verbose=0)
    moves.detector.model.layers[1].activation = keras.activations.relu
    moves.adapt(x, verbose=0)
    stays.set_weights(moves.get_weights())
    for name in OUTPUTS:
        np.testing.assert_array_equal(outer.predict(x, verbose=0)[name], expected[name])


def test_what_adapt_has_not_finished_is_not_up_to_date(x):
    guarded = a2d.guard(sequential(x), attacks=[ATTACK])
    guarded.adapt(x, verbose=0)
    swap_activation(guarded.detector.model, x)
    with pytest.raises(ValueError, match="needs at least 19 benign inputs"):
        guarded.adapt(x[:5], verbose=0)
    with pytest.raises(ValueError, match=CHANGED):
        guarded.predict(x, verbose=0)
