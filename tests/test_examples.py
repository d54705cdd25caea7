"""The short examples, run as a user would."""

import re

import keras
import numpy as np
import pytest

import a2d_keras  # noqa: F401 (a guarded model is loaded)
from examples import guard_mobilenet, guard_your_model, watch_robustness

pytestmark = pytest.mark.checkout


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _share(name, printed):
    return float(re.search(rf"{name} \w+ flagged: ([\d.]+)%", printed)[1]) / 100


@pytest.mark.slow
def test_guard_your_model(capsys):
    guard_your_model.main()
    printed = capsys.readouterr().out
    assert _share("benign", printed) < 0.12
    assert _share("adversarial", printed) > 3 * _share("benign", printed)
    guarded = keras.models.load_model("guarded.keras")
    assert guarded.detector.up_to_date


def _guard_photographs(folder, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 32, 32, 3))
    for index, image in enumerate(pixels):
        keras.utils.save_img(folder / f"{index:02}.png", image, scale=False)
    words = ["--weights", "random", "--alpha", "0.25", "--size", "32", "--out", "guarded.keras"]
    guard_mobilenet.main([str(folder), *words])
    printed = capsys.readouterr().out
    assert "adapted on 40 photographs; written to guarded.keras" in printed
    assert "The weights are random" in printed
    assert 0 <= _share("adversarial", printed) <= 1
    assert (folder / "guarded.keras").is_file()


@pytest.mark.slow
def test_guard_mobilenet_with_a_small_classifier(tmp_path, capsys, monkeypatch):
    """Quick: read a folder; guard a model in the place of MobileNet, and judge."""
    small = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(4, 8, 8, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )
    monkeypatch.setattr(guard_mobilenet, "mobilenet", lambda weights, alpha, size: small)
    _guard_photographs(tmp_path, capsys)


@pytest.mark.slow
def test_guard_mobilenet_with_random_weights_and_tiny_images(tmp_path, capsys):
    """Random weights need no download. The verdicts mean nothing."""
    _guard_photographs(tmp_path, capsys)


def test_guard_mobilenet_takes_weights_from_a_file(tmp_path):
    model = keras.applications.MobileNet((32, 32, 3), 0.25, weights=None)
    model.save_weights(tmp_path / "mobilenet.weights.h5")
    loaded = guard_mobilenet.mobilenet(str(tmp_path / "mobilenet.weights.h5"), 0.25, 32)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_watch_robustness(capsys, tmp_path):
    watch_robustness.main(["--epochs", "3", "--log-dir", "logs"])
    header, *epochs = capsys.readouterr().out.strip().split("\n")
    assert header.startswith("epoch  accuracy  attack cost")
    costs = [float(line.split()[2]) for line in epochs]
    assert len(costs) == 3
    assert min(costs) >= 1
    assert [line.endswith("kept") for line in epochs].index(True) == np.argmax(costs)
    logged = next((tmp_path / "logs" / "validation").glob("events.*")).read_bytes()
    assert b"epoch_attack_cost" in logged
