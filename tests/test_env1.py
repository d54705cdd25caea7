import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

import a2d_keras as a2d
from baselines.base import RegressionBaseline
from baselines.comparison import (
    Comparison,
    Halves,
    Options,
    accuracy,
    compare,
    output,
    protocols,
)
from baselines.comparison.ensembles import adversarial_steps, flags, nearest_neighbors, z_score
from baselines.comparison.labels import correctly_classified
from baselines.env1 import __main__ as command
from baselines.env1.__main__ import main
from baselines.env1.settings import FIGURE_3, LABELS, detectors
from baselines.registry import BASELINES
from models import zoo
from models.registry import RECORDS

pytestmark = pytest.mark.checkout

ATTACKS = ["FGSM", "BIM-a", "JSMA", "C&W"]
DEFENCES = ["JSMA_d", "BIM_d", "BIM2_d", "DBA_d"]
DETECTORS = [*DEFENCES, "END", "Z-score", "BL1", "BL1 + noisy", "BL2", "BL2 + noisy"]
OF_ENV2 = ["BL3", "BL3 + noisy", "BL4", "BL4 + noisy"]


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(protocols, "RESAMPLES", 30)  # intervals are not tested


def test_settings_are_table_5():
    mnist, cifar10 = RECORDS["mnist"].settings, RECORDS["cifar10"].settings
    assert mnist.attacks["FGSM"].eps == 0.3
    assert (mnist.attacks["BIM-a"].eps, mnist.attacks["BIM-a"].eps_iter) == (0.3, 0.01)
    assert cifar10.attacks["FGSM"].eps == 0.05
    assert (cifar10.attacks["BIM-a"].eps, cifar10.attacks["BIM-a"].eps_iter) == (0.05, 0.005)
    bandwidths = [each.baselines["KD+BU"]["bandwidth"] for each in (mnist, cifar10)]
    assert bandwidths == [1.20, 0.26]
    for record in RECORDS.values():
        settings = record.settings
        assert (list(settings.attacks), list(settings.defences)) == (ATTACKS, DEFENCES)


@pytest.mark.slow
def test_auroc_is_scikit_learns_and_its_interval_covers():
    generator = np.random.default_rng(0)
    negative = generator.integers(0, 30, 300)  # with ties
    positive = generator.integers(10, 40, 200)
    found = protocols.auroc(negative, positive)
    labels = np.repeat([0, 1], [300, 200])
    expected = roc_auc_score(labels, np.append(negative, positive))
    assert found["auroc"] == pytest.approx(expected, abs=1e-12)
    resampled = [
        roc_auc_score(
            labels, np.append(generator.choice(negative, 300), generator.choice(positive, 200))
        )
        for _ in range(500)
    ]
    assert (found["low"], found["high"]) == pytest.approx(
        np.percentile(resampled, [2.5, 97.5]), abs=0.006
    )
    assert found == protocols.auroc(negative, positive)


def test_correctly_classified_inputs_come_in_order(model, digits):
    predicted = model.predict(digits.x_test, verbose=0).argmax(-1)
    right = digits.x_test[predicted == digits.y_test]
    found = correctly_classified(model, digits.x_test, digits.y_test, 50)
    np.testing.assert_array_equal(found, right[:50])


@pytest.mark.slow
def test_paper_protocol_counts_all_and_scores_what_it_fitted(measurements):
    protocol = protocols.paper(measurements)
    count = len(measurements.test.inputs["benign"])
    scores = protocols.score(measurements, protocol)["JSMA"]
    assert list(scores) == DETECTORS
    lengths = {
        name: (len(negative), len(positive)) for name, (negative, positive) in scores.items()
    }
    fifth = count - count * 4 // 5
    assert lengths["BIM_d"] == lengths["END"] == lengths["BL1"] == (count, count)
    assert lengths["BL1 + noisy"] == (2 * count, count)
    assert lengths["BL2"] == (fifth, fifth)
    steps = measurements.test.steps
    np.testing.assert_array_equal(scores["BIM_d"][0], -steps["benign"]["BIM_d"])
    np.testing.assert_array_equal(scores["BIM_d"][1], -steps["JSMA"]["BIM_d"])


