import numpy as np
import pytest

from a2d_keras import BIM, FGSM
from baselines import step_sizes
from baselines.comparison import protocols

pytestmark = pytest.mark.checkout


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(protocols, "RESAMPLES", 30)  # intervals are not tested


def run(capsys):
    """Run on 40 digits; the columns of the table."""
    step_sizes.main(["--limit", "40"])
    heading, _, *lines = capsys.readouterr().out.splitlines()[2:]
    names = [cell.strip() for cell in heading.strip("|").split("|")]
    assert names == ["attack", "step", "fooled", "median cost", "auroc", "low", "high"]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    each = len(step_sizes.FACTORS)
    assert [row[0] for row in cells] == each * ["FGSM"] + each * ["BIM-a"]
    return np.array([row[1:] for row in cells], "float64").T


def test_a_larger_step_tells_less(capsys, monkeypatch):
    monkeypatch.setattr(step_sizes, "FACTORS", (1, 4))
    step, fooled, cost, auroc, low, high = run(capsys)
    np.testing.assert_allclose(step, [0.2, 0.8, 0.01, 0.04])
    assert fooled[2:].tolist() == [1, 1]
    assert cost[2] < cost[3] < cost[1]
    assert auroc[2] > auroc[3] > auroc[1]
    assert ((low <= auroc) & (auroc <= high)).all()


@pytest.mark.slow
def test_examples_further_beyond_the_boundary_tell_less(capsys):
    step, fooled, cost, auroc, low, high = run(capsys)
    np.testing.assert_allclose(step[:4], 0.2 * np.array(step_sizes.FACTORS))
    np.testing.assert_allclose(step[4:], 0.01 * np.array(step_sizes.FACTORS))
    assert fooled[6:].tolist() == [1, 1]
    assert cost[4] < cost[7] < cost[2]
    assert auroc[4] > auroc[7] > auroc[2]
    assert ((low <= auroc) & (auroc <= high)).all()


def test_a_step_that_fools_nobody_has_no_auroc(classifier, benign, monkeypatch):
    monkeypatch.setattr(step_sizes, "FACTORS", (1,))
    attacks = {"FGSM": FGSM(eps=1e-6), "BIM-a": BIM(eps_iter=1e-6, max_iterations=1)}
    rows = step_sizes.compare(classifier, benign[:4], np.full(4, 9), BIM(), attacks)
    assert [list(row) for row in rows] == 2 * [["attack", "step", "fooled"]]
    assert {row["fooled"] for row in rows} == {0}
