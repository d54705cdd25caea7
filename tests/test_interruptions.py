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
from tests import tiny
from tests.tiny import SHAPE, X, assert_equal, batches, predict

NOBODY = 65534


@pytest.fixture(scope="module")
def guarded():
    return tiny.shared("statistics")


class TestInterruptions:
    """If `adapt` is interrupted, the layer stays as it was, adapted or not."""

    @pytest.fixture(
        params=[
            pytest.param(
                (kind, done),
                id=f"{kind}-{'adapted' if done else 'new'}",
                marks=[pytest.mark.slow] if kind == "costs" else [],
            )
            for kind in tiny.GUARDS
            for done in (False, True)
        ],
    )
    def some(self, request):
        kind, done = request.param
        some = a2d.guard(tiny.classifier(), **tiny.GUARDS[kind])
        if done:
            some.set_weights(tiny.shared(kind).get_weights())
        return some

    @contextlib.contextmanager
    def unchanged(self, guarded, error):
        before = guarded.get_weights()
        with pytest.raises(error):
            yield
        for old, new in zip(before, guarded.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)

    def test_ctrl_c(self, some):
        def interrupted():
            yield 0.5 * X[:30]
            os.kill(os.getpid(), signal.SIGINT)
            yield 0.5 * X[30:]

        spec = tf.TensorSpec((None, *SHAPE), tf.float32)
        dataset = tf.data.Dataset.from_generator(interrupted, output_signature=spec)
        kept = signal.signal(signal.SIGINT, signal.default_int_handler)  # xdist's workers ignore it
        try:
            with self.unchanged(some, KeyboardInterrupt):
                some.adapt(dataset, verbose=0)
        finally:
            signal.signal(signal.SIGINT, kept)

    def test_between_what_is_learned(self, some):
        rule = type(some.detector.rule)

        def interrupted(method):
            learn = getattr(rule, method)

            def run(self, *values):
                learn(self, *values)
                raise KeyboardInterrupt

            return run

        for method in {"learn", "_learn"} & set(dir(rule)):  # rules of costs learn in two steps
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(rule, method, interrupted(method))
                with self.unchanged(some, KeyboardInterrupt):
                    some.adapt(0.5 * X, verbose=0)

    def test_a_bad_batch(self, some):
        bad = np.concatenate([0.5 * X, np.full((1, *SHAPE), np.nan)])
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
    @pytest.mark.slow
    def test_replaces(self, guarded, tmp_path):
        path = tmp_path / "guarded.keras"
        for _ in range(2):
            guarded.save(path)
        assert os.listdir(tmp_path) == ["guarded.keras"]
        assert_equal(predict(keras.models.load_model(path), X), predict(guarded, X))

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