def test_lid_is_split_in_blocks_of_100(measurements):
    many = {"benign": np.zeros((587, 1))}
    test = measurements.test._replace(inputs=many)
    fitted, scored = protocols.paper(measurements._replace(test=test)).splits["BL2"]
    assert (fitted.sum(), scored.sum()) == (400, 187)
    assert fitted[:400].all()


@pytest.mark.slow
def test_held_out_protocol_scores_nothing_it_was_fitted_on(measurements):
    protocol = protocols.held_out(measurements)
    for fitted, scored in protocol.splits.values():
        assert not (fitted & scored).any()
    fooled = measurements.test.fooled["JSMA"]
    assert 0 < fooled.sum() < len(fooled)
    scores = protocols.score(measurements, protocol)["JSMA"]
    half = len(fooled) // 2
    for name in ("BIM_d", "END", "Z-score", "BL1", "BL2"):
        assert len(scores[name][0]) == len(fooled) - half
        assert len(scores[name][1]) == fooled[half:].sum()
    # Scored inputs take no part in the fit, so other scored rows do not change the scores.
    other = {kind: values.copy() for kind, values in measurements.characteristics["BL1"].items()}
    other["JSMA"][half + 1 :] += 100
    characteristics = measurements.characteristics | {"BL1": other}
    changed = measurements._replace(characteristics=characteristics)
    again = protocols.score(changed, protocol)["JSMA"]
    np.testing.assert_array_equal(again["BL1"][0], scores["BL1"][0])


def test_end_is_fitted_on_what_fooled_where_only_that_counts(measurements):
    training = measurements.training
    fooled = sum(each.sum() for each in training.fooled.values())
    assert len(adversarial_steps(training, fooled_only=True)) == fooled
    assert (
        len(adversarial_steps(training)) == sum(len(f) for f in training.fooled.values()) > fooled
    )
    assert len(adversarial_steps(training, attacks=["JSMA"])) == len(training.fooled["JSMA"])


@pytest.mark.slow
def test_transfer_fits_on_one_attack(evaluated):
    _, tables = evaluated
    rows = tables["transfer"]
    assert len(rows) == (1 + 3 * 4) * 4
    held_out = tables["auroc_held_out"].set_index(["attack", "detector"])["auroc"]
    for row in rows.itertuples():
        if row.detector == "Z-score" or (row.detector != "END" and row.fitted_on == row.attack):
            assert row.auroc == held_out[row.attack, row.detector]


def test_figure_3_is_the_distance_of_means(measurements):
    matrix = accuracy.figure_3(measurements, FIGURE_3)
    assert matrix.shape == (10, 10)
    assert list(matrix) == list(matrix.index)
    benign = np.array_split(measurements.test.steps["benign"]["JSMA_d"], 2)[1].mean()
    deepfool = np.array_split(measurements.extra_steps["DeepFool"], 2)[0].mean()
    assert matrix.loc["benign 2", "DeepFool 1"] == pytest.approx(abs(benign - deepfool))


def test_figure_6_is_the_share_that_is_right(measurements):
    rows = accuracy.figure_6(measurements).set_index(["detector", "defence"])
    assert len(rows) == 2 * 5
    steps = measurements.test.steps
    z = z_score(measurements.training.steps["benign"].to_numpy()[:, [1]])
    for kind, flagged in (("benign", False), ("C&W", True)):
        right = flags(z, steps[kind][["BIM_d"]].to_numpy()) == flagged
        assert rows.loc[("Z-score", "BIM_d"), kind] == right.mean()
    row = rows.loc[("K-NN", "ensemble")]
    assert row["mean"] == pytest.approx(row[["benign", *ATTACKS]].mean())


