import argparse
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import a2d_keras as a2d
from baselines.comparison import Options
from baselines.comparison.checkpoints import Checkpoints
from baselines.comparison.core import Comparison
from baselines.env2 import __main__ as command
from baselines.env2 import black_box, photographs, settings, tables, writing
from baselines.env2.__main__ import main
from baselines.env2.black_box import BlackBox, BlackBoxAsCoded
from baselines.env2.paper import AS_CODED, FIGURES, of_attack
from baselines.mutation_testing.sequential import benign_rate, sequential_test
from models import imagenet, registry, zoo
from models.record import Dataset

pytestmark = pytest.mark.checkout

DEFENCES = ["JSMA_d", "BIM_d", "BIM2_d", "DBA_d"]


@pytest.fixture(scope="module")
def empty():
    x, y = np.zeros((300, 8, 8, 1), "float32"), np.zeros(300, int)
    return Dataset(x, y, x, y)


@pytest.fixture(scope="module")
def found(measurements, evaluated):
    """A part with the votes of 60 mutants as BL3, in the place of BL2."""
    generator = np.random.default_rng(0)
    rates = {kind: 0.03 if "noisy" in kind or kind == "benign" else 0.5 for kind in _kinds()}
    votes = {kind: generator.random((60, 60)) < rate for kind, rate in rates.items()}
    votes = {kind: each.astype("float64") for kind, each in votes.items()}
    characteristics = measurements.characteristics | {"BL3": votes}
    changed = measurements._replace(characteristics=characteristics)
    scores, computed = evaluated
    row = {"FGSM": {"BIM_d": 0.5, "BL9": 0.5}}
    options = Options(published=FIGURES["mnist"]._replace(table_2=row))
    return {"sound": Comparison(computed, scores, {}, changed, options)}


def _kinds():
    attacks = registry.find("digits").settings.attacks
    return ["benign", *attacks, *(f"noisy {attack}" for attack in attacks)]


def test_parts_are_the_attacks_of_table_6_in_both_forms(empty):
    sound, coded = settings.parts("mnist", empty, 500)
    assert [*sound.attacks] == ["FGSM", "FGSM 0.108", "JSMA", "DeepFool", "C&W", "BB"]
    assert [name.removesuffix(AS_CODED) for name in coded.attacks] == [
        *("FGSM", "JSMA", "DeepFool", "C&W", "BB")
    ]
    assert [*sound.detectors] == [
        *(*DEFENCES, "default", "BoundaryDistance", "BL1", "BL2", "BL3", "BL4"),
        *("BL3 GF", "BL3 WS", "BL3 NS"),
    ]
    assert sound.published.table_2 == {}
    assert coded.published.table_2["BB as coded"]["BL3"] == 0.9677
    assert sound.limit == coded.limit == 500


def test_few_photographs_of_cifar10_meet_the_slow_defence(empty):
    most, few = settings.parts("cifar10", empty, 500)
    assert (most.limit, few.limit, [*few.detectors]) == (500, 100, ["DBA_d"])
    assert "DBA_d" not in most.detectors
    assert "BL3 GF" not in most.detectors
    assert most.detectors["BL3"].keywords == {"rate": 0.005}


@pytest.mark.slow
def test_guards_learn_from_training_inputs(model, digits, classifier):
    right = settings._training(classifier, digits)
    assert len(right) > 900
    made = settings.guards(settings._training)["default"](model, digits)
    assert made.characteristics(digits.x_test[:3]).shape == (3, 1)


def test_the_papers_rows_are_found_under_both_names():
    row = of_attack(FIGURES["mnist"], "C&W as coded")
    assert row == of_attack(FIGURES["mnist"], "C&W")
    assert (row["DBA_d"], row["BL3"]) == (0.8672, 0.9576)
    assert of_attack(FIGURES["cifar10"], "BB") == {}
    assert FIGURES["imagenet"].table_2["FGSM"]["BL4"] == 0.9617
    assert FIGURES["mnist"].table_3["BL3"] == (None, 66, 0.964, 463)


def test_cells_stand_beside_the_papers(found, evaluated):
    _, computed = evaluated
    rows = tables.cells(found)
    assert len(rows) == 1  # the paper's other detector was not measured
    expected = computed["auroc_paper"].set_index(["attack", "detector"])["auroc"]["FGSM", "BIM_d"]
    assert rows["ours"].item() == expected
    assert rows["difference"].item() == pytest.approx(expected - 0.5)
    assert rows["explain"].item() == (abs(expected - 0.5) > 0.02)


