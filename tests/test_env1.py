import csv
import itertools

import numpy as np
import pytest

from baselines import env1, report


def test_runs_on_the_digits(tmp_path, capsys):
    env1.main(["--dataset", "digits", "--limit", "30", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "digits: 30 correctly classified test inputs" in printed
    assert {path.name for path in tmp_path.iterdir()} == {
        "auroc.csv",
        "boxes.png",
        "costs.csv",
        "histograms.png",
    }
    with open(tmp_path / "costs.csv") as file:
        costs = list(csv.DictReader(file))
    assert len(costs) == 30
    assert len(costs[0]) == 5 * 4
    with open(tmp_path / "auroc.csv") as file:
        rows = list(csv.DictReader(file))
    attacks, defences = ["FGSM", "BIM-a", "JSMA", "C&W"], ["JSMA_d", "BIM_d", "BIM2_d", "DBA_d"]
    expected = list(itertools.product(attacks, defences))
    assert [(row["attack"], row["defence"]) for row in rows] == expected
    for row in rows:
        easy = row["attack"] in ("BIM-a", "C&W") and row["defence"] != "DBA_d"
        assert float(row["auroc"]) > (0.95 if easy else 0.65)
        assert f"{float(row['auroc']):.4f}" in printed
        assert float(row["adversarial_cost"]) < float(row["benign_cost"])
        column = [int(one[f"benign {row['defence']}"]) for one in costs]
        assert np.mean(column) == pytest.approx(float(row["benign_cost"]), abs=1e-4)


def test_auroc_counts_every_example_and_ties_by_half():
    costs = {"benign": {"d": np.array([5, 9])}, "a": {"d": np.array([1, 5])}}
    (row,) = env1.compare(costs, {"a": 0.5})
    assert row["auroc"] == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert (row["benign_cost"], row["adversarial_cost"], row["fooled"]) == (7, 3, 0.5)


def test_table_has_a_row_for_each_attack_and_a_column_for_each_defence():
    rows = [
        {"attack": a, "defence": d, "auroc": 0.5 + i / 10, "fooled": 1.0}
        for i, (a, d) in enumerate([("A", "x"), ("A", "y"), ("B", "x"), ("B", "y")])
    ]
    lines = [line.replace(" ", "") for line in report.table(rows).splitlines()]
    assert lines[0] == "|AUROC|fooled|x|y|"
    assert lines[2:] == ["|A|100.0%|0.5000|0.6000|", "|B|100.0%|0.7000|0.8000|"]


def test_settings_are_table_5():
    mnist, cifar10 = env1.SETTINGS["mnist"], env1.SETTINGS["cifar10"]
    assert mnist.attacks["FGSM"].eps == 0.3
    assert (mnist.attacks["BIM-a"].eps, mnist.attacks["BIM-a"].eps_iter) == (0.3, 0.01)
    assert cifar10.attacks["FGSM"].eps == 0.05
    assert (cifar10.attacks["BIM-a"].eps, cifar10.attacks["BIM-a"].eps_iter) == (0.05, 0.005)
