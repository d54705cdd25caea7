"""Adaptive attacks: definitions on hand-made arrays, and the suite on a few digits."""

import json

import numpy as np
import pytest

from a2d_keras import BIM
from baselines.adaptive import paper, tables, writing
from baselines.adaptive.__main__ import main
from baselines.adaptive.attackers import POOL, Broken, Outcome, worst
from baselines.adaptive.settings import SCENES, Sizes
from baselines.adaptive.sweep import Swept, pairs, together
from baselines.clever import weibull
from models import registry

pytestmark = pytest.mark.checkout


def mask(digits):
    return np.array([digit == "1" for digit in digits])


@pytest.fixture
def swept():
    """Four pairs: the third is too far, and the fourth misses its target."""
    first = Swept(
        confidence=5.0,
        x=np.zeros((4, 2)),
        reached=mask("1110"),
        distance=np.array([1.0, 2.0, 9.0, 100.0]),
        steps=np.array([10, 20, 60, 500]),
        flagged={"A2D": mask("1011"), "AE": mask("0001")},
    )
    return [first, first._replace(confidence=20.0, reached=mask("0000"))]


class TestFigure7:
    def test_rates_are_of_what_reaches_its_target_within_the_limit(self, swept):
        rows = tables.figure_7(swept, 8.4).set_index(["confidence", "defence"])
        assert rows["asr"].loc[5].to_dict() == {"no defence": 0.5, "A2D": 0.25, "AE": 0.5}
        assert rows["detected"].loc[5].to_dict() == {"no defence": 0, "A2D": 0.5, "AE": 0}

    def test_of_nothing_nothing_is_detected(self, swept):
        rows = tables.figure_7(swept, 8.4).set_index(["confidence", "defence"]).loc[20]
        assert (rows["asr"] == 0).all()
        assert rows["detected"].isna().all()

    def test_distances_are_of_all_that_reach_their_target(self, swept):
        row, nothing = tables.distances(swept, 8.4).to_dict("records")
        assert row == {
            **{"confidence": 5, "reached": 0.75, "within": 0.5},
            **{"distance": 4, "steps": 30},
        }
        assert np.isnan(nothing["distance"])

    def test_verdicts_together_are_those_of_any_part(self):
        found = together(mask("1000"), {"AE I": mask("0100"), "AE II": mask("0110")})
        np.testing.assert_array_equal(found["AE"], mask("0110"))
        np.testing.assert_array_equal(found["A2D + AE"], mask("1110"))
        assert [*together(mask("10"), {})] == ["A2D"]

    def test_the_paper_is_next_to_ours(self, swept):
        about = {
            **{"data set": "mnist", "farthest": 8.4},
            "sizes": {"pairs": 4, "iterations": 9, "coarser": 1},
        }
        found = {
            "figure_7": tables.figure_7(swept, 8.4),
            "distances": tables.distances(swept, 8.4),
        }
        lines = writing.text(about, found).splitlines()
        assert [cell.strip() for cell in lines[6].split("|")[1:-1]] == [
            *("5", "50 % / 100 %", "25 % / 0 %", "50 %")
        ]
        assert paper.FIGURE_7["mnist"]["A2D"][20] == 0.03


def test_table_4_takes_the_means_of_what_reaches_its_target(swept):
    scores = [np.array([0.1, 0.2, 0.3, 9.0])] * 2
    row, nothing = tables.table_4(swept, scores, {5: (0.14, 20.0, 2.0)}).to_dict("records")
    assert row == {
        **{"confidence": 5, "score": pytest.approx(0.2), "score, the paper": 0.14},
        **{"steps": 30, "steps, the paper": 20, "distance": 4, "distance, the paper": 2},
    }
    assert np.isnan(nothing["score"])
    assert np.isnan(nothing["steps, the paper"])