def test_table_3_has_both_forms_of_the_sequential_test(found):
    comparison = found["sound"]
    rows = tables.table_3(comparison).set_index("defence")
    assert list(rows.index) == [*DEFENCES, "BL3 as coded", "BL3 sound"]
    votes = comparison.measurements.characteristics["BL3"]
    threshold = benign_rate(votes["benign"].mean(axis=1))
    benign = sequential_test(votes["benign"] == 1, threshold)
    row = rows.loc["BL3 sound"]
    assert row["threshold"] == threshold
    assert row["benign_steps"] == benign.used.mean()
    assert row["benign_accuracy"] == 1 - benign.is_adversarial.mean()
    fooled = comparison.measurements.test.fooled
    attacked = [sequential_test(votes[k][rows] == 1, threshold) for k, rows in fooled.items()]
    flagged = np.concatenate([each.is_adversarial for each in attacked])
    assert row["adversarial_accuracy"] == flagged.mean() > 0.9
    figure = tables.figure_6(comparison).set_index("defence").loc["BL3 sound"]
    assert figure["FGSM"] == attacked[0].is_adversarial.mean()


def test_price_is_queries_or_passes(found):
    rows = tables.price(found).set_index("detector")
    steps = found["sound"].tables["table_3"].set_index("defence")
    assert rows.loc["BIM_d", "benign_passes"] == steps.loc["BIM_d", "benign_queries"]
    assert rows.loc["BL1", "benign_passes"] == rows.loc["BL1", "adversarial_passes"] == 50
    assert "END" not in rows.index


def test_the_report_holds_every_table(found, tmp_path):
    computed = tables.compute(found)
    assert [*computed] == ["table_2", "cells", "table_3", "figure_6", "price"]
    writing.write(tmp_path / "new", {"suite": "Env2"}, computed)
    text = (tmp_path / "new" / "tables.md").read_text()
    assert "| BL3 as coded" in text
    assert "Table 2 cell by cell" in text
    assert pd.read_csv(tmp_path / "new" / "cells.csv")["paper"].item() == 0.5
    assert (tmp_path / "new" / "results.json").exists()


