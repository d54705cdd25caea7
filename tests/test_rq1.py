import csv
import dataclasses

import numpy as np
import pytest

from baselines import rq1
from models import registry

pytestmark = pytest.mark.checkout


def run(monkeypatch, tmp_path, names):
    """Run on ten digits with some of the defences; the rows by defence and kind."""
    every = rq1.defences("digits")
    monkeypatch.setattr(rq1, "defences", lambda name: {each: every[each] for each in names})
    rq1.main(["--limit", "10", "--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {
        "iterations.png",
        "medians.csv",
        "time.png",
    }
    with open(tmp_path / "medians.csv") as file:
        rows = {(row["defence"], row["kind"]): row for row in csv.DictReader(file)}
    assert all(float(row["seconds"]) > 0 for row in rows.values())
    return rows


def test_the_eight_defences_are_those_of_the_paper():
    eight = rq1.defences("digits")
    assert list(eight) == [
        f"{n}_d" for n in ["FGSM", "BIM", "BIM2", "JSMA", "C&W", "L-BFGS", "LSA", "DBA"]
    ]
    assert eight["C&W_d"].max_iterations == 5000


def test_the_command_measures_and_writes(tmp_path, capsys, monkeypatch):
    record = registry.RECORDS["digits"]
    attacks = {name: record.settings.attacks[name] for name in ("FGSM", "BIM-a")}
    settings = dataclasses.replace(record.settings, attacks=attacks)
    few = dataclasses.replace(record, settings=settings)
    monkeypatch.setitem(registry.RECORDS, "digits", few)
    rows = run(monkeypatch, tmp_path, ["FGSM_d", "BIM_d"])
    assert "digits: 10 correctly classified" in capsys.readouterr().out
    assert len(rows) == 2 * 3
    assert rows["FGSM_d", "benign"]["steps"] == "1.0"
    assert float(rows["BIM_d", "BIM-a"]["steps"]) < float(rows["BIM_d", "benign"]["steps"]) / 2


@pytest.mark.slow
def test_runs_on_the_digits(tmp_path, monkeypatch):
    rows = run(monkeypatch, tmp_path, ["FGSM_d", "BIM_d", "JSMA_d", "L-BFGS_d"])
    assert len(rows) == 4 * 5
    assert {rows["FGSM_d", kind]["steps"] for kind in ("benign", "FGSM", "C&W")} == {"1.0"}
    for kind in ("FGSM", "BIM-a", "JSMA", "C&W"):
        assert float(rows["BIM_d", kind]["steps"]) < float(rows["BIM_d", "benign"]["steps"]) / 2


def test_medians_of_every_defence_and_kind():
    steps = {"benign": {"a": np.array([1, 5, 9])}, "BIM": {"a": np.array([1, 2])}}
    seconds = {"benign": {"a": np.array([0.1, 0.2, 0.9])}, "BIM": {"a": np.array([0.1, 0.3])}}
    first, second = rq1.medians(seconds, steps)
    assert first == {"defence": "a", "kind": "benign", "steps": 5.0, "seconds": 0.2}
    assert second == {"defence": "a", "kind": "BIM", "steps": 1.5, "seconds": 0.2}
