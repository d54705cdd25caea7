import re

import numpy as np
import pytest

from baselines import thresholds

pytestmark = pytest.mark.checkout


def test_a_higher_rate_flags_more():
    generator = np.random.default_rng(0)
    benign, fresh = generator.normal(100, 20, (2, 400, 1)).astype("int64")
    kinds = {"benign": fresh, "BIM-a": generator.integers(1, 5, (50, 1))}
    rows = thresholds.compare(benign, kinds)
    assert [row["false positive rate"] for row in rows] == list(thresholds.RATES)
    for row in rows:
        flagged = (fresh < row["threshold, steps"]).mean()
        assert row["benign flagged"] == f"{100 * flagged:.1f} %"
        assert flagged < row["false positive rate"] + 0.05
        assert row["BIM-a flagged"] == "100.0 %"
    steps = [row["threshold, steps"] for row in rows]
    assert steps == sorted(set(steps))


def test_examples_fool_the_classifier(classifier, benign):
    kinds = thresholds.examples(classifier, benign)
    assert list(kinds) == ["benign", "FGSM", "BIM-a", "PGD"]
    right = classifier.model.predict(benign, verbose=0).argmax(-1)
    assert len(kinds["BIM-a"]) == len(kinds["PGD"]) == len(benign)
    for kind in ("BIM-a", "PGD"):
        labels = classifier.model.predict(kinds[kind], verbose=0).argmax(-1)
        assert (labels != right).all()
    assert np.abs(kinds["PGD"] - benign).max() > np.abs(kinds["BIM-a"] - benign).max()


@pytest.mark.slow
def test_it_prints_a_table(capsys):
    thresholds.main()
    counts, heading, _, *rows = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"benign: \d+, FGSM: \d+, BIM-a: \d+, PGD: \d+", counts)
    assert heading.count("|") == 7
    assert len(rows) == len(thresholds.RATES)
