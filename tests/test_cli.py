import configparser
import csv
import importlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from a2d_keras import cli
from a2d_keras.cli import commands

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def quantised(benign, adversarial):
    """Benign and adversarial digits, as images hold them."""
    return [np.round(255 * x[:20]).astype("uint8") for x in (benign, adversarial)]


@pytest.fixture(scope="module")
def guarded(model, held_out):
    guarded = a2d.guard(model)
    guarded.adapt(held_out[:100], verbose=0)
    return guarded


@pytest.fixture(scope="module")
def folder(model, guarded, held_out, quantised, tmp_path_factory):
    """A folder with a classifier, a guarded one, and images."""
    folder = tmp_path_factory.mktemp("cli")
    model.save(folder / "model.keras")
    np.savez(folder / "benign.npz", x=held_out[:100])
    for name, pixels in zip(("benign", "adversarial"), quantised, strict=True):
        (folder / "images" / name).mkdir(parents=True)
        for index, image in enumerate(pixels):
            path = folder / "images" / name / f"{index:02}.png"
            path.write_bytes(tf.io.encode_png(image).numpy())
    guarded.save(folder / "guarded.keras")
    return folder


@pytest.fixture
def run(folder, capsys, monkeypatch):
    """Runs a command in the folder; gives its status, and what it printed to both streams."""
    monkeypatch.chdir(folder)

    def run(*words):
        status = cli.main([str(word) for word in words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


class TestAdapt:
    def test_equals_the_library(self, run, folder, guarded):
        out = folder / "again.keras"
        status, printed, _ = run("adapt", "model.keras", "benign.npz", "-o", out, "--json")
        summary, again = json.loads(printed), keras.models.load_model(out)
        assert status == 0
        for left, right in zip(again.get_weights(), guarded.get_weights(), strict=True):
            np.testing.assert_array_equal(left, right)
        assert summary["benign_inputs"] == 100
        assert summary["thresholds"] == {"bim_0": int(guarded.detector.thresholds[0])}
        assert summary["max_queries_per_input"] == guarded.max_queries_per_input

    def test_keeps_every_choice(self, run, folder, digits, quantised):
        np.save(folder / "wide.npy", 16 * digits.x_test[:40])
        np.save(folder / "bad.npy", quantised[1])
        inputs = keras.Input((8, 8, 1))
        wide = keras.models.load_model(folder / "model.keras")(
            keras.layers.Rescaling(1 / 16)(inputs)
        )
        keras.Model(inputs, wide).save(folder / "wide.keras")
        status, printed, _ = run(
            *("adapt", "wide.keras", "wide.npy", "-o", "choices.keras", "--bounds", 0, 16),
            *("--attack", "BIM2", "--attack", "JSMA", "--false-positive-rate", 0.1, "--exact"),
            *("--on-invalid", "flag", "--adversarial", "bad.npy"),
        )
        assert status == 0
        assert printed.startswith("Adapted on 40 benign inputs: ")
        detector = keras.models.load_model(folder / "choices.keras").detector
        assert detector.classifier.bounds == (0, 16)
        assert detector.attacks == (a2d.BIM2(), a2d.JSMA())
        assert (detector.detector, detector.false_positive_rate) == ("knn", 0.1)
        assert (detector.exact, detector.on_invalid) == (True, "flag")


class TestDetect:
    def test_equals_the_library(self, run, folder, guarded, quantised):
        status, printed, error = run("detect", "guarded.keras", "images", "-o", "verdicts.csv")
        rows = table(folder / "verdicts.csv")
        names = [f"{kind}/{i:02}.png" for kind in ("adversarial", "benign") for i in range(20)]
        assert [row["input"] for row in rows] == names
        x = np.concatenate(quantised[::-1]).astype("float32") / 255
        out = guarded.predict(x, verbose=0)
        for column in ("is_adversarial", "exact"):
            assert [row[column] for row in rows] == [str(value) for value in out[column]]
        assert [int(row["cost_bim_0"]) for row in rows] == out["cost"][:, 0].tolist()
        assert [int(row["prediction"]) for row in rows] == out["predictions"].argmax(-1).tolist()
        scores = np.array([row["score"] for row in rows], "float32")
        np.testing.assert_array_equal(scores, out["score"])
        flagged = out["is_adversarial"].sum()
        assert (
            printed == f"{flagged} of 40 inputs flagged as adversarial. Written to verdicts.csv.\n"
        )
        assert status == 3
        assert "40/40" not in error  # no terminal, no progress

    def test_none_flagged(self, run, folder, guarded, quantised):
        calm = guarded.predict(quantised[0] / 255, verbose=0)["is_adversarial"] == 0
        np.save(folder / "calm.npy", quantised[0][calm])
        status, printed, _ = run("detect", "guarded.keras", "calm.npy", "-o", "v.csv", "--json")
        summary = json.loads(printed)
        assert status == 0
        assert (summary["inputs"], summary["flagged"]) == (calm.sum(), 0)

    def test_inputs_that_are_not_finite_have_no_prediction(self, run, folder, model, held_out):
        guarded = a2d.guard(model, on_invalid="flag")
        guarded.adapt(held_out[:40], verbose=0)
        guarded.save(folder / "flagging.keras")
        x = held_out[:2].copy()
        x[1, 0, 0, 0] = np.nan
        np.save(folder / "nan.npy", x)
        status, _, _ = run("detect", "flagging.keras", "nan.npy", "-o", "nan.csv")
        _, row = table(folder / "nan.csv")
        assert status == 3
        assert (row["prediction"], row["is_adversarial"], row["score"]) == ("", "True", "nan")


class TestCost:
    @pytest.mark.parametrize("name", ["model.keras", "guarded.keras"])
    def test_equals_the_library(self, run, folder, model, name, quantised, monkeypatch):
        monkeypatch.setattr(commands, "_BATCH", 7)
        status, printed, _ = run("cost", name, "images/benign", "-o", "costs.csv", "--json")
        rows, x = table(folder / "costs.csv"), quantised[0] / 255
        (result,) = a2d.AttackCosts(model).attack(x)
        assert status == 0
        assert [int(row["cost_bim_0"]) for row in rows] == result.cost.tolist()
        assert [row["success_bim_0"] for row in rows] == [str(value) for value in result.success]
        assert json.loads(printed)["median_cost"] == {"bim_0": np.median(result.cost)}

    def test_chosen_attacks(self, run, folder):
        words = ("--attack", "DeepFool", "--attack", "BIM2")
        status, _, _ = run("cost", "guarded.keras", "images/adversarial", "-o", "costs.csv", *words)
        names = ["cost_deepfool_0", "success_deepfool_0", "cost_bim2_1", "success_bim2_1"]
        assert status == 0
        assert list(table(folder / "costs.csv")[0]) == ["input", "prediction", *names]


class TestExplain:
    def test_adversarial(self, run, folder, guarded):
        image = "images/adversarial/03.png"
        status, printed, _ = run("explain", "guarded.keras", image, "-o", "why.png", "--json")
        summary = json.loads(printed)
        assert status == 3
        assert summary["is_adversarial"]
        assert 1 <= summary["cost"]["bim_0"] < guarded.detector.thresholds[0]
        picture = tf.io.decode_png((folder / "why.png").read_bytes()).numpy()
        assert picture.shape[1] > 1000
        assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 50

    def test_says_it_in_words(self, run, folder, guarded, quantised):
        """As SVG with text, so that what it says can be read."""
        pytest.importorskip("matplotlib").rcParams["svg.fonttype"] = "none"
        out = guarded.predict(quantised[0] / 255, verbose=0)
        calm = int(out["is_adversarial"].argmin())
        image = f"images/benign/{calm:02}.png"
        status, printed, _ = run("explain", "guarded.keras", image, "-o", "why.svg")
        text = " ".join(re.findall(r">([^<>]+)</", (folder / "why.svg").read_text()))
        steps = int(re.search(r"costs (\d+) steps of BIM", printed).group(1))
        cheaper = guarded.detector.benign_costs[0, :steps].sum()
        assert status == 0
        assert f"{image} is not flagged" in printed
        for said in (
            f"{image}: not flagged",
            f"classified as {out['predictions'][calm].argmax()}",
            f"after {steps} steps of BIM",
            "magnified",
            f"{cheaper} of 100 benign inputs",
            "give way in fewer steps: benign",
            f"flagged below {guarded.detector.thresholds[0]} steps",
        ):
            assert said in text

    def test_colour_and_several_attacks(self, run, folder):
        inputs = keras.Input((6, 6, 3))
        outputs = keras.layers.Dense(3)(keras.layers.Flatten()(inputs))
        x = np.random.default_rng(0).uniform(-1, 1, (40, 6, 6, 3)).astype("float32")
        attacks = [a2d.BIM(eps_iter=0.001), a2d.DeepFool()]
        guarded = a2d.guard(
            keras.Model(inputs, outputs), (-1, 1), attacks, "knn", false_positive_rate=0.1
        )
        guarded.adapt(x[:20], x[20:], verbose=0)
        guarded.save(folder / "colour.keras")
        pixels = np.round(127.5 * (x[0] + 1)).astype("uint8")
        (folder / "colour.png").write_bytes(tf.io.encode_png(pixels).numpy())
        status, printed, _ = run("explain", "colour.keras", "colour.png", "-o", "two.png", "--json")
        assert status in (0, 3)
        assert set(json.loads(printed)["cost"]) == {"bim_0", "deepfool_1"}
        assert (folder / "two.png").is_file()

    def test_without_matplotlib(self, run, monkeypatch):
        monkeypatch.delattr(a2d, "picture", raising=False)
        monkeypatch.delitem(sys.modules, "a2d_keras.cli.picture", raising=False)
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        status, _, error = run("explain", "guarded.keras", "images/benign/00.png", "-o", "why.png")
        assert status == 2
        assert "`pip install a2d-keras[plot]`. Received: " in error


class TestErrors:
    """Each is one sentence, status 2, and leaves no file behind."""

    def refuses(self, run, folder, message, *words):
        before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        status, printed, error = run(*words)
        assert status == 2
        assert printed == ""
        lines = [line for line in error.splitlines() if line.startswith("a2d-keras: ")]
        assert re.search(message, lines[0]), lines
        assert len(lines) == 1
        assert "Traceback" not in error
        assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before

    def test_models(self, run, folder):
        (folder / "broken.keras").write_bytes((folder / "model.keras").read_bytes()[:-100])
        (folder / "broken.h5").write_bytes(b"no model")
        with (
            zipfile.ZipFile(folder / "guarded.keras") as saved,
            zipfile.ZipFile(folder / "newer.keras", "w") as newer,
        ):
            for name in saved.namelist():
                newer.writestr(name, saved.read(name).replace(b'"filters"', b'"filters_2"'))
        for name, message in {
            "missing.keras": "no such model.* Received: missing.keras$",
            "images": "no such model.* Received: images$",
            "broken.keras": "cannot load this model, .* Received: broken.keras: ",
            "broken.h5": "cannot load this model, .* Received: broken.h5: ",
            "newer.keras": "cannot load this model, .* Received: newer.keras: .{,300}$",
            "model.keras": "make it of this one with `a2d-keras adapt`. Received: model.keras, ",
        }.items():
            self.refuses(run, folder, message, "detect", name, "images", "-o", "v.csv")
        words = ("adapt", "guarded.keras", "benign.npz", "-o", "twice.keras")
        self.refuses(run, folder, "not guarded yet. Received: guarded.keras", *words)
        words = ("cost", "guarded.keras", "images", "--bounds", 0, 1, "-o", "c.csv")
        self.refuses(run, folder, "leave --bounds out. Received: ", *words)

    def test_inputs(self, run, folder, held_out):
        (folder / "odd").mkdir(exist_ok=True)
        good = (folder / "images" / "benign" / "00.png").read_bytes()
        (folder / "odd" / "a.png").write_bytes(good)
        (folder / "odd" / "b.png").write_bytes(good[:-20])
        (folder / "small").mkdir(exist_ok=True)
        (folder / "small" / "c.png").write_bytes(
            tf.io.encode_png(np.zeros((5, 8, 1), "uint8")).numpy()
        )
        np.save(folder / "none.npy", held_out[:0])
        np.save(folder / "nan.npy", np.where(held_out[:5] == 0, np.nan, held_out[:5]))
        np.save(folder / "large.npy", 255 * held_out[:5])
        for name, message in {
            "missing": "nothing to read: .* Received: missing$",
            "odd": "whole PNG or JPEG file .* Received: odd/b.png$",
            "small": r"shape \(8, 8, 1\). Received: \(5, 8, 1\), c.png of small$",
            "none.npy": "one input or more. Received: none in none.npy$",
            "nan.npy": "finite numbers .* Received: .* values that are not finite",
            "large.npy": "within the bounds .* Received: .* outside the bounds",
        }.items():
            self.refuses(run, folder, message, "detect", "guarded.keras", name, "-o", "v.csv")
        words = ("adapt", "model.keras", "nan.npy", "-o", "new.keras")
        self.refuses(run, folder, "finite numbers .* Received: ", *words)
        words = ("adapt", "model.keras", "odd/a.png", "-o", "new.keras")
        self.refuses(run, folder, "at least 19 benign inputs. Received: 1$", *words)
        words = ("explain", "guarded.keras", "images", "-o", "why.png")
        self.refuses(run, folder, "takes one image. Received: images$", *words)
        inputs = keras.Input((4,))
        guarded = a2d.guard(keras.Model(inputs, keras.layers.Dense(3)(inputs)))
        guarded.save(folder / "flat.keras")
        np.save(folder / "flat.npy", np.zeros((1, 4)))
        words = ("explain", "flat.keras", "flat.npy", "-o", "why.png")
        self.refuses(run, folder, "takes one image. Received: flat.npy$", *words)
        words = ("detect", "flat.keras", "flat.npy", "-o", "v.csv")
        self.refuses(run, folder, "call `adapt` with benign inputs first. Received: ", *words)

    def test_outputs(self, run, folder):
        image = "images/benign/00.png"
        for out, message in {
            "nowhere/v.csv": "folder that can be written to. Received: nowhere/v.csv$",
            "images": "folder that can be written to. Received: images$",
        }.items():
            self.refuses(run, folder, message, "detect", "guarded.keras", image, "-o", out)
        words = ("explain", "guarded.keras", image, "-o", "why.mp3")
        self.refuses(run, folder, "mp3.* is not supported", *words)

    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["guess"],
            ["detect", "guarded.keras", "images"],
            ["adapt", "model.keras", "benign.npz", "-o", "guarded.h5"],
            ["cost", "model.keras", "images", "-o", "c.csv", "--attack", "LBFGS"],
        ],
    )
    def test_words(self, words, capsys):
        with pytest.raises(SystemExit) as stop:
            cli.main(words)
        assert stop.value.code == 2
        assert "usage: a2d-keras" in capsys.readouterr().err