def test_table_3_keeps_the_benign_accuracy(measurements):
    rows = accuracy.table_3(measurements, 0.9).set_index("defence")
    assert list(rows.index) == DEFENCES
    for name, row in rows.iterrows():
        benign = measurements.test.steps["benign"][name]
        assert row["benign_accuracy"] == (benign >= row["threshold"]).mean() >= 0.9
        assert (benign >= row["threshold"] + 1).mean() < 0.9
        assert row["benign_steps"] == benign.mean()
        adversarial = np.concatenate([measurements.test.steps[a][name] for a in ATTACKS])
        assert row["adversarial_accuracy"] == (adversarial < row["threshold"]).mean()


def test_table_7_varies_one_parameter_at_a_time(measurements):
    rows = accuracy.table_7(measurements)
    figure_6 = accuracy.figure_6(measurements).set_index(["detector", "defence"])
    for detector, value in (("K-NN", "1:1"), ("Z-score", -1.281552), ("Z-score", 2)):
        row = rows[rows["value"] == value].iloc[0]
        assert row["benign_accuracy"] == figure_6.loc[(detector, "ensemble"), "benign"]
    z = rows[rows["parameter"] == "z"]["benign_accuracy"]
    assert z.is_monotonic_increasing


def test_neighbors_are_a_twentieth_of_the_examples():
    steps = np.arange(200)[:, None]
    assert nearest_neighbors(steps + 500, steps).n_neighbors == 20


def test_summary_and_tables_agree(evaluated):
    _, tables = evaluated
    text = output.summary(tables)
    for row in tables["auroc_held_out"].itertuples():
        assert f"{row.auroc:.4f} [{row.low:.3f}, {row.high:.3f}]" in text


@pytest.fixture(scope="module")
def few_settings():
    """Env1 of digits with two attacks, two defences and quick baselines."""
    settings = RECORDS["digits"].settings
    return dataclasses.replace(
        settings,
        attacks={name: settings.attacks[name] for name in ("FGSM", "BIM-a")},
        defences=dict.fromkeys(("BIM_d", "again_d"), settings.defences["BIM_d"]),
        baselines={
            "KD+BU": {"passes": 2, "bandwidth": 0.3},
            "mutation testing": {"mutants": 5},
            "Dissector": {"epochs": 1},
        },
    )


@pytest.fixture
def few_inputs(monkeypatch, few_settings, few_resamples):
    record = dataclasses.replace(RECORDS["digits"], settings=few_settings)
    monkeypatch.setitem(RECORDS, "digits", record)
    bim = few_settings.attacks["BIM-a"]
    halves = Halves("BIM_d", ("benign", "BIM-a", "DeepFool"), {"DeepFool": bim})
    monkeypatch.setattr("baselines.env1.__main__.FIGURE_3", halves)


class Toy(RegressionBaseline):
    """Judges an input by its mean and its spread."""

    name = "toy"
    scaler = StandardScaler

    def parameters(self):
        return {}

    def characteristics(self, x, *, benign=None):
        return np.stack([np.mean(x, (1, 2, 3)), np.std(x, (1, 2, 3))], axis=1).astype("float64")

    def state(self):
        return {}

    @classmethod
    def restore(cls, model, state):
        return cls(model)


@pytest.mark.slow
@pytest.mark.usefixtures("few_inputs")
def test_a_data_set_and_a_baseline_need_nothing_but_their_registries(tmp_path, monkeypatch):
    settings = RECORDS["digits"].settings
    settings = dataclasses.replace(settings, attacks={"BIM-a": settings.attacks["BIM-a"]})
    toy = dataclasses.replace(RECORDS["digits"], title="a toy", epochs=1, settings=settings)
    monkeypatch.setitem(RECORDS, "toy", toy)
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    monkeypatch.setattr(zoo, "MANIFEST", tmp_path / "manifest.json")
    monkeypatch.setitem(BASELINES, "toy", Toy)
    main(["--dataset", "toy", "--limit", "40", "--out", str(tmp_path / "out")])
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["about"]["title"] == "a toy"
    assert {"toy", "toy + noisy"} <= {row["detector"] for row in results["auroc_held_out"]}
    assert "| toy " in (tmp_path / "out" / "tables.md").read_text()


