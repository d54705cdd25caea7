"""Damaged, foreign or dangerous files do not load, or give the same verdicts."""

import os
import zipfile

import keras
import numpy as np
import pytest

import a2d_keras as a2d
from a2d_keras import cli

pytestmark = pytest.mark.keras

SHAPE = (2, 3, 1)
ATTACKS = [a2d.BIM(eps_iter=1e-3, max_iterations=99), a2d.BIM2(eps_iter=1e-3, max_iterations=99)]


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
        except Exception:  # Keras raises errors of many kinds for files it did not save
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
