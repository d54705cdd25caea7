"""A lower precision for the passes of an attack, and for nothing else."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from sklearn.metrics import roc_auc_score

import a2d_keras as a2d
from a2d_keras import precision
from a2d_keras.detection import precision_choice
from a2d_keras.precision import lowered, native_bfloat16
from models import zoo

needs_bfloat16 = pytest.mark.skipif(not native_bfloat16(), reason="this processor lacks bfloat16")
pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore:This processor's bfloat16")]
LOW = "bfloat16"


@keras.saving.register_keras_serializable(package="tests")
class Block(layers.Layer):
    """Has weights of its own, and layers within."""

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(shape[-1],), initializer="ones")
        self.inner = layers.Dense(12, "relu")
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x * self.scale)


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    def __init__(self, head_early=False, raw=False):
        super().__init__()
        self.stem = layers.Dense(16, "relu")
        if head_early:
            self.head = layers.Dense(3)
        self.stack = [Block(), layers.Dense(16, "relu")]
        if not head_early:
            self.head = layers.Dense(3)
        self.raw = raw

    def call(self, x):
        x = self.stem(x)
        for layer in self.stack:
            x = layer(x)
        return self.head(x + tf.ones(16) if self.raw else x)


def convolutions():
    return [
        layers.Rescaling(2.0, -1.0),
        layers.Conv2D(8, 3, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(8, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Dropout(0.5),
        layers.Flatten(),
    ]


def sequential():
    stack = [*convolutions(), layers.Dense(16, "relu"), layers.Dense(3, "softmax")]
    return keras.Sequential([keras.Input((6, 6, 2)), *stack])


def functional():
    inputs = keras.Input((6, 6, 2))
    x = inputs / 2 + 0.25
    for layer in convolutions():
        x = layer(x)
    left, right = layers.Dense(16, "relu")(x), layers.Dense(16)(x)
    return keras.Model(inputs, layers.Softmax()(layers.Dense(3)(layers.Add()([left, right]))))


def nested():
    base = keras.Sequential([keras.Input((6, 6, 2)), *convolutions()])
    return keras.Sequential(
        [keras.Input((6, 6, 2)), base, layers.Dense(16, "relu"), layers.Dense(3)]
    )


def recurrent():
    stack = [layers.Reshape((6, 12)), layers.LSTM(8), layers.Dense(8, "relu"), layers.Dense(3)]
    return keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(2, 1), *stack])


def attentive():
    inputs = keras.Input((6, 6, 2))
    x = layers.Dense(8)(layers.Reshape((12, 6))(inputs))
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def convolutional():
    """Like MobileNet, it ends in a convolution."""
    head = [layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(3, 1), layers.Flatten()]
    return keras.Sequential([keras.Input((6, 6, 2)), *convolutions()[:6], *head])


def subclassed(**options):
    model = Subclassed(**options)
    model(tf.zeros((1, 72)))
    return model


MODELS = [
    functional,
    attentive,
    *(
        pytest.param(make, marks=pytest.mark.slow)
        for make in (sequential, nested, recurrent, convolutional, subclassed)
    ),
]


def products(function):
    """Return the types in which a graph multiplies: in its own operations, and in its loops."""
    graph = function.get_concrete_function().graph.as_graph_def()
    inner = (node for function in graph.library.function for node in function.node_def)
    kinds = ("Conv2D", "MatMul", "Einsum", "BatchMatMulV2")
    return [
        [tf.as_dtype(node.attr["T"].type).name for node in nodes if node.op in kinds]
        for nodes in (graph.node, inner)
    ]


def inputs_of(model, count=20):
    shape = (count, *a2d.Classifier(model).input_shape)
    return np.random.default_rng(0).uniform(size=shape).astype("float32")


@needs_bfloat16
@pytest.mark.parametrize("make", MODELS)
class TestAnyModel:
    def test_first_and_last_stay_float32(self, make):
        used, inner = products(a2d.Classifier(make(), precision=LOW)._function)
        assert used[0] == used[-1] == "float32"
        assert {LOW} == set(used[1:-1] + inner)
        used, inner = products(a2d.Classifier(make())._function)
        assert set(used + inner) == {"float32"}

    def test_logits_are_close_and_float32(self, make):
        model = make()
        x = inputs_of(model)
        exact, low = a2d.Classifier(model), a2d.Classifier(model, precision=LOW)
        logits = low.logits(x)
        assert logits.dtype == tf.float32
        np.testing.assert_allclose(logits, exact.logits(x), atol=0.05)
        assert not np.array_equal(logits, exact.logits(x))

    @pytest.mark.slow
    def test_gradients_are_close_and_float32(self, make):
        model = make()
        x = tf.constant(inputs_of(model))
        gradients = []
        for name in ("float32", LOW):
            _, pullback = a2d.Classifier(model, precision=name).vjp(x)
            gradients.append(pullback(tf.one_hot(tf.zeros(len(x), tf.int64), 3)).numpy())
        exact, low = (gradient.ravel() for gradient in gradients)
        assert low.dtype == "float32"
        assert np.dot(exact, low) > 0.95 * np.linalg.norm(exact) * np.linalg.norm(low)

    @pytest.mark.slow
    def test_the_model_is_left_as_it_is(self, make):
        model = make()
        x = inputs_of(model)
        expected = model.predict(x, verbose=0)
        policies = [layer.dtype_policy for layer in model._flatten_layers()]
        weights = model.weights
        a2d.BIM(max_iterations=3)(a2d.Classifier(model, precision=LOW), x)
        after = [layer.dtype_policy for layer in model._flatten_layers()]
        assert all(left is right for left, right in zip(policies, after, strict=True))
        assert all(left is right for left, right in zip(weights, model.weights, strict=True))
        np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


@needs_bfloat16
class TestDetection:
    @pytest.fixture(
        scope="class", params=["fisher", pytest.param("zscore", marks=pytest.mark.slow)]
    )
    def guarded(self, model, held_out, request):
        guarded = a2d.guard(a2d.Classifier(model, precision=LOW), rule=request.param)
        guarded.adapt(held_out, verbose=0)
        return guarded

    @pytest.mark.slow
    def test_predictions_are_the_models_own(self, guarded, model, benign):
        out = guarded.predict(benign, verbose=0)
        expected = model.predict(benign, batch_size=1024, verbose=0)
        np.testing.assert_array_equal(out["predictions"], expected)

    def test_detects(self, guarded, benign, adversarial):
        found, fresh = (guarded.predict(x, verbose=0) for x in (adversarial, benign))
        labels = np.repeat([1, 0], [len(adversarial), len(benign)])
        assert roc_auc_score(labels, [*found["score"], *fresh["score"]]) >= 0.9
        assert fresh["is_adversarial"].mean() <= 0.15

    @pytest.mark.slow
    def test_saved_and_exported(self, guarded, benign, tmp_path):
        expected = guarded.predict(benign, verbose=0)
        guarded.save(tmp_path / "guarded.keras")
        loaded = keras.models.load_model(tmp_path / "guarded.keras")
        assert loaded.detector.classifier.precision == LOW
        guarded.export(tmp_path / "serving")
        exported = tf.saved_model.load(tmp_path / "serving")
        for out in (loaded.predict(benign, verbose=0), exported.serve(tf.constant(benign))):
            for name in expected:
                np.testing.assert_array_equal(out[name], expected[name])

    @pytest.mark.slow
    @pytest.mark.parametrize(("there", "here"), [("float32", LOW), (LOW, "float32")])
    def test_costs_of_another_precision_are_refused(self, there, here, model, held_out, benign):
        adapted = a2d.guard(a2d.Classifier(model, precision=there))
        adapted.adapt(held_out[:40], verbose=0)
        other = a2d.guard(a2d.Classifier(model, precision=here))
        other.set_weights(adapted.get_weights())
        with pytest.raises(ValueError, match="or its precision.*call `adapt`.*Received: "):
            other.predict(benign, verbose=0)


@needs_bfloat16
class TestAuto:
    """`precision="auto"`: the seconds are made up, and everything else is real."""

    @pytest.fixture
    def guarded(self):
        layers_ = [keras.Input((4,)), *(layers.Dense(n, "relu") for n in (8, 8)), layers.Dense(3)]
        return a2d.guard(a2d.Classifier(keras.Sequential(layers_), precision="auto"))

    @pytest.fixture
    def x(self):
        return np.random.default_rng(0).uniform(size=(60, 4)).astype("float32")

    @staticmethod
    def measured(monkeypatch, ratios):
        calls = []

        def turns(low, exact):
            calls.append((low(), exact()))
            return ratios

        monkeypatch.setattr(precision_choice, "turns", turns)
        return calls

    @pytest.mark.parametrize(
        ("ratios", "picked"),
        [
            ([0.5, 0.6, 3.0], LOW),
            pytest.param([0.95, 0.95, 0.1], "float32", marks=pytest.mark.slow),
            pytest.param([1.7] * 3, "float32", marks=pytest.mark.slow),
        ],
    )
    def test_the_faster_one_is_picked_once_and_kept(
        self, guarded, x, ratios, picked, monkeypatch, tmp_path
    ):
        calls, classifier = self.measured(monkeypatch, ratios), guarded.detector.classifier
        assert classifier.precision == "float32"
        guarded.adapt(x, verbose=0)
        assert (classifier.precision, classifier.undecided) == (picked, False)
        assert calls[0][0].shape == (60,)
        expected = guarded.predict(x, verbose=0)
        guarded.save(tmp_path / "guarded.keras")
        loaded = keras.models.load_model(tmp_path / "guarded.keras")
        assert loaded.detector.classifier.precision == picked
        again = loaded.predict(x, verbose=0)
        for name in expected:
            np.testing.assert_array_equal(again[name], expected[name])
        loaded.adapt(x, verbose=0)
        guarded.adapt(x, verbose=0)
        assert len(calls) == 1

    @pytest.mark.slow
    def test_verdicts_are_those_of_the_picked_precision(self, guarded, x, monkeypatch):
        self.measured(monkeypatch, [0.5])
        guarded.adapt(x, verbose=0)
        model = guarded.detector.model
        plain = a2d.guard(a2d.Classifier(model, precision=LOW))
        plain.adapt(x, verbose=0)
        np.testing.assert_array_equal(guarded.predict(x, verbose=0)["predictions"], model(x))
        np.testing.assert_array_equal(
            guarded.predict(x, verbose=0)["score"], plain.predict(x, verbose=0)["score"]
        )

    @pytest.mark.slow
    def test_it_is_saved_undecided(self, guarded, tmp_path):
        guarded.save(tmp_path / "guarded.keras")
        assert keras.models.load_model(tmp_path / "guarded.keras").detector.classifier.undecided

    @pytest.mark.slow
    def test_coarse_logits_are_not_tried(self, monkeypatch):
        calls = self.measured(monkeypatch, [0.5])
        model = subclassed(head_early=True)
        guarded = a2d.guard(a2d.Classifier(model, precision="auto"), statistics=[a2d.Margin()])
        guarded.adapt(inputs_of(model, 60), verbose=0)
        assert (guarded.detector.classifier.precision, calls) == ("float32", [])


def test_auto_is_float32_where_bfloat16_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "_LISTED", tmp_path / "cpuinfo")
    classifier = a2d.Classifier(zoo.load("digits"), precision="auto")
    if not tf.config.list_physical_devices("GPU"):
        assert precision_choice.lower(classifier) is None


def test_time_is_taken_turn_by_turn():
    order = []
    ratios = precision_choice.turns(lambda: order.append("low"), lambda: order.append("exact"))
    assert order == ["low", "exact"] * len(ratios)
    assert min(ratios) > 0


def slow(attack, share):
    return pytest.param(attack, share, marks=pytest.mark.slow)


@pytest.mark.slow
@needs_bfloat16
@pytest.mark.parametrize(
    ("attack", "share"),
    [
        (a2d.BIM(), 0.95),
        slow(a2d.JSMA(max_iterations=100), 0.95),
        slow(a2d.CarliniWagner(binary_search_steps=1, search_iterations=20), 0.85),
        slow(a2d.DBA(max_iterations=30), 0.8),  # a walk that every label steers
        slow(a2d.DeepFool(max_iterations=20), 0.7),  # whose step ends where the logits are equal
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_attacks_cost_nearly_the_same(attack, share, model, benign, adversarial):
    x = np.concatenate([benign[:20], adversarial[:20]])
    exact = a2d.AttackCosts(model, attacks=[attack]).transform(x)[:, 0]
    low = a2d.AttackCosts(a2d.Classifier(model, precision=LOW), attacks=[attack]).transform(x)[:, 0]
    near = np.abs(low - exact) <= np.maximum(1, 0.02 * exact)
    assert near.mean() >= share


@needs_bfloat16
@pytest.mark.slow
def test_xla(model, benign):
    classifier = a2d.Classifier(model, precision=LOW)
    plain = a2d.BIM()(classifier, benign)
    xla = a2d.BIM()(classifier, benign, jit_compile=True)
    assert np.mean(np.abs(plain.cost - xla.cost) <= np.maximum(1, 0.02 * plain.cost)) >= 0.95


def test_other_threads_see_no_change():
    model, x = zoo.load("digits"), tf.ones((2, 8, 8, 1))
    inner, seen = model.layers[1], {}

    def look():
        seen["policy"] = inner.compute_dtype
        seen["outputs"] = model(x)

    expected = model(x)
    with lowered(model, LOW):
        assert inner.compute_dtype == LOW
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert seen["policy"] == "float32"
    np.testing.assert_array_equal(seen["outputs"], expected)


def test_policies_come_back_after_an_error():
    model = sequential()
    with pytest.raises(RuntimeError), lowered(model, LOW):
        raise RuntimeError
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}


@needs_bfloat16
def test_a_model_with_a_policy_of_its_own_keeps_it():
    keras.config.set_dtype_policy("mixed_float16")
    model = sequential()
    with lowered(model, LOW):
        assert {layer.compute_dtype for layer in model.layers} == {"float16"}


@needs_bfloat16
def test_coarse_logits_are_told():
    model = subclassed(head_early=True)
    with pytest.warns(UserWarning, match="are computed in bfloat16, and costs are coarse. Receiv"):
        a2d.Classifier(model, precision=LOW)


@needs_bfloat16
def test_a_model_that_mixes_types_is_refused():
    model = subclassed(raw=True)
    message = "a layer of its own that mixes.*Received: 'bfloat16' for Subcl"
    with pytest.raises(ValueError, match=message):
        a2d.Classifier(model, precision=LOW)


@needs_bfloat16
def test_a_substitute_keeps_its_precision(model):
    attack = a2d.Transfer(substitute=a2d.Classifier(model, precision=LOW))
    again = a2d.Transfer.from_config(attack.get_config())
    assert again.substitute.precision == LOW


class TestErrors:
    @pytest.mark.parametrize("value", ["half", None, 16, ["bfloat16"]])
    def test_unknown(self, model, value):
        with pytest.raises(ValueError, match="`precision` must be .* Received: "):
            a2d.Classifier(model, precision=value)

    @pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
    def test_float16_without_a_gpu(self, model):
        with pytest.raises(ValueError, match='float16 needs a GPU.*Received: "float16"'):
            a2d.Classifier(model, precision="float16")

    @pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
    @pytest.mark.parametrize("flags", ["flags : avx2 avx512f", None], ids=["old", "no Linux"])
    def test_bfloat16_that_would_be_emulated(self, model, flags, tmp_path, monkeypatch):
        path = tmp_path / "cpuinfo"
        if flags:
            path.write_text(flags)
        monkeypatch.setattr(precision, "_LISTED", path)
        with pytest.raises(ValueError, match='lacks bfloat16.*Received: "bfloat16"'):
            a2d.Classifier(model, precision=LOW)

    @pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
    def test_bfloat16_that_may_be_slow(self, model, tmp_path, monkeypatch):
        path = tmp_path / "cpuinfo"
        path.write_text("flags : avx512f avx512_bf16")
        monkeypatch.setattr(precision, "_LISTED", path)
        with pytest.warns(UserWarning, match='may be slower than its float32.*Received: "bfloat1'):
            precision.require_precision(LOW)