def test_the_command_compares_what_the_record_says(
    evaluated, measurements, tmp_path, monkeypatch, capsys
):
    scores, tables = evaluated
    given = {}

    def record(model, data, **rest):
        given.update(rest, model=model)
        seconds = {"seconds of all checkpoints": 7, "seconds of the last run": 3}
        return Comparison(tables, scores, seconds, measurements, rest["options"])

    monkeypatch.setattr(command, "compare", record)
    (tmp_path / "report.html").touch()
    words = ["--limit", "40", "--out", str(tmp_path)]
    main(words)
    settings, options = RECORDS["digits"].settings, given["options"]
    assert given["model"].name == "digits"
    assert (given["attacks"], given["out"]) == (settings.attacks, tmp_path)
    assert [*given["detectors"]] == [*detectors(settings)]
    assert (options.limit, options.benign_accuracy) == (40, settings.benign_accuracy)
    assert options.about["command"] == f"python -m baselines.env1 {' '.join(words)}"
    printed = capsys.readouterr().out
    assert output.summary(tables) in printed
    assert "report.html\n7 s of work, 3 s now" in printed


@pytest.mark.slow
@pytest.mark.usefixtures("few_inputs")
def test_the_command_writes_everything_and_keeps_it(tmp_path, capsys):
    words = ["--limit", "40", "--out", str(tmp_path)]
    main(words)
    printed = capsys.readouterr().out
    checkpoints = sorted((tmp_path / "checkpoints").glob("*.h5"))
    assert f"{checkpoints[0].stem}: computed in" in printed
    assert f": computing (piece {len(checkpoints)} of {len(checkpoints)})\n" in printed
    assert {path.name for path in tmp_path.iterdir()} == {
        *("boxes.png", "checkpoints", "costs.csv", "figure_3.png", "histograms.png"),
        *("missed.png", "pictures.png", "report.html", "results.json", "tables.md"),
        *("roc_held_out.png", "roc_paper.png"),
    }
    results = json.loads((tmp_path / "results.json").read_text())
    about = results["about"]
    assert about["suite"] == "Env1"
    assert about["command"] == f"python -m baselines.env1 {' '.join(words)}"
    assert about["test inputs"] == 40
    assert list(about["attacks"]) == ["FGSM", "BIM-a"]
    assert about["baselines"]["BL1"]["passes"] == 2
    rows = pd.DataFrame(results["auroc_paper"])
    assert rows["detector"].unique().tolist() == ["BIM_d", "again_d", *DETECTORS[4:], *OF_ENV2]
    easy = rows[(rows["attack"] == "BIM-a") & (rows["detector"] == "BIM_d")]
    assert easy["auroc"].item() > 0.95
    assert f"{easy['auroc'].item():.4f}" in printed
    assert pd.read_csv(tmp_path / "costs.csv").shape == (40, 3 * 2)

    checkpoints[0].write_bytes(checkpoints[0].read_bytes()[:-1])
    main(words)
    printed = capsys.readouterr().out
    assert f"{checkpoints[0].stem}: {checkpoints[0].name} is damaged" in printed
    for path in checkpoints[1:]:
        assert f"{path.stem}: kept" in printed
    again = json.loads((tmp_path / "results.json").read_text())
    assert _untimed(again) == _untimed(results)


