import dataclasses
import pathlib

import pandas as pd
import pytest

from baselines import label_only
from models.registry import RECORDS

pytestmark = pytest.mark.checkout

COSTS = pathlib.Path(__file__).parent.parent / "docs" / "env1" / "digits" / "costs.csv"


def run(folder, capsys, costs=COSTS):
    """Run on the digits; the cells of each row of the table."""
    words = ["--dataset", "digits", "--costs", str(costs), "--examples", str(folder / "examples")]
    label_only.main(words)
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "[" in line]
    return {row[1].strip(): [cell.strip() for cell in row[2:]] for row in rows}


def test_the_command_compares_on_the_second_half(tmp_path, capsys, monkeypatch):
    record = RECORDS["digits"]
    settings = dataclasses.replace(
        record.settings, attacks={"BIM-a": record.settings.attacks["BIM-a"]}
    )
    monkeypatch.setitem(RECORDS, "digits", dataclasses.replace(record, settings=settings))
    monkeypatch.setattr(label_only, "LIMIT", 40)
    pd.read_csv(COSTS)[:40].to_csv(tmp_path / "costs.csv")
    ((attack, (ours, theirs, queries, *_)),) = run(tmp_path, capsys, tmp_path / "costs.csv").items()
    assert attack == "BIM-a"
    assert float(ours.split()[0]) > 0.8
    assert float(theirs.split()[0]) > 0.8
    assert int(queries) <= 200


@pytest.mark.slow
def test_few_queries_see_what_a_boundary_attack_sees(tmp_path, capsys):
    rows = run(tmp_path, capsys)
    assert list(rows) == ["FGSM", "BIM-a", "JSMA", "C&W"]
    for attack, (ours, theirs, queries, *_) in rows.items():
        assert float(ours.split()[0]) >= float(theirs.split()[0]) - 0.05, attack
        assert int(queries) <= 200