class TestPairs:
    def test_the_first_input_of_each_class_meets_every_other_class(self):
        y = np.array([1, 1, 0, 2, 0])
        found = pairs(np.arange(5), y, 90)
        assert set(zip(found.y, found.targets, strict=True)) == {
            *((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))
        }
        assert {*found.x} == {0, 2, 3}

    def test_few_pairs_have_every_class(self):
        found = pairs(np.arange(5), np.array([1, 1, 0, 2, 0]), 3)
        assert {*found.y} == {*found.targets} == {0, 1, 2}


class TestRedTeam:
    @pytest.fixture
    def broken(self):
        """Five inputs, of which the classifier gets one wrong at once."""
        outcomes = {"pgd": Outcome(mask("1100"), mask("1000"))}
        outcomes[POOL] = Outcome(mask("1110"), mask("1000"))
        return {"robust": Broken(5, {"default": outcomes}, {"default": mask("0001")})}

    def test_succeeds_with_what_is_wrong_and_not_flagged(self, broken):
        rows = tables.red_team(broken).set_index("attack")
        assert rows["fooled"].to_dict() == {"pgd": 0.5, POOL: 0.75}
        assert rows["success"].to_dict() == {"pgd": 0.25, POOL: 0.5}

    def test_counts_what_stays_right_or_is_flagged(self, broken):
        (row,) = tables.right_or_flagged(broken).to_dict("records")
        assert row == {
            **{"classifier": "robust", "guard": "default", "inputs": 5, "right": 0.8},
            **{"robust": 0.2, "right_or_flagged": 0.4, "gain": pytest.approx(0.2)},
            **{"false_alarms": 0.25},
        }

    def test_one_example_that_gets_through_is_enough(self):
        found = worst(np.stack([mask("110"), mask("010")]), np.stack([mask("111"), mask("001")]))
        np.testing.assert_array_equal(found.wrong, mask("110"))
        np.testing.assert_array_equal(found.flagged, mask("100"))


@pytest.mark.parametrize("name", SCENES)
def test_every_classifier_and_autoencoder_is_a_record(name):
    scene = SCENES[name]
    autoencoders = [each.record for each in scene.autoencoders.values() if each.record]
    for each in (scene.swept, *scene.attacked, *autoencoders):
        assert registry.find(each).settings is registry.find(name).settings
    for each in autoencoders:
        assert registry.find(each).denoising.held_out == scene.held_out


def test_a_coarser_attack_goes_as_far():
    attack = Sizes(*[5] * 8).bim_d(BIM(eps=0.3, eps_iter=0.0006, max_iterations=500))
    assert attack.eps_iter == pytest.approx(0.003)
    assert (attack.eps, attack.max_iterations) == (0.3, 100)


@pytest.mark.slow
def test_the_command_writes_and_resumes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(weibull, "SHAPES", (1.0,))  # the fits themselves are tested elsewhere
    few = "--limit 4 --pairs 4 --coarser 5 --benign 45 --iterations 30 --steps 5"
    words = [*few.split(), "--samples", "2", "--maxima", "2", "--out", str(tmp_path)]
    main(words)
    first = capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {
        *("checkpoints", "examples.png", "results.json", "tables.md")
    }
    kept = json.loads((tmp_path / "results.json").read_text())
    guards = [row["guard"] for row in kept["right_or_flagged"]]
    assert guards == ["lowest margins", "default", "A2D", "A2D + AE"]
    for row in kept["right_or_flagged"]:
        assert 0 <= row["robust"] <= row["right_or_flagged"] <= 1
    assert {row["defence"] for row in kept["figure_7"]} == {"no defence", "A2D", "AE", "A2D + AE"}
    assert len(kept["table_4"]) == 5
    main(words)
    again = capsys.readouterr().out
    assert "computing" not in again
    assert again[again.index("**Right or flagged**") :] == first[first.index("**Right or fl") :]


def test_two_inputs_are_the_least(capsys):
    with pytest.raises(SystemExit):
        main(["--limit", "1"])
    assert "at least 2 test inputs" in capsys.readouterr().err