def test_operators_have_a_table_of_their_own(found):
    comparison = found["sound"]
    renamed = {
        name: table.assign(detector=table["detector"].replace({"BIM_d": "BL3", "DBA_d": "BL3 GF"}))
        for name, table in comparison.tables.items()
        if name.startswith("auroc")
    }
    rows = tables.operators({"sound": dataclasses.replace(comparison, tables=renamed)})
    assert {*rows["operator"]} == {"NAI", "GF"}


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_says_how_to_train_what_is_missing(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    with pytest.raises(SystemExit):
        main(["--dataset", name, "--out", str(tmp_path / "out")])
    trained = settings.CLASSIFIERS[name]
    assert f"train them with `python -m models.train {trained}`" in capsys.readouterr().err


@pytest.fixture
def compared(found, monkeypatch):
    """The calls of the command to `compare`, each of which returns the made-up part at once."""
    calls = []
    names = ("date", "versions", "digests", "test accuracy")
    about = {**dict.fromkeys(names, "made up"), "seconds of all checkpoints": 7}

    def compare(work, data, **rest):
        calls.append(argparse.Namespace(work=work, data=data, **rest))
        return dataclasses.replace(found["sound"], about=about)

    monkeypatch.setattr(command, "compare", compare)
    return calls


def test_the_command_compares_every_part(compared, digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(settings.CLASSIFIERS, "mnist", "digits")
    words = ["--limit", "50", "--out", str(tmp_path)]
    main(words)
    printed = capsys.readouterr().out
    for name, call in zip(("sound", "as_coded"), compared, strict=True):
        assert call.out == tmp_path / name
        assert (call.options.limit, call.options.fooled_only) == (50, True)
        assert call.options.about["command"] == f"python -m baselines.env2 {' '.join(words)}"
        assert f"{name}: {', '.join(call.attacks)}" in printed
        np.testing.assert_array_equal(call.data.x_test, digits.x_test)
    assert compared[1].options.about["title"].endswith(", as coded")
    about = json.loads((tmp_path / "results.json").read_text())["about"]
    assert about["seconds of parts"] == {"sound": 7, "as_coded": 7}
    assert about["test accuracy"] == "made up"
    assert (tmp_path / "tables.md").read_text() in printed
    assert "14 s of work" in printed


def test_the_command_takes_photographs(compared, model, digits, tmp_path, monkeypatch):
    x, y = digits.x_test[:120], digits.y_test[:120]
    monkeypatch.setattr(imagenet, "load", lambda name, data_dir: model)
    monkeypatch.setattr(imagenet, "photographs", lambda data_dir: (x, y))
    main(["--dataset", "imagenet", "--limit", "60", "--out", str(tmp_path)])
    assert [call.out.name for call in compared] == ["quick", "slow", "dba"]
    assert [call.options.limit for call in compared] == [60, 40, 40]
    for call in compared:
        assert call.options.about["title"].startswith("imagenet-mobilenet, ")
        assert call.work.classifier.model is model
        assert len(call.data.x_train) == 0
        np.testing.assert_array_equal(call.data.x_test, x)


def test_refuses_too_few_inputs(capsys):
    with pytest.raises(SystemExit):
        main(["--limit", "39"])
    assert "at least 40 test inputs. Received: 39" in capsys.readouterr().err


def test_costs_of_photographs_are_kept_a_few_at_a_time(classifier, benign, tmp_path, monkeypatch):
    monkeypatch.setattr(photographs, "_TOGETHER", 15)
    examples = argparse.Namespace(classifier=classifier)
    work = photographs.Shared(examples, Checkpoints(tmp_path))
    attack, fields = a2d.FGSM(eps=0.1), {"steps": "cost", "x": "adversarial"}
    found = work.attack("benign", attack, benign[:40], fields)
    assert len(list(tmp_path.glob("benign *.h5"))) == 3
    expected = attack(classifier, benign[:40]).adversarial
    np.testing.assert_allclose(found["x"], expected, atol=1e-6)


def test_photographs_have_parts_of_three_sizes(classifier, digits):
    quick, slow, last = photographs.parts(classifier, digits.x_test[:100], 200)
    assert [[*part.attacks] for part in (quick, slow)] == [["FGSM", "DeepFool"], ["JSMA", "C&W"]]
    assert [part.limit for part in (quick, slow, last)] == [200, 40, 40]
    assert [*quick.detectors] == [*DEFENCES[:3], "default", "BoundaryDistance", "BL2"]
    assert [*last.detectors] == ["DBA_d"]


@pytest.mark.parametrize("kind", [BlackBox, BlackBoxAsCoded])
def test_the_black_box_attack_steps_along_its_substitute(
    kind, classifier, digits, benign, monkeypatch
):
    monkeypatch.setitem(black_box._TRAINING, "epochs", 1)
    attack = kind(seeds=digits.x_test[-20:], eps=0.4, rounds=0)
    found = attack(classifier, benign)
    change = np.abs(found.adversarial - benign).max(axis=(1, 2, 3))
    if kind is BlackBox:
        np.testing.assert_allclose(change, 0.4, atol=1e-6)
    else:
        assert (change > 0.05).all()
        assert (np.ptp(found.adversarial, axis=(1, 2, 3)) == 1).all()  # stretched
    labels, own = (classifier.logits(x).numpy().argmax(-1) for x in (found.adversarial, benign))
    assert (labels != own)[found.success].all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [BlackBox, BlackBoxAsCoded])
def test_the_black_box_attack_transfers(kind, classifier, digits, benign):
    attack = kind(seeds=digits.x_test[-200:], eps=0.4 if kind is BlackBox else 1.3, rounds=1)
    found = attack(classifier, benign)
    assert found.adversarial.shape == benign.shape
    assert found.success.mean() > 0.2
    labels = np.asarray(classifier.logits(found.adversarial)).argmax(axis=-1)
    own = np.asarray(classifier.logits(benign)).argmax(axis=-1)
    assert (labels != own)[found.success].all()
    assert repr(attack) == repr(kind(seeds=digits.x_test[-200:], eps=attack.eps, rounds=1))
    assert repr(attack) != repr(kind(seeds=digits.x_test[-199:], eps=attack.eps, rounds=1))
