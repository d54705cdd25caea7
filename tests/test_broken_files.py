"""Damaged, foreign or dangerous files do not load, or give the same verdicts."""

import os
import zipfile

import keras
import numpy as np
import pytest

import a2d_keras as a2d
from a2d_keras import cli
from tests import tiny
from tests.tiny import X, assert_equal, predict

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module", params=tiny.EACH)
def guarded(request):
    return tiny.shared(request.param)


@pytest.fixture(scope="module")
def saved(guarded, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "guarded.keras"
    guarded.save(path)
    guarded.save_weights(path.with_name("guarded.weights.h5"))
    return path


def command_refuses(path, folder, capsys):
    np.save(folder / "x.npy", X[:1])
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
    def test_one_bit_changed(self, saved, guarded, tmp_path, seed):
        """A damaged file does not load, or has equal verdicts if the bit does not matter."""
        contents, random = bytearray(saved.read_bytes()), np.random.default_rng(seed)
        contents[random.integers(len(contents))] ^= 1 << int(random.integers(8))
        path = tmp_path / "broken.keras"
        path.write_bytes(contents)
        try:
            loaded = keras.models.load_model(path)
        except Exception:  # Keras raises errors of many kinds for files it did not save
            return
        assert_equal(predict(loaded, X), predict(guarded, X))

    def test_foreign(self, tmp_path, capsys):
        np.savez(tmp_path / "arrays.npz", x=np.zeros(3))
        with zipfile.ZipFile(tmp_path / "empty.keras", "w"):
            pass
        os.rename(tmp_path / "arrays.npz", tmp_path / "arrays.keras")
        for name in ("empty.keras", "arrays.keras"):
            command_refuses(tmp_path / name, tmp_path, capsys)

    @pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.9])
    def test_truncated_weights(self, saved, guarded, tmp_path, share):
        contents = saved.with_name("guarded.weights.h5").read_bytes()
        path = tmp_path / "broken.weights.h5"
        path.write_bytes(contents[: int(share * len(contents))])
        other = a2d.guard(tiny.classifier(), statistics=guarded.detector.statistics)
        with pytest.raises(OSError, match="file"):
            other.load_weights(path)
        with pytest.raises(ValueError, match="call `adapt`"):
            predict(other, X)

    def test_weights_of_a_classifier_alone(self, tmp_path):
        path = tmp_path / "plain.weights.h5"
        tiny.classifier().save_weights(path)
        other = a2d.guard(tiny.classifier())
        with pytest.raises(ValueError, match="could not be loaded"):
            other.load_weights(path)
        with pytest.raises(ValueError, match="call `adapt`"):
            predict(other, X)

    def test_code_is_not_run(self, tmp_path, capsys):
        """A Lambda is marshalled code, which Keras loads only on request."""
        inputs = keras.Input(tiny.SHAPE)
        flat = keras.layers.Flatten()(keras.layers.Lambda(lambda t: 1 - t)(inputs))
        guarded = a2d.guard(keras.Model(inputs, keras.layers.Dense(3)(flat)))
        guarded.adapt(X, verbose=0)
        path = tmp_path / "guarded.keras"
        guarded.save(path)
        with pytest.raises(Exception, match="safe_mode"):
            keras.models.load_model(path)
        command_refuses(path, tmp_path, capsys)
        trusted = keras.models.load_model(path, safe_mode=False)
        assert_equal(predict(trusted, X), predict(guarded, X))
