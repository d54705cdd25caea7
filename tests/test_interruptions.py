"""Neither `adapt` nor a file is left half done."""

import contextlib
import os
import resource
import signal
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d

SHAPE = (2, 3, 1)
ATTACKS = [a2d.BIM(eps_iter=1e-3, max_iterations=99), a2d.BIM2(eps_iter=1e-3, max_iterations=99)]
NOBODY = 65534


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
        learn = getattr(a2d.ZScore, method)

        def interrupted(self, *costs):
            learn(self, *costs)
            raise KeyboardInterrupt

        monkeypatch.setattr(a2d.ZScore, method, interrupted)
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
