"""Invalid inputs are refused; valid inputs are judged, in any memory layout."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from a2d_keras import inputs
from benchmarks.fresh import python
from tests import tiny
from tests.tiny import ATTACKS, SHAPE, assert_equal, batches, predict

PIXELS = r"bounds \(.*\), and these look like pixels from 0 to 255; scale .* Received: "

ENORMOUS = """
import keras, numpy as np, a2d_keras as a2d
from benchmarks.memory import peak
attacks = [a2d.BIM(eps_iter=0.01, max_iterations=2)]
layers = [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
model = keras.Sequential(layers)
guarded = a2d.guard(model, attacks=attacks)
costs = a2d.AttackCosts(model, attacks=attacks)
some = np.random.default_rng(0).random((100, 28, 28, 1), "float32")
guarded.adapt(some, verbose=0)
guarded.predict(some, verbose=0)
costs.transform(some)
x = np.tile(some, (1000, 1, 1, 1))
before = peak()
out = guarded.predict(x, verbose=0)
assert len(out["cost"]) == len(costs.transform(x)) == 100_000
print(peak() - before)
"""


@pytest.fixture(scope="module")
def x():
    return tiny.X


@pytest.fixture(scope="module", params=tiny.EACH)
def guarded(request):
    return tiny.shared(request.param)


class TestInputs:
    @pytest.mark.parametrize(
        "form",
        [
            lambda x: np.repeat(x, 2, axis=0)[::2],
            lambda x: x[::-1][::-1],
            np.asfortranarray,
            lambda x: x.astype(">f4"),
            lambda x: x.astype("float64"),
            lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),  # read-only
            lambda x: x.tolist(),
            tf.Variable,
            keras.Variable,
        ],
        ids=["strided", "reversed", "order", "bytes", "64", "read-only", "list", "tf", "keras"],
    )
    def test_memory_of_every_kind(self, guarded, x, form):
        assert_equal(predict(guarded, form(x)), predict(guarded, x))

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ([[1, 2], [3]], "in one array, all of the same shape. Received: list"),
            (([[1, 2]], [3]), "in one array, all of the same shape. Received: tuple"),
            (None, "real numbers. Received: object"),
            (np.array([[{}]]), "real numbers. Received: object"),
            (np.zeros((1, *SHAPE), "datetime64[s]"), "real numbers. Received: datetime64"),
            (np.zeros((1, *SHAPE), [("a", "f4")]), r"real numbers. Received: \[\('a', '<f4'\)\]"),
            (np.zeros((1, *SHAPE), "longdouble"), "real numbers. Received: "),
            (np.zeros((1, *SHAPE), complex), "real numbers. Received: complex128"),
            (np.zeros((2, 2, 3)), r"shape \(None, 2, 3, 1\). Received: \(2, 2, 3\)"),
            (np.zeros((2, 2, 3, 3)), r"shape \(None, 2, 3, 1\). Received: \(2, 2, 3, 3\)"),
            (np.zeros((0, 6)), r"shape \(None, 2, 3, 1\). Received: \(0, 6\)"),
            (np.float32(1), r"shape \(None, 2, 3, 1\). Received: \(\)"),
            (
                np.full((60, *SHAPE), 1e300),
                "Received: 360 values that are not finite.* of 60 inputs$",
            ),
        ],
    )
    def test_what_is_no_array_of_inputs(self, guarded, bad, message):
        with pytest.raises(ValueError, match=message):
            predict(guarded, bad)
        with pytest.raises(ValueError, match=message):
            ATTACKS[0](guarded.detector.classifier, bad)
        with pytest.raises(ValueError, match=message):
            guarded.adapt(bad, verbose=0)

    @pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "int64", "bool"])
    @pytest.mark.parametrize("form", [np.asarray, tf.convert_to_tensor])
    def test_models_get_the_dtype_that_keras_would_give_them(self, x, dtype, form):
        seen = []

        class Notes(keras.Model):
            def predict_step(self, data):
                x = data[0] if isinstance(data, tuple) else data
                seen.append(x.dtype)
                return x

        given = form(x.astype(dtype))
        keras_own = Notes().predict(given, batch_size=16, verbose=0)
        checked = inputs.Checked(given, tf.zeros(len(x), tf.bool))
        ours = Notes().predict(inputs.to_dataset(checked, 16), verbose=0)
        np.testing.assert_array_equal(keras_own, ours)
        assert len(set(seen)) == 1

    def test_keras_does_not_wait_for_autotuning(self, guarded, x, monkeypatch):
        given = []

        def predict_noting(model, x, *args, **kwargs):
            given.append(x)
            return keras_predict(model, x, *args, **kwargs)

        keras_predict = keras.Model.predict
        monkeypatch.setattr(keras.Model, "predict", predict_noting)
        predict(guarded, x)
        assert given[0].options().autotune.enabled is False

    def test_datasets_of_no_batches_of_inputs(self, guarded, x):
        for run in (guarded.predict, guarded.adapt):
            with pytest.raises(
                tf.errors.InvalidArgumentError, match=r"or in a dict under.* Received: \{'a'"
            ):
                run(batches({"a": x}), verbose=0)

    def test_one_and_none(self, guarded, x):
        alone, all_at_once = predict(guarded, x[:1]), predict(guarded, x)
        for name in set(alone) - {"predictions"}:
            np.testing.assert_allclose(alone[name], all_at_once[name][:1], rtol=1e-4)
        assert_equal(predict(guarded, batches(x[:0])), predict(guarded, x[:0]))
        costs = a2d.AttackCosts(guarded.detector.classifier, attacks=ATTACKS)
        assert costs.transform(batches(x[:0])).shape == (0, 2)

    def test_counts_faults_over_all_parts(self, guarded, x, monkeypatch):
        monkeypatch.setattr(inputs, "_AT_ONCE", 12)  # two rows
        bad = x.copy()
        bad[3, 0, 0], bad[40, 0], bad[59] = np.nan, 7, -2
        message = "1 values that are not finite, 9 outside.* 3 of 60 inputs, from -2 to 7"
        for run in (guarded.predict, guarded.adapt):
            with pytest.raises(ValueError, match=message):
                run(bad, verbose=0)

    @pytest.mark.slow
    def test_100_000_inputs_take_less_than_a_gibibyte(self):
        assert python("-c", ENORMOUS) < 1024  # MiB


class TestPixels:
    """Numbers from 0 to 255 for a model that needs them scaled, the commonest mistake."""

    @pytest.fixture(scope="class", params=[(0, 1), (-1, 1)], ids=str)
    def in_bounds(self, request):
        return tiny.adapted("statistics", bounds=request.param)

    @pytest.mark.parametrize(
        "dtype", ["uint8", *(pytest.param(d, marks=pytest.mark.slow) for d in ("int64", "float32"))]
    )
    def test_are_named(self, in_bounds, x, dtype):
        guarded, pixels = in_bounds, (255 * x).astype(dtype)
        with pytest.raises(ValueError, match=PIXELS):
            predict(guarded, pixels)
        with pytest.raises(tf.errors.InvalidArgumentError, match=PIXELS):
            predict(guarded, batches(pixels))
        with pytest.raises(ValueError, match=PIXELS):
            guarded.adapt(pixels, verbose=0)
        with pytest.raises(ValueError, match=PIXELS):
            guarded(pixels)

    @pytest.mark.parametrize("factor", [2, 16, -255, 1000])
    def test_nothing_else_is_taken_for_them(self, guarded, x, factor):
        with pytest.raises(ValueError, match=r"the bounds \(0.0, 1.0\); scale them .* Received: "):
            predict(guarded, factor * x)

    @pytest.mark.slow
    def test_a_model_that_wants_them_gets_them(self, x):
        pixels = (255 * x).astype("uint8")
        guarded = tiny.adapted("statistics", pixels, bounds=(0, 255))
        assert predict(guarded, pixels)["is_adversarial"].mean() < 0.2
