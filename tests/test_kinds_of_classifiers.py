"""Guarded classifiers of every kind: what they compute, take and return."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from a2d_keras.attacks.engine.slots import SlotLoop

pytestmark = pytest.mark.keras

ATTACK = a2d.BIM(eps_iter=2e-3, max_iterations=150)
OUTPUTS = ("is_adversarial", "score", "cost", "exact")
GUARDS = {"statistics": {}, "costs": {"attacks": [ATTACK]}}
EACH = ["statistics", pytest.param("costs", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).uniform(size=(40, 4)).astype("float32")


def layers_of(*before, units=3, activation="softmax"):
    return [*before, keras.layers.Dense(8, "relu"), keras.layers.Dense(units, activation)]


def small(*before, **options):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), *layers_of(*before, **options)])


def adapted(model, x, **options):
    guarded = a2d.guard(model, **options)
    guarded.adapt(x, verbose=0)
    return guarded


def by_cost(model, x, **options):
    return adapted(model, x, **{"attacks": [ATTACK], **options})


def predict(guarded, x):
    return guarded.predict(x, verbose=0)


@keras.saving.register_keras_serializable(package="tests")
class Nested(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = small()

    def call(self, x):
        return self.inner(x)


def lora(x):
    model = small()
    model.layers[0].enable_lora(2)
    model.layers[0].lora_kernel_b.assign(0.1 * keras.random.normal((2, 8), seed=1))
    return model


def quantized(x):
    model = small()
    model.quantize("int8")
    return model


def nested(x):
    inputs = keras.Input((4,))
    return keras.Model(inputs, small()(keras.Sequential([small(units=4)])(inputs)))


def subclassed(x):
    model = Nested()
    model(x)
    return model


def with_lambda(x):
    return small(keras.layers.Lambda(lambda t: 1 - t))


class TestSaving:
    @pytest.mark.slow
    @pytest.mark.parametrize("guard", EACH)
    @pytest.mark.parametrize(
        "build",
        [
            lora,
            *(
                pytest.param(build, marks=pytest.mark.slow)
                for build in (quantized, nested, subclassed, with_lambda)
            ),
        ],
    )
    def test_verdicts_are_the_same(self, build, guard, x, tmp_path):
        guarded = adapted(build(x), x, **GUARDS[guard])
        before = predict(guarded, x)
        guarded.save(tmp_path / "guarded.keras")
        loaded = keras.models.load_model(tmp_path / "guarded.keras", safe_mode=False)
        assert loaded.detector.up_to_date
        after = predict(loaded, x)
        assert after.keys() == before.keys()
        for name, values in before.items():
            if values.dtype == np.float32:
                np.testing.assert_allclose(after[name], values, rtol=1e-4, atol=1e-6)
            else:
                np.testing.assert_array_equal(after[name], values)


class Scaled(keras.Model):
    """Its `predict` takes pixels, and its `call` takes scaled pixels."""

    def __init__(self):
        super().__init__()
        self.inner = small()

    def call(self, x):
        return self.inner(x)

    def predict_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.inner(tf.cast(x, "float32") / 255)


class Tempered(keras.Model):
    """Its `predict` scales the outputs of its layers, hidden from any graph."""

    def __init__(self):
        super().__init__()
        self.inner = small()

    def call(self, x):
        return self.inner(x)

    def predict(self, x, **kwargs):
        return super().predict(x, **kwargs) ** 2


class TestPredict:
    @pytest.mark.slow
    def test_what_predict_computes_is_guarded(self, x):
        model = Scaled()
        model(x)
        guarded = by_cost(model, 255 * x, bounds=(0, 255))
        out = predict(guarded, 255 * x)
        np.testing.assert_allclose(out["predictions"], model.predict(255 * x, verbose=0), atol=1e-6)
        plain = by_cost(model.inner, x)
        np.testing.assert_array_equal(guarded.detector.thresholds, plain.detector.thresholds)

    def test_what_no_graph_computes_is_refused(self, x):
        model = Tempered()
        model(x)
        with pytest.raises(ValueError, match="`predict` of this classifier computes something"):
            a2d.guard(model)


def test_a_default_statistic_that_refuses_a_classifier_is_left_out(x):
    @tf.function
    def hidden(t):
        return t @ tf.reshape(tf.range(24.0) % 7 - 3, (8, 3))

    head = keras.layers.Lambda(hidden, output_shape=(3,))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), head])
    with pytest.raises(ValueError, match="shows no last hidden layer.* Received: "):
        a2d.guard(model, statistics=[a2d.FeatureDistance()])
    guarded = adapted(model, x)
    assert guarded.detector.statistics
    assert np.isfinite(predict(guarded, x)["statistics"]).all()


def broken_at_zero(units=3):
    """A classifier that divides by its first value: NaN where that is 0."""
    keras.utils.set_random_seed(0)
    divide = keras.layers.Lambda(lambda t: t / t[:, :1] - 0.5)
    return keras.Sequential([keras.Input((4,)), divide, keras.layers.Dense(units, "softmax")])


class TestNotFinite:
    @pytest.fixture(scope="class")
    def bad(self, x):
        bad = x.copy()
        bad[[3, 7], 0] = 0
        return bad

    def ways(self, guarded, x):
        yield lambda: predict(guarded, x)
        yield lambda: predict(guarded, tf.data.Dataset.from_tensor_slices(x).batch(16))
        yield lambda: guarded.predict_on_batch(x)
        yield lambda: guarded(x)

    @pytest.mark.parametrize("guard", EACH)
    def test_is_refused(self, x, bad, guard):
        guarded = adapted(broken_at_zero(), x, **GUARDS[guard])
        for run in self.ways(guarded, bad):
            with pytest.raises((ValueError, tf.errors.InvalidArgumentError)) as error:
                run()
            assert "gives no finite prediction" in str(error.value)
            assert "Received: 2 of" in str(error.value)

    @pytest.mark.parametrize("guard", EACH)
    def test_is_flagged(self, x, bad, guard):
        guarded = adapted(broken_at_zero(), x, on_invalid="flag", **GUARDS[guard])
        clean, others = predict(guarded, x), np.delete(np.arange(len(x)), [3, 7])
        for run in self.ways(guarded, bad):
            out = {name: np.asarray(values) for name, values in run().items()}
            assert out["is_adversarial"][[3, 7]].all()
            assert np.isnan(out["score"][[3, 7]]).all()
            none = {"cost": 0, "exact": False, "p_value": 0, "statistics": np.nan}
            for name in out.keys() & none.keys():
                np.testing.assert_array_equal(
                    out[name][[3, 7]], np.full_like(out[name][:2], none[name])
                )
            for name in out.keys() - {"predictions"}:
                np.testing.assert_allclose(out[name][others], clean[name][others], rtol=1e-4)

    @pytest.mark.parametrize("guard", EACH)
    @pytest.mark.parametrize("on_invalid", ["raise", "flag"])
    def test_nothing_is_learned_from_it(self, bad, on_invalid, guard):
        guarded = a2d.guard(broken_at_zero(), on_invalid=on_invalid, **GUARDS[guard])
        with pytest.raises(ValueError, match="nothing can be learned from .* Received: 2 of 40"):
            guarded.adapt(bad, verbose=0)
        assert not guarded.detector.is_adapted

    @pytest.mark.slow
    def test_an_infinite_gradient_does_no_harm(self, x):
        edge = np.where(np.arange(4) == 0, 0, x)  # where the square root is steepest
        for options in GUARDS.values():
            guarded = adapted(small(keras.layers.Lambda(keras.ops.sqrt)), edge, **options)
            out = predict(guarded, edge)
            assert np.isfinite(out["score"]).all()
            assert np.all(np.isfinite(out.get("statistics", out["cost"])))
            assert np.all(out["cost"] >= ("exact" in out))


def flat(**options):
    return small(keras.layers.Lambda(lambda t: keras.ops.sign(t - 0.5)), **options)


class TestNoGradient:
    @pytest.mark.parametrize("guard", EACH)
    def test_is_told(self, x, guard):
        guarded = a2d.guard(flat(), **GUARDS[guard])
        with pytest.warns(UserWarning, match="gradient is zero.*DBA.*on 16 of 16") as caught:
            guarded.adapt(x, verbose=0)
        told = [warning for warning in caught if "gradient" in str(warning.message)]
        assert [warning.filename for warning in told] == [__file__]

    @pytest.mark.slow
    @pytest.mark.filterwarnings("error:The classifier's gradient is zero")
    def test_labels_alone_need_none(self, x):
        dba = a2d.DBA(max_iterations=20, distance=0.05)
        assert by_cost(flat(), x, attacks=[dba]).detector.up_to_date


class AlwaysDropsOut(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense, self.drop = keras.layers.Dense(3), keras.layers.Dropout(0.3)

    def call(self, x):
        return self.dense(self.drop(x, training=True))


@pytest.mark.parametrize("guard", EACH)
def test_a_classifier_that_answers_at_random_is_told(x, guard):
    model = AlwaysDropsOut()
    model(x)
    guarded = a2d.guard(model, **GUARDS[guard])
    with pytest.warns(UserWarning, match="answers the same input differently.* Received: ") as told:
        guarded.adapt(x, verbose=0)
    (told,) = [warning for warning in told if "differently" in str(warning.message)]
    assert told.filename == __file__


class TestInputs:
    @pytest.mark.slow
    def test_whole_numbers(self, x):
        """The model casts its inputs to whole numbers, and rescales them."""
        inputs = keras.Input((4,), dtype="uint8")
        model = keras.Model(inputs, small()(keras.layers.Rescaling(1 / 255)(inputs)))
        pixels = (255 * x).astype("uint8")
        guarded, plain = by_cost(model, pixels, bounds=(0, 255)), by_cost(small(), pixels / 255)
        np.testing.assert_array_equal(guarded.detector.benign_costs, plain.detector.benign_costs)
        out = predict(guarded, pixels)
        np.testing.assert_allclose(out["predictions"], model.predict(pixels, verbose=0), atol=1e-6)
        np.testing.assert_array_equal(out["cost"], predict(plain, pixels / 255)["cost"])

    @pytest.mark.slow
    def test_whole_numbers_for_the_default(self, x):
        inputs = keras.Input((4,), dtype="uint8")
        model = keras.Model(inputs, small()(keras.layers.Rescaling(1 / 255)(inputs)))
        pixels = (255 * x).astype("uint8")
        guarded, plain = adapted(model, pixels, bounds=(0, 255)), adapted(small(), pixels / 255)
        out, expected = predict(guarded, pixels), predict(plain, pixels / 255)
        for name in ("predictions", "statistics", "p_value"):
            np.testing.assert_allclose(out[name], expected[name], rtol=1e-3, atol=1e-5)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "declared", ["dict", *(pytest.param(d, marks=pytest.mark.slow) for d in ("name", "list"))]
    )
    def test_named(self, declared, x):
        inputs = keras.Input((4,), name="features")
        shape = {"name": inputs, "dict": {"features": inputs}, "list": [inputs]}[declared]
        model = keras.Model(shape, small()(inputs))
        guarded = adapted(model, {"features": x})  # the default guard
        expected = predict(guarded, x)
        np.testing.assert_allclose(
            expected["predictions"],
            model.predict({"features": x}, verbose=0)
            if declared != "list"
            else model.predict([x], verbose=0),
            atol=1e-6,
        )
        named = tf.data.Dataset.from_tensor_slices({"features": x}).batch(16)
        for given in ({"features": x}, [x], named):
            out = predict(guarded, given)
            for name in expected:
                np.testing.assert_allclose(out[name], expected[name], rtol=1e-4, atol=1e-6)
        with pytest.raises(ValueError, match=r"\['features'\]. Received: \['other'\]"):
            predict(guarded, {"other": x})

    @pytest.mark.slow
    def test_a_range_for_each_feature(self, x):
        """Steps are fractions of each range: the same costs as for features scaled by hand."""
        low, high = np.array([18, 0, -1, 0.0]), np.array([90, 1e6, 1, 1])
        inputs = keras.Input((4,))
        scaled = keras.layers.Rescaling((1 / (high - low)).tolist(), (-low / (high - low)).tolist())
        model = keras.Model(inputs, small()(scaled(inputs)))
        rows = (low + x * (high - low)).astype("float32")
        guarded, plain = by_cost(model, rows, bounds=(low, high)), by_cost(small(), x)
        difference = predict(guarded, rows)["cost"] - predict(plain, x)["cost"]
        assert np.abs(difference).max() <= 1  # float32 rounds a million otherwise
        with pytest.raises(ValueError, match="within the bounds of each feature"):
            predict(guarded, rows + 1)
        guarded, plain = adapted(model, rows, bounds=(low, high)), adapted(small(), x)
        found, expected = (predict(*each)["statistics"] for each in ((guarded, rows), (plain, x)))
        np.testing.assert_allclose(found, expected, rtol=0.02, atol=1e-4)

    @pytest.mark.slow
    def test_ranges_are_saved(self, x, tmp_path):
        low, high = np.zeros(4), np.array([1, 2, 3, 4.0])
        guarded = by_cost(small(), x * high, bounds=(low, high))
        guarded.save(tmp_path / "guarded.keras")
        loaded = keras.models.load_model(tmp_path / "guarded.keras")
        guarded.export(tmp_path / "serving")
        exported = tf.saved_model.load(tmp_path / "serving")
        expected, rows = predict(guarded, x * high), (x * high).astype("float32")
        for out in (predict(loaded, rows), exported.serve(tf.constant(rows))):
            for name in OUTPUTS:
                np.testing.assert_array_equal(out[name], expected[name])

    @pytest.mark.slow
    def test_are_validated_once(self, x, monkeypatch):
        guarded, looked_at = adapted(small(), x), []
        validity = a2d.inputs.validity

        def counted(images, classifier):
            looked_at.append(len(images) if tf.executing_eagerly() else "graph")
            return validity(images, classifier)

        monkeypatch.setattr(a2d.inputs.values, "validity", counted)
        for run in (guarded.predict, guarded.predict_on_batch, guarded):
            looked_at.clear()
            run(x)
            assert looked_at == [40]
        looked_at.clear()
        dataset = tf.data.Dataset.from_tensor_slices(x).batch(16)
        guarded.predict(dataset, verbose=0)
        assert looked_at == ["graph"]  # once when it is traced, and so once a batch


class TestTwoClasses:
    """All noise falls into one class, so DBA has to start from inputs of the other."""

    ATTACK = a2d.DBA(max_iterations=200, distance=0.15)

    @pytest.fixture(scope="class")
    def images(self):
        """Half are in each class. Uniform noise is in class 0, since its mean is never so high."""
        images = np.random.default_rng(0).uniform(size=(40, 100)).astype("float32")
        images[::2] = 0.6 + 0.4 * images[::2]
        return images

    @pytest.fixture(scope="class")
    def guarded(self, images):
        model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(1, "sigmoid")])
        model.set_weights([np.full((100, 1), 2.0), np.array([-140.0])])  # class 1: a mean above 0.7
        assert ((model.predict(images, verbose=0) > 0.5)[:, 0] == (np.arange(40) % 2 == 0)).all()
        return by_cost(model, images, attacks=[self.ATTACK])

    @pytest.mark.slow
    def test_noise_alone_would_not_do(self, guarded, images):
        bare = self.ATTACK(guarded.detector.classifier, images)
        assert bare.success[::2].mean() > 0.8
        assert not bare.success[1::2].any()

    @pytest.mark.slow
    def test_starts_from_benign_inputs_of_the_other(self, guarded, images):
        (attack,) = guarded.detector.attacks
        assert attack.starts.shape == (16, 100)
        classes = guarded.detector.model.predict(attack.starts, verbose=0)[:, 0] > 0.5
        assert classes.sum() == 8
        assert set(map(bytes, attack.starts)) <= set(map(bytes, images))
        assert attack(guarded.detector.classifier, images).success[1::2].mean() > 0.9
        assert guarded.detector.thresholds[0] < 200

    @pytest.mark.slow
    def test_survives_saving(self, guarded, images, tmp_path):
        expected = predict(guarded, images)
        guarded.save(tmp_path / "guarded.keras")
        loaded = keras.models.load_model(tmp_path / "guarded.keras")
        np.testing.assert_array_equal(
            loaded.detector.attacks[0].starts, guarded.detector.attacks[0].starts
        )
        guarded.export(tmp_path / "serving")
        exported = tf.saved_model.load(tmp_path / "serving")
        for out in (predict(loaded, images), exported.serve(tf.constant(images))):
            for name in OUTPUTS:
                np.testing.assert_array_equal(out[name], expected[name])


class TestGraphs:
    """Two loop graphs for a guard by costs, however often it adapts."""

    @pytest.fixture
    def traced(self, monkeypatch):
        traced = []

        def noting(name, method):
            def noted(self, *args):
                traced.append(name)
                return method(self, *args)

            return noted

        for name in ("begin", "advance"):
            monkeypatch.setattr(SlotLoop, name, noting(name, getattr(SlotLoop, name)))
        return traced

    def test_are_reused(self, x, traced):
        classifier = a2d.Classifier(small())
        guarded = a2d.guard(classifier, rule="zscore")
        guarded.adapt(x, verbose=0)
        assert traced == ["begin", "advance"]  # of one loop
        traced.clear()
        guarded.adapt(x[:30], verbose=0)
        a2d.guard(classifier, rule="zscore").adapt(x, verbose=0)
        a2d.guard(classifier, attacks=[a2d.BIM(eps_iter=0.01, max_iterations=50)]).adapt(
            x, verbose=0
        )
        assert traced == []
