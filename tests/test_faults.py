"""Bad inputs and faults are refused or flagged, and leave nothing half done."""

import contextlib
import os
import resource
import signal
import tempfile
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import a2d_keras as a2d
from a2d_keras import cli, inputs
from a2d_keras.detection import rules as verdicts
from benchmarks.fresh import python

SHAPE = (2, 3, 1)
ATTACKS = [a2d.BIM(eps_iter=1e-3, max_iterations=99), a2d.BIM2(eps_iter=1e-3, max_iterations=99)]
PIXELS = r"bounds \(.*\), and these look like pixels from 0 to 255; scale .* Received: "
NOBODY = 65534

ENORMOUS = """
import keras, numpy as np, a2d_keras as a2d
from benchmarks.memory import peak
attacks = [a2d.BIM(eps_iter=0.01, max_iterations=2)]
layers = [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
model = keras.Sequential(layers)
guarded = a2d.guard(model, attacks=attacks)
costs = a2d.AttackCosts(model, attacks)
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


def small():
    keras.utils.set_random_seed(0)  # since module fixtures run before those of a test
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)]
    return keras.Sequential(layers)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).uniform(size=(60, *SHAPE)).astype("float32")


def adapted(x, **options):
    guarded = a2d.guard(small(), attacks=ATTACKS, **options)
    guarded.adapt(x, verbose=0)
    return guarded


@pytest.fixture(scope="module")
def guarded(x):
    return adapted(x)


def predict(guarded, x):
    return guarded.predict(x, verbose=0)


def assert_equal(left, right):
    assert set(left) == set(right)
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def batches(x):
    return tf.data.Dataset.from_tensor_slices(x).batch(16)


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
            (np.full((1, *SHAPE), 1e300), "Received: 6 values that are not finite.* of 1 inputs$"),
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
                seen.append(data[0].dtype if isinstance(data, tuple) else data.dtype)
                return data

        given = form(x.astype(dtype))
        keras_own = Notes().predict(given, batch_size=16, verbose=0)
        ours = Notes().predict(inputs.to_dataset(given, 16), verbose=0)
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
                tf.errors.InvalidArgumentError, match=r"alone or .* Received: \{'a'"
            ):
                run(batches({"a": x}), verbose=0)

    def test_one_and_none(self, guarded, x):
        alone, all_at_once = predict(guarded, x[:1]), predict(guarded, x)
        for name in ("is_adversarial", "score", "cost", "exact"):
            np.testing.assert_array_equal(alone[name], all_at_once[name][:1])
        assert_equal(predict(guarded, batches(x[:0])), predict(guarded, x[:0]))
        costs = a2d.AttackCosts(guarded.detector.model, ATTACKS)
        assert costs.transform(batches(x[:0])).shape == (0, 2)

    def test_counts_faults_over_all_parts(self, guarded, x, monkeypatch):
        monkeypatch.setattr(inputs, "_AT_ONCE", 12)  # two rows
        bad = x.copy()
        bad[3, 0, 0], bad[40, 0], bad[59] = np.nan, 7, -2
        message = "1 values that are not finite, 9 outside.* 3 of 60 inputs, from -2 to 7"
        for run in (guarded.predict, guarded.adapt):
            with pytest.raises(ValueError, match=message):
                run(bad, verbose=0)

    def test_100_000_inputs_take_less_than_a_gibibyte(self):
        assert python("-c", ENORMOUS) < 1024  # MiB


class TestPixels:
    """Numbers from 0 to 255 for a model that needs them scaled, the commonest mistake."""

    @pytest.fixture(scope="class", params=[(0, 1), (-1, 1)], ids=str)
    def in_bounds(self, x, request):
        return adapted(x, bounds=request.param)

    @pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
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

    def test_a_model_that_wants_them_gets_them(self, x):
        pixels = (255 * x).astype("uint8")
        guarded = adapted(pixels, bounds=(0, 255))
        assert predict(guarded, pixels)["is_adversarial"].mean() < 0.2


class TestParameters:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"slots": 0}, '`slots` must be a whole number, at least 1, or "auto". Received: 0'),
            ({"slots": 1.5}, "`slots` must be .* Received: 1.5"),
            ({"false_positive_rate": "a"}, "between 0 and 1. Received: a"),
            ({"false_positive_rate": np.nan}, "between 0 and 1. Received: nan"),
            ({"detector": []}, r"`detector` must be .* Received: \[\]"),
            ({"attacks": a2d.BIM()}, "`attacks` must hold .* Received: BIM"),
            ({"bounds": (1e10, 1e10 + 1)}, "two increasing finite numbers. Received: "),
            ({"bounds": (-3e38, 3e38)}, "two increasing finite numbers. Received: "),
            ({"model": None}, "must be a `keras.Model` of Keras 3. Received: "),
        ],
        ids=str,
    )
    def test_of_a_guarded_model(self, options, message):
        with pytest.raises(ValueError, match=message):
            a2d.guard(**{"model": small(), **options})

    def test_attacks_from_an_iterator_are_kept(self):
        assert a2d.guard(small(), attacks=iter(ATTACKS)).detector.attacks == tuple(ATTACKS)

    @pytest.mark.parametrize("name", ["slots", "budget"])
    @pytest.mark.parametrize("value", [0, -1, 1.5, "a"])
    def test_of_a_call(self, guarded, x, name, value):
        with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {value}"):
            ATTACKS[0](guarded.detector.classifier, x, **{name: value})

    @pytest.mark.parametrize("size", [0, -1, 1.5])
    def test_of_predict(self, guarded, x, size):
        with pytest.raises(ValueError, match=f"`batch_size` must be .* Received: {size}"):
            guarded.predict(x, batch_size=size, verbose=0)

    @given(st.one_of(st.floats(), st.integers(), st.text(max_size=2), st.none()))
    @settings(max_examples=40, deadline=None)
    def test_of_attacks(self, value):
        number = isinstance(value, (int, float))
        if number and float(np.finfo("float32").tiny) <= value < np.inf:
            assert a2d.BIM(eps=value).eps == value
        else:
            with pytest.raises(ValueError, match="`eps` must be a positive number, .* Received: "):
                a2d.BIM(eps=value)

    @given(st.tuples(st.floats(), st.floats()))
    @settings(max_examples=40, deadline=None)
    def test_bounds(self, guarded, bounds):
        low, high = bounds
        most = float(np.finfo("float32").max)
        if (
            -most <= low < high <= most
            and high - low <= most
            and np.float32(low) < np.float32(high)
        ):
            assert a2d.Classifier(guarded.detector.model, bounds).bounds == bounds
        else:
            with pytest.raises(ValueError, match="two increasing finite numbers. Received: "):
                a2d.Classifier(guarded.detector.model, bounds)


class TestInterruptions:
    """If `adapt` is interrupted, the layer stays as it was, adapted or not."""

    @pytest.fixture(params=[False, True], ids=["new", "adapted"])
    def some(self, x, request):
        return adapted(x) if request.param else a2d.guard(small(), attacks=ATTACKS)

    @contextlib.contextmanager
    def unchanged(self, guarded, error):
        before = guarded.get_weights()
        with pytest.raises(error):
            yield
        for old, new in zip(before, guarded.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)

    def test_ctrl_c(self, some, x):
        def interrupted():
            yield 0.5 * x[:30]
            os.kill(os.getpid(), signal.SIGINT)
            yield 0.5 * x[30:]

        spec = tf.TensorSpec((None, *SHAPE), tf.float32)
        dataset = tf.data.Dataset.from_generator(interrupted, output_signature=spec)
        kept = signal.signal(signal.SIGINT, signal.default_int_handler)  # xdist's workers ignore it
        try:
            with self.unchanged(some, KeyboardInterrupt):
                some.adapt(dataset, verbose=0)
        finally:
            signal.signal(signal.SIGINT, kept)

    @pytest.mark.parametrize("method", ["learn", "_learn"])
    def test_between_what_is_learned(self, some, x, monkeypatch, method):
        learn = getattr(verdicts.ZScoreVerdict, method)

        def interrupted(self, *costs):
            learn(self, *costs)
            raise KeyboardInterrupt

        monkeypatch.setattr(verdicts.ZScoreVerdict, method, interrupted)
        with self.unchanged(some, KeyboardInterrupt):
            some.adapt(0.5 * x, verbose=0)

    def test_a_bad_batch(self, some, x):
        bad = np.concatenate([0.5 * x, np.full((1, *SHAPE), np.nan)])
        with self.unchanged(some, ValueError):
            some.adapt(bad, verbose=0)
        with self.unchanged(some, tf.errors.InvalidArgumentError):
            some.adapt(batches(bad), verbose=0)


@contextlib.contextmanager
def largest_file(size):
    """Limit the size of a file, like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def read_only():
    """A folder with an old model that the user may not write to."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "guarded.keras")
        with open(path, "w") as file:
            file.write("old")
        os.chmod(folder, 0o555)
        root = os.getuid() == 0
        try:
            if root:  # may write everywhere
                os.setresuid(NOBODY, NOBODY, 0)
        except OSError:
            pytest.skip("this machine lets root be nobody else")
        try:
            yield path
        finally:
            if root:
                os.setresuid(0, 0, 0)
            os.chmod(folder, 0o755)


class TestSaving:
    def test_replaces(self, guarded, x, tmp_path):
        path = tmp_path / "guarded.keras"
        for _ in range(2):
            guarded.save(path)
        assert os.listdir(tmp_path) == ["guarded.keras"]
        assert_equal(predict(keras.models.load_model(path), x), predict(guarded, x))

    def test_a_full_disk_keeps_the_old_file(self, guarded, tmp_path):
        path = tmp_path / "guarded.keras"
        path.write_bytes(b"old")
        with pytest.raises(OSError, match="too large"), largest_file(8192):
            guarded.save(path)
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["guarded.keras"]

    def test_a_read_only_folder_keeps_the_old_file(self, guarded, read_only):
        with pytest.raises(ValueError, match="folder that can be written to. Received: "):
            guarded.save(read_only)
        with open(read_only) as file:
            assert file.read() == "old"
        assert os.listdir(os.path.dirname(read_only)) == ["guarded.keras"]

    def test_no_other_suffix_leaves_a_file(self, guarded, tmp_path):
        with pytest.raises(ValueError, match="Invalid filepath extension"):
            guarded.save(tmp_path / "guarded.pb")
        assert os.listdir(tmp_path) == []


@pytest.fixture(scope="module")
def saved(guarded, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "guarded.keras"
    guarded.save(path)
    guarded.save_weights(path.with_name("guarded.weights.h5"))
    return path


def command_refuses(path, folder, capsys):
    np.save(folder / "x.npy", np.zeros((1, *SHAPE)))
    status = cli.main(["detect", str(path), str(folder / "x.npy"), "-o", str(folder / "v.csv")])
    (line,) = [li for li in capsys.readouterr().err.splitlines() if li.startswith("a2d-keras: ")]
    assert "cannot load this model" in line
    assert f"Received: {path}: " in line
    assert (status, (folder / "v.csv").exists()) == (2, False)


class TestBrokenFiles:
    @pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.6, 0.9, 0.999])
    def test_truncated(self, saved, tmp_path, capsys, share):
        contents, path = saved.read_bytes(), tmp_path / "broken.keras"
        path.write_bytes(contents[: int(share * len(contents))])
        command_refuses(path, tmp_path, capsys)

    @pytest.mark.parametrize("seed", range(8))
    def test_one_bit_changed(self, saved, guarded, x, tmp_path, seed):
        """A damaged file does not load, or has equal verdicts if the bit does not matter."""
        contents, random = bytearray(saved.read_bytes()), np.random.default_rng(seed)
        contents[random.integers(len(contents))] ^= 1 << int(random.integers(8))
        path = tmp_path / "broken.keras"
        path.write_bytes(contents)
        try:
            loaded = keras.models.load_model(path)
        except Exception:  # Keras fails in many ways on what it did not save
            return
        assert_equal(predict(loaded, x), predict(guarded, x))

    def test_foreign(self, tmp_path, capsys):
        np.savez(tmp_path / "arrays.npz", x=np.zeros(3))
        with zipfile.ZipFile(tmp_path / "empty.keras", "w"):
            pass
        os.rename(tmp_path / "arrays.npz", tmp_path / "arrays.keras")
        for name in ("empty.keras", "arrays.keras"):
            command_refuses(tmp_path / name, tmp_path, capsys)

    @pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.9])
    def test_truncated_weights(self, saved, x, tmp_path, share):
        contents = saved.with_name("guarded.weights.h5").read_bytes()
        path = tmp_path / "broken.weights.h5"
        path.write_bytes(contents[: int(share * len(contents))])
        other = a2d.guard(small(), attacks=ATTACKS)
        with pytest.raises(OSError, match="file"):
            other.load_weights(path)
        with pytest.raises(ValueError, match="call `adapt`"):
            predict(other, x)

    def test_weights_of_a_classifier_alone(self, x, tmp_path):
        path = tmp_path / "plain.weights.h5"
        small().save_weights(path)
        other = a2d.guard(small(), attacks=ATTACKS)
        with pytest.raises(ValueError, match="could not be loaded"):
            other.load_weights(path)
        with pytest.raises(ValueError, match="call `adapt`"):
            predict(other, x)

    def test_code_is_not_run(self, x, tmp_path, capsys):
        """A Lambda is marshalled code, which Keras loads only on request."""
        inputs = keras.Input(SHAPE)
        flat = keras.layers.Flatten()(keras.layers.Lambda(lambda t: 1 - t)(inputs))
        guarded = a2d.guard(keras.Model(inputs, keras.layers.Dense(3)(flat)), attacks=ATTACKS)
        guarded.adapt(x, verbose=0)
        path = tmp_path / "guarded.keras"
        guarded.save(path)
        with pytest.raises(Exception, match="safe_mode"):
            keras.models.load_model(path)
        command_refuses(path, tmp_path, capsys)
        trusted = keras.models.load_model(path, safe_mode=False)
        assert_equal(predict(trusted, x), predict(guarded, x))