@pytest.mark.parametrize("kept", [pytest.param("defences", marks=pytest.mark.slow), "baselines"])
def test_compares_any_detectors(model, digits, few_settings, few_resamples, tmp_path, kept):
    every = detectors(few_settings)
    chosen = [n for n in every if (n in few_settings.defences) == (kept == "defences")]
    found = compare(
        a2d.Classifier(model),
        digits,
        attacks={"BIM-a": few_settings.attacks["BIM-a"]},
        detectors={name: every[name] for name in chosen},
        out=tmp_path,
        options=Options(limit=40),
    )
    assert {*chosen} <= {*found.tables["auroc_held_out"]["detector"]}
    taught = found.tables["transfer"].groupby("detector")["fitted_on"].unique()
    assert all(taught[name].tolist() == ["BIM-a"] for name in {"BL1", "BL2"} & {*chosen})
    assert all(taught[name].tolist() == ["none"] for name in {"BL3", "BL4"} & {*chosen})
    assert ("table_3" in found.tables) == (kept == "defences")
    assert "figure_3" not in found.tables
    names = {path.name for path in tmp_path.iterdir()}
    assert ("boxes.png" in names) == ("costs.csv" in names) == (kept == "defences")
    page = (tmp_path / "report.html").read_text()
    assert ("Table 3" in page) == (kept == "defences")
    assert "Figure 3" not in page
    assert ("Table 3" in (tmp_path / "tables.md").read_text()) == (kept == "defences")


def test_every_baseline_is_in_env1_under_the_name_of_the_paper():
    found = detectors(RECORDS["mnist"].settings)
    assert list(found) == [*DEFENCES, *sorted(LABELS.get(name, name) for name in BASELINES)]
    assert [name for name in found if name in LABELS.values()] == ["BL1", "BL2", "BL3", "BL4"]
    assert found["BL1"].keywords == {"bandwidth": 1.2}


def test_options_refuse_too_few_inputs():
    with pytest.raises(ValueError, match="`limit` must be a whole number, at least 40. Received"):
        Options(limit=39)


def _untimed(results):
    """Leave out what differs between two runs: when they were, and how long they took."""
    overview = [{**row, "milliseconds": None} for row in results["overview"]]
    return {**results, "overview": overview, "about": None}


@pytest.mark.slow
def test_runs_on_the_digits_and_continues_after_a_kill(tmp_path, capsys, few_resamples):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "baselines.env1", "--limit", "40", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoints = out / "checkpoints"
    while process.poll() is None and len(list(checkpoints.glob("*.h5"))) < 12:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = sorted(path.stem for path in checkpoints.glob("*.h5"))
    damaged = checkpoints / f"{kept[0]}.h5"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    main(command[3:])
    printed = capsys.readouterr().out
    assert f"{kept[0]}: {kept[0]}.h5 is damaged" in printed
    for name in kept[1:]:
        assert f"{name}: kept" in printed
    results = json.loads((out / "results.json").read_text())
    main([*command[3:-1], str(tmp_path / "undisturbed")])
    undisturbed = json.loads((tmp_path / "undisturbed" / "results.json").read_text())
    assert _untimed(results) == _untimed(undisturbed)
    assert results["about"]["test inputs"] == 40
    rows = pd.DataFrame(results["auroc_paper"])
    assert rows["attack"].unique().tolist() == ATTACKS
    assert rows["detector"].unique().tolist() == [*DETECTORS, *OF_ENV2]
    for row in rows.itertuples():
        assert f"{row.auroc:.4f}" in printed
    easy = rows["attack"].isin(["BIM-a", "C&W"]) & rows["detector"].isin(["BIM_d", "BIM2_d"])
    assert (rows[easy]["auroc"] > 0.95).all()
    costs = pd.read_csv(out / "costs.csv")
    assert costs.shape == (40, 5 * 4)
    table_3 = pd.DataFrame(results["table_3"]).set_index("defence")
    assert table_3.loc["BIM_d", "benign_steps"] == pytest.approx(costs["benign BIM_d"].mean())


def test_refuses_too_few_inputs(capsys):
    with pytest.raises(SystemExit):
        main(["--limit", "10"])
    assert "at least 40 test inputs" in capsys.readouterr().err
