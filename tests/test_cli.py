import configparser
import csv
import html
import io
import json
import os
import pathlib
import re
import runpy
import subprocess
import sys
import types
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from a2d_keras import cli
from a2d_keras.cli import calls, commands, histograms, parser, picture, readers, reasons, table
from a2d_keras.cli.parser import COMMANDS, attack_names, make_parser
from a2d_keras.detection import rules
from a2d_keras.redteam import checks, evaluation

ROOT = pathlib.Path(__file__).parent.parent
HEAVY = {"tensorflow", "keras", "numpy"}


@pytest.fixture(scope="module")
def quantised(benign, adversarial):
    """Benign and adversarial digits, rounded as in image files."""
    return [np.round(255 * x[:20]).astype("uint8") for x in (benign, adversarial)]


@pytest.fixture(scope="module")
def guarded(model, held_out):
    guarded = a2d.guard(model)
    guarded.adapt(held_out[:100], verbose=0)
    return guarded


@pytest.fixture(scope="module")
def costly(model, held_out):
    """The same classifier, guarded by what attacks cost."""
    guarded = a2d.guard(model, rule="zscore")
    guarded.adapt(held_out[:100], verbose=0)
    return guarded


@pytest.fixture(params=["guarded", pytest.param("costly", marks=pytest.mark.slow)])
def kind(request):
    """The name of a guarded model of each kind; its file ends in `.keras`."""
    return request.param


@pytest.fixture(scope="module")
def folder(model, guarded, costly, held_out, quantised, tmp_path_factory):
    """A folder with a classifier, guarded ones, and images."""
    folder = tmp_path_factory.mktemp("cli")
    model.save(folder / "model.keras")
    np.savez(folder / "benign.npz", x=held_out[:100])
    for name, pixels in zip(("benign", "adversarial"), quantised, strict=True):
        (folder / "images" / name).mkdir(parents=True)
        for index, image in enumerate(pixels):
            path = folder / "images" / name / f"{index:02}.png"
            path.write_bytes(tf.io.encode_png(image).numpy())
    guarded.save(folder / "guarded.keras")
    costly.save(folder / "costly.keras")
    return folder


@pytest.fixture(scope="module")
def load_once():
    """Load each file once, so that the commands share its graphs, which take long to trace."""
    load, loaded = keras.models.load_model, {}

    def load_once(path, **options):
        file = (pathlib.Path(path).resolve(), pathlib.Path(path).stat().st_mtime_ns)
        if file not in loaded:
            loaded[file] = load(path, **options)
        return loaded[file]

    return load_once