def test_an_interrupted_run_leaves_the_old_file(run, folder, monkeypatch):
    (folder / "kept.csv").write_text("old")
    before, predict, calls = set(folder.iterdir()), a2d.GuardedModel.predict, []

    def interrupted(self, x, **options):
        calls.append(len(x))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(self, x, **options)

    monkeypatch.setattr(commands, "_BATCH", 8)
    monkeypatch.setattr(a2d.GuardedModel, "predict", interrupted)
    status, printed, error = run("detect", "guarded.keras", "images", "-o", "kept.csv")
    assert (status, printed, calls) == (130, "", [8, 8])
    assert "a2d-keras: interrupted; kept.csv is as it was" in error
    assert (folder / "kept.csv").read_text() == "old"
    assert set(folder.iterdir()) == before


def test_progress_is_for_people(run, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    _, printed, _ = run("detect", "guarded.keras", "images", "-o", "v.csv", "--json")
    json.loads(printed)
    assert "40/40" in sys.stderr.getvalue()


def test_help_shows_examples(capsys):
    for words in ([], ["adapt"], ["detect"], ["cost"], ["explain"]):
        with pytest.raises(SystemExit) as stop:
            cli.main([*words, "--help"])
        printed = capsys.readouterr().out
        assert stop.value.code == 0
        assert max(map(len, printed.splitlines())) <= 100
        examples = re.findall(r"^  (a2d-keras .*)$", printed, re.MULTILINE)
        assert examples
        for example in examples:  # and they are right
            assert cli._parser().parse_args(example.replace("'", "").split()[1:])


def test_runs_as_a_module_and_as_a_script(folder):
    words = ["detect", "missing.keras", "images", "-o", "m.csv"]
    run = subprocess.run(
        [sys.executable, "-m", "a2d_keras", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.strip().endswith("Received: missing.keras")
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    name, entry = config["options.entry_points"]["console_scripts"].split("=")
    module, function = entry.strip().split(":")
    assert name.strip() == "a2d-keras"
    assert getattr(importlib.import_module(module), function) is cli.main
