import csv

import numpy as np

from baselines import rq1


def test_runs_on_the_digits(tmp_path, capsys, monkeypatch):
    eight = rq1.defences("digits")
    assert list(eight) == [
        f"{n}_d" for n in ["FGSM", "BIM", "BIM2", "JSMA", "C&W", "L-BFGS", "LSA", "DBA"]
    ]
    assert eight["C&W_d"].max_iterations == 5000
    few = {name: eight[name] for name in ("FGSM_d", "BIM_d", "JSMA_d", "L-BFGS_d")}
    monkeypatch.setattr(rq1, "defences", lambda name: few)  # the others take minutes
    rq1.main(["--limit", "10", "--out", str(tmp_path)])
    assert "digits: 10 correctly classified" in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"iterations.png", "medians.csv", "time.png"}
    with open(tmp_path / "medians.csv") as file:
        rows = {(row["defence"], row["kind"]): row for row in csv.DictReader(file)}
    assert len(rows) == 4 * 5
    assert all(float(row["seconds"]) > 0 for row in rows.values())
    assert {rows["FGSM_d", kind]["steps"] for kind in ("benign", "FGSM", "C&W")} == {"1.0"}
    for kind in ("FGSM", "BIM-a", "JSMA", "C&W"):
        assert float(rows["BIM_d", kind]["steps"]) < float(rows["BIM_d", "benign"]["steps"]) / 2


def test_medians_of_every_defence_and_kind():
    steps = {"benign": {"a": np.array([1, 5, 9])}, "BIM": {"a": np.array([1, 2])}}
    seconds = {"benign": {"a": np.array([0.1, 0.2, 0.9])}, "BIM": {"a": np.array([0.1, 0.3])}}
    first, second = rq1.medians(seconds, steps)
    assert first == {"defence": "a", "kind": "benign", "steps": 5.0, "seconds": 0.2}
    assert second == {"defence": "a", "kind": "BIM", "steps": 1.5, "seconds": 0.2}
