import numpy as np

from a2d_keras import BIM, FGSM
from baselines import step_sizes


def test_examples_further_beyond_the_boundary_tell_less(capsys):
    step_sizes.main(["--limit", "40"])
    heading, _, *lines = capsys.readouterr().out.splitlines()[2:]
    names = [cell.strip() for cell in heading.strip("|").split("|")]
    assert names == ["attack", "step", "fooled", "median cost", "auroc", "low", "high"]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in cells] == 4 * ["FGSM"] + 4 * ["BIM-a"]
    step, fooled, cost, auroc, low, high = np.array([row[1:] for row in cells], "float64").T
    np.testing.assert_allclose(step[:4], 0.2 * np.array(step_sizes.FACTORS))
    np.testing.assert_allclose(step[4:], 0.01 * np.array(step_sizes.FACTORS))
    assert fooled[6:].tolist() == [1, 1]
    assert cost[4] < cost[7] < cost[2]
    assert auroc[4] > auroc[7] > auroc[2]
    assert ((low <= auroc) & (auroc <= high)).all()


def test_a_step_that_fools_nobody_has_no_auroc(classifier, benign):
    attacks = {"FGSM": FGSM(eps=1e-6), "BIM-a": BIM(eps_iter=1e-6, max_iterations=1)}
    rows = step_sizes.compare(classifier, benign[:4], np.full(4, 9), BIM(), attacks)
    assert [list(row) for row in rows] == 8 * [["attack", "step", "fooled"]]
    assert {row["fooled"] for row in rows} == {0}