@pytest.fixture
def run(folder, load_once, capsys, monkeypatch):
    """Run a command in the folder; return its status, and what it printed to both streams."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(keras.models, "load_model", load_once)

    def run(*words):
        status = cli.main([str(word) for word in words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def read_table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


class TestAdapt:
    def adapts_as(self, guarded, run, folder, *options):
        """Adapt by the command, and compare with the library; return what was printed."""
        out = folder / "again.keras"
        words = ("adapt", "model.keras", "benign.npz", "-o", out, *options)
        status, sentence, _ = run(*words)
        assert status == 0
        again = keras.models.load_model(out)
        for left, right in zip(again.get_weights(), guarded.get_weights(), strict=True):
            np.testing.assert_array_equal(left, right)
        summary = json.loads(run(*words, "--json")[1])
        assert summary["benign_inputs"] == 100
        assert summary["false_positive_rate"] == 0.05
        assert summary["max_queries_per_input"] == guarded.max_queries_per_input
        return sentence, summary

    @pytest.mark.slow
    def test_equals_the_library(self, run, folder, guarded):
        sentence, summary = self.adapts_as(guarded, run, folder)
        described = guarded.detector.describe()
        first, *lines = sentence.splitlines()
        assert first.startswith("Adapted on 100 benign inputs: 50 of them calibrate the p-value")
        assert lines == [f"  {name}: {said}" for name, said in described.items()]
        assert summary["statistics"] == described
        assert summary["calibrating_inputs"] == guarded.detector.rule.count == 50

    @pytest.mark.slow
    def test_equals_the_library_with_costs(self, run, folder, costly):
        sentence, summary = self.adapts_as(costly, run, folder, "--rule", "zscore")
        threshold = int(costly.detector.thresholds[0])
        assert f"100 benign inputs: {threshold} steps of BIM settle a verdict" in sentence
        assert summary["thresholds"] == {"bim_0": threshold}
        assert summary["attacks"] == [repr(costly.detector.attacks[0])]

    @pytest.mark.slow
    def test_exact_costs_need_no_name_of_an_attack(self, run, folder, monkeypatch):
        monkeypatch.setattr(a2d.GuardedModel, "adapt", lambda *_, **__: None)
        run("adapt", "model.keras", "benign.npz", "-o", "exact.keras", "--exact")
        detector = keras.models.load_model(folder / "exact.keras").detector
        assert detector.statistics == (a2d.AttackCost(exact=True),)

    def test_keeps_every_choice(self, run, folder, digits, quantised, monkeypatch):
        """All options reach the library. It need not adapt to show it."""
        given = []

        def record(self, benign, adversarial=None, verbose=1):
            given.extend(np.concatenate(list(inputs)) for inputs in (benign, adversarial))

        monkeypatch.setattr(a2d.GuardedModel, "adapt", record)
        np.save(folder / "wide.npy", 16 * digits.x_test[:40])
        np.save(folder / "bad.npy", quantised[1])
        status, printed, _ = run(
            *("adapt", "model.keras", "wide.npy", "-o", "choices.keras", "--bounds", 0, 16),
            *("--attack", "BIM2", "--attack", "JSMA", "--false-positive-rate", 0.1, "--exact"),
            *("--on-invalid", "flag", "--adversarial", "bad.npy"),
        )
        assert status == 0
        assert printed.startswith("Adapted on 40 benign inputs: ")
        np.testing.assert_array_equal(given[0], 16 * digits.x_test[:40])
        np.testing.assert_allclose(given[1], quantised[1] / 255 * 16, rtol=1e-6)
        detector = keras.models.load_model(folder / "choices.keras").detector
        assert detector.classifier.bounds == (0, 16)
        assert detector.attacks == (a2d.BIM2(), a2d.JSMA())
        assert isinstance(detector.rule, a2d.KNN)
        assert detector.false_positive_rate == 0.1
        assert all(statistic.exact for statistic in detector.statistics)
        assert detector.options.on_invalid == "flag"


class TestDetect:
    def test_equals_the_library(self, run, folder, kind, quantised, request):
        guarded = request.getfixturevalue(kind)
        status, printed, error = run("detect", f"{kind}.keras", "images", "-o", "verdicts.csv")
        rows = read_table(folder / "verdicts.csv")
        names = [f"{kind}/{i:02}.png" for kind in ("adversarial", "benign") for i in range(20)]
        assert [row["input"] for row in rows] == names
        x = np.concatenate(quantised[::-1]).astype("float32") / 255
        out = guarded.predict(x, verbose=0)
        assert [int(row["prediction"]) for row in rows] == out["predictions"].argmax(-1).tolist()
        assert tuple(rows[0])[2:] == (*guarded.detector.column_names, "error")
        for name, values in guarded.detector.columns(out).items():
            assert [row[name] for row in rows] == [str(value) for value in values]
        flagged = out["is_adversarial"].sum()
        assert (
            printed == f"{flagged} of 40 inputs flagged as adversarial. Written to verdicts.csv.\n"
        )
        assert status == 3
        assert "40/40" not in error  # no terminal, no progress

    def test_columns(self, run, folder, kind):
        """The statistics have columns of their own, named alike for all kinds of guards."""
        run("detect", f"{kind}.keras", "images/benign/00.png", "-o", "one.csv")
        (row,) = read_table(folder / "one.csv")
        if kind == "costly":
            assert list(row)[3:] == ["score", "exact", "cost_bim_0", "error"]
        else:
            assert list(row)[3:6] == ["score", "p_value", "boundary_distance_0"]
            assert 0 < float(row["p_value"]) <= 1

    def test_json_lines(self, run, folder, kind):
        run("detect", f"{kind}.keras", "images/benign", "-o", "verdicts.jsonl")
        run("detect", f"{kind}.keras", "images/benign", "-o", "verdicts.csv")
        lines = (folder / "verdicts.jsonl").read_text().splitlines()
        found = [json.loads(line) for line in lines]
        rows = read_table(folder / "verdicts.csv")
        assert len(found) == 20
        for line, row in zip(found, rows, strict=True):
            assert list(line) == list(row)
            for name, value in row.items():
                plain = {"False": False, "": None}
                assert line[name] == plain.get(value, value and type(line[name])(value))

    def test_another_rate(self, run, folder):
        """No second `adapt` is needed, and the file keeps its rate."""
        before = (folder / "guarded.keras").read_bytes()
        words = ("detect", "guarded.keras", "images", "-o", "verdicts.csv", "--json")
        flagged = {}
        for rate in (0.02, 0.5, 0.05):
            summary = json.loads(run(*words, "--false-positive-rate", rate)[1])
            assert summary["false_positive_rate"] == rate
            rows = read_table(folder / "verdicts.csv")
            flags = [row["is_adversarial"] == "True" for row in rows]
            assert flags == [float(row["p_value"]) <= rate for row in rows]
            flagged[rate] = summary["flagged"] = sum(flags)
        assert flagged[0.02] <= flagged[0.05] < flagged[0.5]
        assert (folder / "guarded.keras").read_bytes() == before

    def test_none_flagged(self, run, folder, guarded, quantised):
        calm = guarded.predict(quantised[0] / 255, verbose=0)["is_adversarial"] == 0
        np.save(folder / "calm.npy", quantised[0][calm])
        status, printed, _ = run("detect", "guarded.keras", "calm.npy", "-o", "v.csv", "--json")
        summary = json.loads(printed)
        assert status == 0
        assert (summary["inputs"], summary["flagged"]) == (calm.sum(), 0)

    @pytest.mark.slow
    def test_inputs_that_are_not_finite_have_no_prediction(self, run, folder, model, guarded):
        flagging = a2d.guard(model, on_invalid="flag")
        flagging.set_weights(guarded.get_weights())
        flagging.save(folder / "flagging.keras")
        x = np.zeros((2, 8, 8, 1), "float32")
        x[1, 0, 0, 0] = np.nan
        np.save(folder / "nan.npy", x)
        status, _, _ = run("detect", "flagging.keras", "nan.npy", "-o", "nan.csv")
        first, row = read_table(folder / "nan.csv")
        assert status == 3
        assert (row["prediction"], row["is_adversarial"], row["score"]) == ("", "True", "nan")
        assert (row["p_value"], row["boundary_distance_0"]) == ("0.0", "nan")
        assert first["prediction"] != ""
        run("detect", "flagging.keras", "nan.npy", "-o", "nan.jsonl")
        line = json.loads((folder / "nan.jsonl").read_text().splitlines()[1])
        assert (line["prediction"], line["p_value"], line["boundary_distance_0"]) == (None, 0, None)

    def test_a_folder_of_all_kinds(self, run, folder, quantised):
        """Files that are no images are named; an image that cannot be read gets a row."""
        (folder / "camera").mkdir()
        good = tf.io.encode_png(quantised[0][0]).numpy()
        small = tf.io.encode_png(quantised[0][0][:6]).numpy()
        files = {"U.PNG": good, "cut.png": good[:-20], "low.png": small, "b.bmp": b"", ".x": b""}
        for name, contents in files.items():
            (folder / "camera" / name).write_bytes(contents)
        words = ("detect", "guarded.keras", "camera", "-o", "v.csv")
        status, printed, _ = run(*words, "--json")
        summary, rows = json.loads(printed), read_table(folder / "v.csv")
        assert [row["input"] for row in rows] == ["U.PNG", "cut.png", "low.png"]
        assert [bool(row["error"]) for row in rows] == [False, True, True]
        assert [bool(row["is_adversarial"]) for row in rows] == [True, False, False]
        assert "; --resize brings images to it. Received: (6, 8, 1), low.png" in rows[2]["error"]
        errors = [{name: row[name] for name in ("input", "error")} for row in rows[1:]]
        assert (summary["inputs"], summary["errors"]) == (1, errors)
        assert summary["skipped"] == ["b.bmp"]
        assert status == (3 if summary["flagged"] else 2)
        _, printed, _ = run(*words, "--resize")
        assert printed.partition(" adversarial. ")[2] == (
            "1 could not be read, see the column `error`: cut.png. "
            "1 skipped, no PNG or JPEG: b.bmp. Written to v.csv.\n"
        )
        status, _, error = run(*words, "--strict")
        assert status == 2
        assert "since --strict skips none. Received: b.bmp of camera" in error


class TestCost:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "name", ["guarded", *(pytest.param(n, marks=pytest.mark.slow) for n in ("model", "costly"))]
    )
    def test_equals_the_library(self, run, folder, model, costly, name, quantised, monkeypatch):
        """A guarded model without attacks is attacked like its classifier."""
        monkeypatch.setattr(table, "BATCH_SIZE", 7)
        words = ("cost", f"{name}.keras", "images/benign", "-o", "costs.csv", "--json")
        status, printed, _ = run(*words)
        rows, x = read_table(folder / "costs.csv"), quantised[0] / 255
        attacks = costly.detector.attacks if name == "costly" else [a2d.BIM()]
        (result,) = a2d.AttackCosts(model, attacks=attacks).attack(x)
        assert status == 0
        assert [int(row["cost_bim_0"]) for row in rows] == result.cost.tolist()
        assert [row["success_bim_0"] for row in rows] == [str(value) for value in result.success]
        assert json.loads(printed)["median_cost"] == {"bim_0": np.median(result.cost)}

    def test_chosen_attacks(self, run, folder):
        words = ("--attack", "DeepFool", "--attack", "FGSM")
        status, _, _ = run("cost", "guarded.keras", "images/adversarial", "-o", "costs.csv", *words)
        names = ["cost_deepfool_0", "success_deepfool_0", "cost_fgsm_1", "success_fgsm_1"]
        assert status == 0
        assert list(read_table(folder / "costs.csv")[0]) == ["input", "prediction", *names, "error"]


class TestExplain:
    def test_adversarial(self, run, folder, kind, quantised, request):
        scores = request.getfixturevalue(kind).predict(quantised[1] / 255, verbose=0)["score"]
        image = f"images/adversarial/{scores.argmax():02}.png"
        status, printed, _ = run("explain", f"{kind}.keras", image, "-o", "why.png", "--json")
        assert status == 3
        assert json.loads(printed)["is_adversarial"]
        drawn = tf.io.decode_png((folder / "why.png").read_bytes()).numpy()
        assert drawn.shape[1] > 1000
        assert len(np.unique(drawn.reshape(-1, drawn.shape[-1]), axis=0)) > 50

    def test_says_it_in_words(self, run, folder, guarded, quantised, svg_with_text):
        out = guarded.predict(quantised[1] / 255, verbose=0)
        worst = int(out["p_value"].argmin())
        out = {name: values[worst : worst + 1] for name, values in out.items()}
        image = f"images/adversarial/{worst:02}.png"
        words = ("explain", "guarded.keras", image, "-o", "why.svg")
        status, printed, _ = run(*words)
        text, rule = svg_with_text(folder / "why.svg"), guarded.detector.rule
        p_value = f"p = {out['p_value'][0]:.2g}"
        confidence = out["predictions"][0].max()
        classified = f"{out['predictions'][0].argmax()} ({100 * confidence:.0f} %)"
        assert status == 3
        assert printed == (
            f"{image} is flagged as adversarial: it is classified as {classified}, and has "
            f"{p_value}. Written to why.svg.\n"
        )
        for said in (
            f"{image}: flagged as adversarial ({p_value})",
            f"classified as {classified}",
            f"all together: a score of {out['score'][0]:.3g} {p_value}",
            "all of them together have p ≤ 0.05",
            f"flagged above {rule.thresholds[0]:.3g}",
            "this input",
        ):
            assert said in text
        summary = json.loads(run(*words, "--json")[1])
        names = list(guarded.detector.describe())
        assert list(summary["statistics"]) == list(summary["p_values"]) == names
        assert summary["p_value"] == pytest.approx(out["p_value"][0])
        assert summary["confidence"] == pytest.approx(confidence, rel=1e-4)
        np.testing.assert_allclose(
            list(summary["statistics"].values()), out["statistics"][0], rtol=1e-4
        )
        for name, value in summary["statistics"].items():
            shown = name.rpartition("_")[0].replace("_", " ")
            assert f"{shown}: {value:.3g} {histograms.show_p(summary['p_values'][name])}" in text

    def test_says_costs_in_words(self, run, folder, costly, quantised, svg_with_text):
        out = costly.predict(quantised[0] / 255, verbose=0)
        calm = int(out["is_adversarial"].argmin())
        image = f"images/benign/{calm:02}.png"
        status, printed, _ = run("explain", "costly.keras", image, "-o", "why.svg")
        text = svg_with_text(folder / "why.svg")
        steps = int(re.search(r"costs (\d+) steps of BIM", printed).group(1))
        cheaper = costly.detector.benign_costs[0, :steps].sum()
        assert status == 0
        assert f"{image} is not flagged" in printed
        for said in (
            f"{image}: not flagged",
            f"classified as {out['predictions'][calm].argmax()}",
            f"after {steps} steps of BIM",
            "of the range (red: where it counts)",
            f"{cheaper} of 100 benign inputs",
            "need fewer steps: benign",
            f"flagged below {costly.detector.thresholds[0]} steps",
        ):
            assert said in text

    def test_without_matplotlib(self, run, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        status, _, error = run("explain", "guarded.keras", "images/benign/00.png", "-o", "why.png")
        assert status == 2
        assert "`pip install a2d-keras[plot]`. Received: no matplotlib" in error

    def test_several_images_make_a_page(self, run, folder, guarded, quantised):
        (folder / "names.txt").write_text("\n".join(f"digit {i}" for i in range(10)))
        (folder / "broken.png").write_bytes(b"broken")
        images = ("images/benign/00.png", "images/adversarial/00.png", "broken.png")
        words = ("explain", "guarded.keras", *images, "-o", "why.html", "--classes", "names.txt")
        status, printed, _ = run(*words, "--json")
        summary, page = json.loads(printed), (folder / "why.html").read_text()
        x = np.stack([pixels[0] for pixels in quantised]) / 255
        out = guarded.predict(x, verbose=0)
        labels = [f"digit {label}" for label in out["predictions"].argmax(-1)]
        assert status == (3 if out["is_adversarial"].any() else 2)
        assert (summary["inputs"], summary["flagged"]) == (3, out["is_adversarial"].sum())
        assert [row["input"] for row in summary["rows"]] == list(images)
        assert [row["class"] for row in summary["rows"][:2]] == labels
        assert "complete PNG or JPEG" in summary["rows"][2]["error"]
        assert page.count("data:image/png") == 2
        assert all(said in page for said in (*images, *labels, "not read"))
        (folder / "names.txt").write_text("one")
        status, _, error = run(*words)
        assert status == 2
        assert "must name each of the 10 classes on a line. Received: 1 lines in" in error

    def test_the_change_is_shown_where_it_counts(self, classifier, benign, labels_only):
        """A change of the sign of the gradient counts where the gradient is large."""
        image, changed = benign[:1], np.clip(benign[:1] + 0.01, 0, 1)
        effect = reasons._effect(classifier, image, changed)
        assert effect.shape == (8, 8)
        assert effect.max() == 1
        assert np.median(effect) < 0.5
        flat = reasons._effect(labels_only, image, changed)  # no gradient: the change itself
        np.testing.assert_allclose(flat, (changed - image)[0, ..., 0] / 0.01, atol=1e-3)


class TestPicture:
    def test_colour_and_several_attacks(self, tmp_path, svg_with_text):
        image = np.full((6, 6, 3), 0.5)
        finding = picture.Finding(
            attack="DeepFool",
            adversarial=image + 0.1,
            effect=np.eye(6),
            prediction="2 (80 %)",
            success=False,
            cost=1,
            benign_costs=np.array([0, 3, 5]),
            threshold=None,
        )
        findings = [finding, finding._replace(attack="BIM", threshold=2, success=True)]
        picture.draw(tmp_path / "why.svg", picture.Subject("cat.png", image, "1", True), findings)
        text = svg_with_text(tmp_path / "why.svg")
        for said in (
            "cat.png: flagged as adversarial",
            "after 1 step of DeepFool: still 2 (80 %)",
            "after 1 step of BIM: classified as 2 (80 %)",
            "the change, at most 10 % of the range (red: where it counts)",
            "0 of 8 benign inputs need fewer steps: adversarial",
            "flagged below 2 steps",
        ):
            assert said in text
        assert text.count("flagged below") == 1  # only if there is a threshold

    def test_every_tail_and_values_off_the_scale(self, tmp_path, svg_with_text):
        measure = histograms.Measure(
            name="distance",
            meaning="How far",
            tail="low",
            value=-1e6,
            p_value=1e-9,
            benign=np.linspace(0, 1, 1024),
        )
        measures = [
            measure,
            measure._replace(tail="high", value=1e6),
            measure._replace(tail="both", value=0.5, p_value=1.0),
            measure._replace(value=np.nan, benign=np.zeros(1024)),
        ]
        verdict = histograms.Verdict(70.0, 0.01, 0.05, np.linspace(0, 9, 50), 8.0)
        subject = picture.Subject("cat.png", np.full((6, 6, 3), 0.5), "1", True)
        histograms.draw(tmp_path / "why.svg", subject, measures, verdict)
        text = svg_with_text(tmp_path / "why.svg")
        for said in (
            "cat.png: flagged as adversarial (p = 0.01)",
            "distance: -1e+06 p < 0.0001",
            "distance: 0.5 p = 1",
            "How far; small values are suspicious",
            "How far; large values are suspicious",
            "How far; both ends are suspicious",
            "◀ off the scale",
            "off the scale ▶",
            "the most suspicious 5 % of benign inputs",
            "all together: a score of 70 p = 0.01",
            "flagged above 8",
        ):
            assert said in text

    @pytest.mark.parametrize("bounds", [(-1.0, 1.0), None], ids=["one range", "ranges"])
    def test_channels_first(self, run, folder, tmp_path, monkeypatch, bounds):
        """The picture shows the image, whatever its layout and scale in the classifier."""
        pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), "uint8")
        path = tmp_path / "colour.png"
        path.write_bytes(tf.io.encode_png(pixels).numpy())
        low = np.arange(90.0).reshape(3, 6, 5)
        classifier = stand_in((3, 6, 5), bounds or (low, low + 2))
        x = readers.read(str(path), classifier).first(1)
        assert x.shape == (1, 3, 6, 5)
        np.testing.assert_allclose(reasons.drawable(x, classifier), pixels / 255, atol=1e-5)


def stand_in(shape, bounds):
    """The attributes of a channels-first classifier that readers and pictures use."""

    class ChannelsFirst:
        input_shape = shape
        data_format = "channels_first"
        range = bounds[1] - bounds[0]

    ChannelsFirst.bounds = bounds
    return ChannelsFirst()


@pytest.fixture
def svg_with_text():
    """Read the text of an SVG, in one line."""
    matplotlib = pytest.importorskip("matplotlib")

    def read(path):
        texts = re.findall(r">([^<>]+)</", path.read_text())
        return re.sub(r"\s+", " ", html.unescape(" ".join(texts)))

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        yield read


class TestRedteam:
    WORDS = ("--attack", "Noise", "--attack", "PGD", "--eps", "3/10", "-o")

    @pytest.fixture(scope="class")
    def tested(self, digits, tmp_path_factory):
        path = tmp_path_factory.mktemp("redteam") / "test.npz"
        np.savez(path, x=digits.x_test[:12], y=digits.y_test[:12], other=digits.y_test[:5])
        return path

    @pytest.fixture(autouse=True)
    def _short(self, monkeypatch):
        monkeypatch.setattr(checks, "_STEPS", 5)
        monkeypatch.setattr(checks, "_INPUTS", 4)

    @pytest.mark.slow
    def test_equals_the_library(self, run, tested, guarded, digits, tmp_path):
        out = tmp_path / "report"
        status, printed, _ = run("redteam", "guarded.keras", tested, *self.WORDS, out, "--json")
        attacks = ["Noise", "PGD"]
        x, y = digits.x_test[:12], digits.y_test[:12]
        result = a2d.redteam(guarded, x, y, attacks=attacks, eps=0.3, verbose=0)
        kept = json.loads((out / "results.json").read_text())
        assert kept["rows"] == json.loads(json.dumps(result.rows()))
        summary, worst = json.loads(printed), result.rows()[-1]
        assert summary["inputs"] == 12
        assert summary["got_through"] == round(12 * worst["success"]) > 0
        assert status == 3
        assert "<table" in (out / "report.html").read_text()
        assert kept["about"]["classes"] == "given"

    def test_attacks_what_is_named_and_says_what_got_through(
        self, run, model, quantised, tmp_path, monkeypatch
    ):
        given = {}

        row = {"success": 0.5, "fooled": 0.75, "SR@5": 0.5, "SR@50": 0.25}
        result = types.SimpleNamespace(
            y=np.zeros(4),
            about={},
            checks=[checks.Check("one", True, ""), checks.Check("two", False, "")],
            rows=lambda: [row],
            save=lambda out: given.update(out=out),
        )

        def redteam(guarded, x, y, **options):
            given.update(options, x=x, y=y)
            return result

        monkeypatch.setattr(evaluation, "redteam", redteam)
        out = tmp_path / "report"
        images = ("images/benign", "--limit", 4)
        status, printed, _ = run("redteam", "guarded.keras", *images, *self.WORDS, out, "--json")
        x = quantised[0][:4] / 255
        np.testing.assert_allclose(given["x"], x, atol=1e-6)
        np.testing.assert_array_equal(given["y"], model.predict(x, verbose=0).argmax(-1))
        assert [attack.name for attack in given["attacks"]] == ["noise", "pgd"]
        assert (given["eps"], given["folder"], given["out"]) == (0.3, out / "parts", str(out))
        assert result.about["classes"] == "the classifier's own predictions"
        assert (status, json.loads(printed)["got_through"]) == (3, 2)
        assert json.loads(printed)["weak_checks"] == ["two"]

    @pytest.mark.slow
    def test_images_have_the_classes_that_are_predicted(self, run, tmp_path):
        out = tmp_path / "report"
        words = ("--attack", "Noise", "--eps", "0.0001", "--limit", "3", "-o", out)
        status, printed, _ = run("redteam", "guarded.keras", "images/benign", *words)
        assert status == 0
        assert printed.startswith("0 of 3 inputs got through the guard within 0.0001")
        kept = json.loads((out / "results.json").read_text())
        assert kept["about"]["classes"] == "the classifier's own predictions"

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("--labels", "nothing"), "--labels must name one of other, x, y"),
            (("--labels", "other"), "`y` must hold the true class of each input"),
            (("--labels", "x"), "Classes must be whole numbers"),
            (("--limit", "0"), "at least one input"),
            (("--eps", "0"), "`eps` must be a positive number"),
        ],
    )
    def test_refuses(self, run, tested, tmp_path, words, message):
        out = tmp_path / "report"
        status, _, said = run("redteam", "guarded.keras", tested, "-o", out, *words)
        assert status == 2
        assert message in said

    def test_distances_are_numbers_or_fractions(self, capsys):
        with pytest.raises(SystemExit):
            make_parser().parse_args(["redteam", "g", "x", "-o", "o", "--eps", "much"])
        assert "a number or a fraction, such as 0.03 or 8/255" in capsys.readouterr().err


class TestErrors:
    """Each error is one sentence, with status 2, and leaves no file."""

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
            "missing.keras": "model does not exist.* Received: missing.keras$",
            "images": "model does not exist.* Received: images$",
            "broken.keras": "cannot load this model: .* Received: broken.keras: ",
            "broken.h5": "cannot load this model: .* Received: broken.h5: ",
            "newer.keras": "cannot load this model: .* Received: newer.keras: .{,300}$",
            "model.keras": "from this classifier with `a2d-keras adapt`. Received: model.keras, ",
        }.items():
            self.refuses(run, folder, message, "detect", name, "images", "-o", "v.csv")
        words = ("adapt", "guarded.keras", "benign.npz", "-o", "twice.keras")
        self.refuses(run, folder, "not guarded. Received: guarded.keras", *words)
        words = ("cost", "guarded.keras", "images", "--bounds", 0, 1, "-o", "c.csv")
        self.refuses(run, folder, "leave --bounds out. Received: ", *words)

    def test_attacks(self, run, folder):
        words = ("cost", "model.keras", "images", "-o", "c.csv", "--attack", "Transfer")
        message = "does not take these parameters.* Received: Transfer.*'substitute'"
        self.refuses(run, folder, message, *words)
        words = ("adapt", "model.keras", "benign.npz", "-o", "new.keras", "--attack", "LBFGS")
        self.refuses(run, folder, "an untargeted StepAttack.* Received: LBFGS", *words)

    @pytest.mark.slow
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
            "odd --strict": "complete PNG or JPEG file .* Received: odd/b.png$",
            "small": r"\(8, 8, 1\); --resize brings .* Received: \(5, 8, 1\), c.png of small$",
            "none.npy": "at least one input. Received: none in none.npy$",
            "nan.npy": "finite numbers .* Received: .* values that are not finite",
            "large.npy": "within the bounds .* Received: .* outside the bounds",
        }.items():
            words = ("detect", "guarded.keras", *name.split(), "-o", "v.csv")
            self.refuses(run, folder, message, *words)
        words = ("adapt", "model.keras", "odd", "-o", "new.keras")
        self.refuses(run, folder, "complete PNG or JPEG file .* Received: odd/b.png$", *words)
        words = ("adapt", "model.keras", "nan.npy", "-o", "new.keras")
        self.refuses(run, folder, "finite numbers .* Received: ", *words)
        words = ("adapt", "model.keras", "odd/a.png", "-o", "new.keras")
        self.refuses(run, folder, "at least 38 benign inputs.* Received: 0 to calibrate$", *words)
        self.refuses(run, folder, "19 benign inputs. Received: 1$", *words, "--rule", "zscore")
        words = ("explain", "guarded.keras", "images", "-o", "why.png")
        self.refuses(run, folder, "Several images make a page.* 40 images, and why.png$", *words)
        inputs = keras.Input((4,))
        guarded = a2d.guard(keras.Model(inputs, keras.layers.Dense(3)(inputs)))
        guarded.save(folder / "flat.keras")
        np.save(folder / "flat.npy", np.zeros((1, 4)))
        words = ("explain", "flat.keras", "flat.npy", "-o", "why.png")
        self.refuses(run, folder, "takes images. Received: flat.npy$", *words)
        words = ("detect", "flat.keras", "flat.npy", "-o", "v.csv")
        self.refuses(run, folder, "call `adapt` with benign inputs first. Received: ", *words)

    def test_rules(self, run, folder):
        words = ("adapt", "model.keras", "benign.npz", "-o", "new.keras", "--rule")
        self.refuses(run, folder, "benign and adversarial.* Received: only benign", *words, "knn")
        words = ("detect", "costly.keras", "images", "-o", "v.csv", "--false-positive-rate", 0.1)
        message = '"zscore" learns for one false positive rate: .* Received: 0.1$'
        self.refuses(run, folder, message, *words)
        words = ("detect", "guarded.keras", "images", "-o", "v.csv", "--false-positive-rate", 0.01)
        self.refuses(run, folder, "0.01 needs at least 198 benign inputs", *words)

    def test_outputs(self, run, folder):
        image = "images/benign/00.png"
        for out, message in {
            "nowhere/v.csv": "folder that can be written to. Received: nowhere/v.csv$",
            "images": "folder that can be written to. Received: images$",
        }.items():
            self.refuses(run, folder, message, "detect", "guarded.keras", image, "-o", out)
        words = ("redteam", "guarded.keras", image, "-o", "model.keras")
        self.refuses(run, folder, "folder must be one that can be written to", *words)

    def test_tensorflow(self, run, folder, monkeypatch):
        def fail(arguments):
            raise tf.errors.InvalidArgumentError(None, None, "Bad. Received: this")

        monkeypatch.setattr(commands, "detect", fail)
        self.refuses(run, folder, "Received: this$", "detect", "m.keras", "images", "-o", "v.csv")

    def test_another_backend(self, run, folder, monkeypatch):
        monkeypatch.setattr(a2d, "_deferred", True)
        monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
        message = "runs on TensorFlow: .* Received: torch$"
        self.refuses(run, folder, message, "detect", "guarded.keras", "images", "-o", "v.csv")


def test_an_interrupted_run_leaves_the_old_file(run, folder, monkeypatch):
    (folder / "kept.csv").write_text("old")
    before, predict, calls = set(folder.iterdir()), a2d.GuardedModel.predict, []

    def interrupted(self, x, **options):
        calls.append(len(x))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(self, x, **options)

    monkeypatch.setattr(table, "BATCH_SIZE", 8)
    monkeypatch.setattr(a2d.GuardedModel, "predict", interrupted)
    status, printed, error = run("detect", "guarded.keras", "images", "-o", "kept.csv")
    assert (status, printed, calls) == (130, "", [8, 8])
    assert "a2d-keras: interrupted; kept.csv is unchanged" in error
    assert (folder / "kept.csv").read_text() == "old"
    assert set(folder.iterdir()) == before


def test_progress_is_for_people(run, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    _, printed, _ = run("detect", "guarded.keras", "images/benign", "-o", "v.csv", "--json")
    json.loads(printed)
    assert "20/20" in sys.stderr.getvalue()


class TestParser:
    def test_help_shows_examples(self, capsys):
        for words in ([], *([command] for command in COMMANDS)):
            with pytest.raises(SystemExit) as stop:
                cli.main([*words, "--help"])
            printed = capsys.readouterr().out
            assert stop.value.code == 0
            assert max(map(len, printed.splitlines())) <= 100
            examples = re.findall(r"^  (a2d-keras .*)$", printed, re.MULTILINE)
            assert examples
            for example in examples:  # and they are right
                parsed = make_parser().parse_args(example.replace("'", "").split()[1:])
                assert not words or [parsed.command] == words

    def test_every_command_has_a_function(self):
        for command in COMMANDS:
            assert callable(getattr(commands, command))

    def test_every_rule_is_offered(self):
        assert set(parser._RULES) == set(rules.RULES)

    def test_every_statistic_is_offered(self):
        classes = [getattr(a2d.statistics, name) for name in attack_names("statistics")]
        assert a2d.BoundaryDistance in classes
        assert all(issubclass(statistic, a2d.Statistic) for statistic in classes)

    def test_names_take_parameters(self):
        words = ["adapt", "m", "x", "-o", "g.keras", "--attack", "BIM(eps_iter=0.005)"]
        words += ["--statistic", "Margin", "--rule", "knn(k=7)"]
        arguments = make_parser().parse_args(words)
        arguments.exact = True
        margin, cost = commands._chosen_statistics(arguments)
        assert margin == a2d.Margin()
        assert cost == a2d.AttackCost(a2d.BIM(eps_iter=0.005), exact=True)
        assert commands._chosen_rule(arguments).k == 7

    @pytest.mark.parametrize(
        "text",
        ["BIM(__import__('os'))", "BIM(eps_iter=f())", "a.BIM", "BIM(**{})", "BIM(", "", "1", "\0"],
    )
    def test_nothing_is_executed(self, text):
        with pytest.raises(ValueError, match="must be a name, alone or with parameters"):
            calls.parse(text, ["BIM"])

    def test_wrong_parameters_are_refused(self):
        with pytest.raises(ValueError, match=r"BIM does not take .* BIM\(size=2\): .*'size'"):
            calls.parse("BIM(size=2)", ["BIM"]).made(vars(a2d.attacks))

    def test_every_attack_is_offered(self):
        """The import lines are the registry: the command offers exactly what they import."""
        assert {"BIM", "CarliniWagner", "DBA", "FGSM", "PairJSMA"} <= set(attack_names())
        classes = [getattr(a2d.attacks, name) for name in attack_names()]
        assert all(issubclass(attack, a2d.Attack) for attack in classes)


class TestStart:
    """The command reads its arguments before it imports anything slow."""

    @pytest.fixture(scope="class")
    def script(self, tmp_path_factory):
        """The script that an installer makes of the entry point."""
        config = configparser.ConfigParser()
        config.read(ROOT / "setup.cfg")
        name, entry = config["options.entry_points"]["console_scripts"].split("=")
        module, function = entry.strip().split(":")
        path = tmp_path_factory.mktemp("bin") / name.strip()
        path.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
        return path

    def start(self, *words):
        """Run Python; return the status, the output, and the packages imported."""
        run = subprocess.run(
            [sys.executable, "-X", "importtime", *map(str, words)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        lines = run.stderr.splitlines()
        imports = [line for line in lines if line.startswith("import time:")]
        error = "\n".join(line for line in lines if line not in imports)
        return (
            run.returncode,
            run.stdout,
            error,
            {line.rpartition("|")[2].strip().partition(".")[0] for line in imports},
        )

    @pytest.mark.parametrize(
        "module", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["module", "script"]
    )
    @pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)])
    def test_help(self, script, module, words):
        how = ("-m", "a2d_keras") if module else (script,)
        status, printed, error, imports = self.start(*how, *words)
        assert (status, error) == (0, "")
        assert printed.startswith("usage: a2d-keras")
        assert "a2d_keras" in imports
        assert not imports & HEAVY

    @pytest.mark.parametrize("module", [True, False], ids=["module", "script"])
    def test_version(self, script, module):
        how = ("-m", "a2d_keras") if module else (script,)
        status, printed, error, imports = self.start(*how, "--version")
        assert (status, printed, error) == (0, f"a2d-keras {a2d.__version__}\n", "")
        assert not imports & HEAVY

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ([], "arguments are required: COMMAND"),
            (["guess"], "invalid choice: 'guess'"),
            (["detect", "guarded.keras", "images"], "arguments are required: -o/--out"),
            (["adapt", "m.keras", "b.npz", "-o", "guarded.h5"], "end in .keras. Received: "),
            (["cost", "m.keras", "x", "-o", "c.csv", "--attack", "PGD"], "one of BIM, BIM2, "),
            (
                ["adapt", "m", "x", "-o", "g.keras", "--rule", "svm"],
                "fisher, knn, zscore. Received",
            ),
            (["explain", "m.keras", "x", "-o", "why.mp3"], "end in .html, .pdf, .png or .svg"),
            (["cost", "m.keras", "x", "-o", "c.csv", "--bounds", "0"], "expected 2 arguments"),
        ],
    )
    def test_usage_errors(self, script, words, message):
        status, printed, error, imports = self.start(script, *words)
        assert (status, printed) == (2, "")
        assert error.startswith("usage: a2d-keras")
        assert message in error
        assert not imports & HEAVY

    def test_a_command_runs_with_everything_imported(self, script, tmp_path):
        names = {name for name, value in vars(a2d).items() if callable(value) and name[0] != "_"}
        assert {"BIM", "DetectorLayer", "guard"} <= names
        code = script.read_text().replace("sys.exit(", "status = (") + (
            "import a2d_keras, keras\n"
            f"assert {names} <= set(vars(a2d_keras))\n"
            "assert keras.saving.get_registered_object('a2d_keras>GuardedModel')\n"
            "sys.exit(status)\n"
        )
        path = tmp_path / script.name
        path.write_text(code)
        words = ("detect", "missing.keras", path, "-o", tmp_path / "v.csv")
        status, printed, error, _ = self.start(path, *words)
        assert (status, printed) == (2, "")
        assert error.endswith("Received: missing.keras")

    def test_the_module_exits_with_the_status(self, folder, monkeypatch, capsys):
        monkeypatch.chdir(folder)
        words = ["a2d_keras", "detect", "missing.keras", "images", "-o", "v.csv"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            runpy.run_module("a2d_keras", run_name="__main__")
        assert stop.value.code == 2
        assert "Received: missing.keras" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("argv", "orig_argv", "expected"),
        [
            (["/usr/bin/a2d-keras", "--help"], ["python", "/usr/bin/a2d-keras"], True),
            (["a2d-keras.exe"], ["python", "a2d-keras.exe"], True),
            (["-m", "--help"], ["python", "-X", "dev", "-m", "a2d_keras", "--help"], True),
            (["-m"], ["python", "-m", "service", "a2d_keras"], False),
            (["-m"], ["python", "-Im", "service"], False),
            (["a2d-keras.py"], ["python", "a2d-keras.py"], False),
            (["-c", "a2d-keras"], ["python", "-c", "import a2d_keras"], False),
            ([""], ["python"], False),
            ([], [], False),
        ],
    )
    def test_only_the_command_waits(self, monkeypatch, argv, orig_argv, expected):
        """A program that imports the package gets all of it, whatever its own arguments are."""
        for name in [name for name in sys.modules if name.split(".")[:2] == ["a2d_keras", "cli"]]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(sys, "orig_argv", orig_argv)
        assert a2d._starts_command() is expected
