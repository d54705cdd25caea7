import pathlib

import pytest

from baselines.label_only import main

pytestmark = [pytest.mark.checkout, pytest.mark.slow]

ENV1 = pathlib.Path(__file__).parent.parent / "docs" / "env1"


def test_few_queries_see_what_a_boundary_attack_sees(tmp_path, capsys):
    costs = ENV1 / "digits" / "costs.csv"
    main(["--dataset", "digits", "--costs", str(costs), "--examples", str(tmp_path)])
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "[" in line]
    assert [row[1].strip() for row in rows] == ["FGSM", "BIM-a", "JSMA", "C&W"]
    for _, attack, ours, theirs, queries, *_ in rows:
        assert float(ours.split()[0]) >= float(theirs.split()[0]) - 0.05, attack
        assert int(queries) <= 200
