"""Long work says how far it is, to people only; and what cannot work is refused before it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from a2d_keras import inputs, progress
from a2d_keras.statistics.step_size import choose_step
from tests import tiny
from tests.tiny import X, batches


@pytest.fixture
def watched(monkeypatch):
    """Somebody looks at what is printed."""
    monkeypatch.setattr(progress, "visible", lambda: True)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return X[20 * index : 20 * index + 20], np.zeros(20)


class Endless(Batches):
    @property
    def num_batches(self):
        return None


class TestBar:
    def test_says_stage_total_and_time_left(self, watched, capsys):
        with progress.showing(1), progress.stage("measuring", 40) as update:
            update(10)
            update(40)
        printed = capsys.readouterr().out
        assert printed.startswith("measuring\n")
        assert "10/40" in printed
        assert printed.count("40/40") == 1

    def test_ends_where_the_total_is_unknown(self, watched, capsys):
        with progress.showing(1), progress.stage("reading", None) as update:
            update(3)
        assert capsys.readouterr().out.endswith("input\n")

    def test_nothing_escapes_into_a_log(self, capsys):
        with progress.showing(1), progress.stage("measuring", 40) as update:
            update(40)
        assert capsys.readouterr().out == ""

    def test_stages_within_are_not_shown(self, watched, capsys):
        with progress.showing(1), progress.stage("outer", 1), progress.stage("inner", 1) as update:
            update(1)
        assert "inner" not in capsys.readouterr().out


class TestAdapt:
    def test_every_stage_has_a_total(self, watched, capsys):
        a2d.guard(tiny.classifier(), statistics=[a2d.Margin()]).adapt(batches(X))
        printed = capsys.readouterr().out
        stages = ("checking inputs", "learning statistics", "measuring statistics")
        assert [stage for stage in stages if stage in printed] == list(stages)
        assert "60/60" in printed.partition("measuring statistics")[2]

    def test_is_silent_in_a_log(self, capsys):
        a2d.guard(tiny.classifier(), statistics=[a2d.Margin()]).adapt(X)
        assert capsys.readouterr().out.startswith("fisher adapted: 30 benign inputs calibrate")

    @pytest.mark.slow
    def test_the_search_for_a_step_is_seen(self, watched, capsys):
        keras.utils.set_random_seed(0)
        with progress.showing(1):
            choose_step(a2d.Classifier(tiny.classifier()), X, 0.05, 128)
        printed = capsys.readouterr().out
        assert printed.startswith("choosing a step that inputs withstand\n")
        assert "58/58" in printed
        assert "attacking" not in printed

    @pytest.mark.parametrize("rule", ["fisher", "zscore"])
    @pytest.mark.parametrize("form", [np.asarray, batches], ids=["array", "dataset"])
    def test_too_few_inputs_are_refused_before_the_work(self, rule, form, monkeypatch):
        def fit(*_):
            raise AssertionError("worked")

        for statistic in (a2d.AttackCost, a2d.BoundaryDistance, a2d.Consistency):
            monkeypatch.setattr(statistic, "fit", fit)
        guarded = a2d.guard(tiny.classifier(), rule=rule, false_positive_rate=0.01)
        with pytest.raises(ValueError, match="0.01 needs at least .* benign inputs"):
            guarded.adapt(form(X), verbose=0)

    def test_takes_a_py_dataset(self):
        """It becomes a dataset, which can be read again."""
        classifier = a2d.Classifier(tiny.classifier())
        x = inputs.readable(Batches(), classifier)
        for _ in range(2):
            found = np.concatenate(list(inputs.batches(x, classifier, 32)))
            np.testing.assert_array_equal(found, X)

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (
                iter([X]),
                "read more than once.* `tf.data.Dataset.from_generator`. Received: list_it",
            ),
            (Endless(), "must have an end. Received: Endless"),
        ],
        ids=["iterator", "endless"],
    )
    def test_refuses_what_cannot_be_read_twice(self, x, message):
        with pytest.raises(ValueError, match=message):
            a2d.guard(tiny.classifier()).adapt(x, verbose=0)

    def test_warns_of_bounds_of_another_scale(self, classifier_of_pixels):
        from a2d_keras.detection import report

        rule = a2d.Fisher()
        rule.prepare([], 0.05)
        with pytest.warns(UserWarning, match=r"from 0\.\d+ to 0\.\d+, and bounds=\(0.0, 255.0\)"):
            report.require_learnable(classifier_of_pixels, X, rule)


@pytest.fixture
def classifier_of_pixels():
    return a2d.Classifier(tiny.classifier(), bounds=(0, 255))


def test_datasets_do_not_wait_for_the_autotuning():
    classifier, seen = a2d.Classifier(tiny.classifier()), []
    untuned = inputs.batching._untuned

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs.batching, "_untuned", lambda x: seen.append(untuned(x)) or seen[-1])
        list(inputs.batches(batches(X), classifier, 32))
    assert not seen[0].options().autotune.enabled


def test_the_count_of_a_dataset_is_remembered():
    classifier = a2d.Classifier(tiny.classifier())
    labelled = tf.data.Dataset.zip((batches(X), tf.data.Dataset.range(4)))
    assert inputs.count(labelled) is None
    inputs.remember_count(labelled, 60)
    assert inputs.count(inputs.as_inputs(labelled, classifier)) == 60
