"""The benchmarks run, count and write as they should. Times are not tested."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from a2d_keras.precision import native_bfloat16
from benchmarks import (
    __main__,
    loop_overhead,
    memory,
    reduced_precision,
    results,
    scaling_inputs,
    scaling_out,
    subjects,
    timing,
    verdict_gradients,
    verdict_price,
)
from benchmarks.fresh import python
from benchmarks.peers import common, queries, reference
from benchmarks.rows import Measured, Row, exactly, spread
from models import registry

pytestmark = [pytest.mark.checkout, pytest.mark.slow]

TINY = subjects.Sizes(
    datasets=("digits",),
    inputs=24,
    adapt=60,
    peers=6,
    few=6,
    single=1,
    scaling=(100, 200),
    photographs=(20, 2),
    repeats=1,
)


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)])
def subject(request):
    """A subject that all parts share, and that adapts each guarded model once.

    Fast tests have one attack under two names, and one detector under two.
    """
    with pytest.MonkeyPatch.context() as patch:
        few(patch)
        defences = registry.find("digits").settings.defences
        names = {"JSMA_d": "JSMA_d" if request.param else "BIM_d", "BIM_d": "BIM_d"}
        change(patch, defences={name: defences[attack] for name, attack in names.items()})
        subject = subjects.Subject("digits", TINY, None)
        adapt, kept = subject.guarded, {}

        def guarded(benign=None, **parameters):
            if not request.param:
                parameters.pop("rule", None)
            key = repr((None if benign is None else len(benign), parameters))
            if key not in kept:
                kept[key] = adapt(benign, **parameters)
            return kept[key]

        subject.guarded = guarded
        yield subject


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    few(monkeypatch)


@pytest.fixture
def shared(monkeypatch, subject):
    """All parts work on the one subject."""
    monkeypatch.setattr(subjects.Bench, "subjects", lambda bench: iter([subject]))
    return subject


def few(monkeypatch):
    """Take few inputs and attacks, and always 16 slots, without calibration."""
    monkeypatch.setattr(a2d.StepAttack, "best_slots", lambda attack, classifier: 16)
    monkeypatch.setattr(timing, "BATCHES", (2, 4))
    monkeypatch.setattr(timing, "_INPUTS_TRIED", 8)
    monkeypatch.setattr(timing, "_INPUTS_TIMED", 16)
    settings = registry.find("digits").settings
    change(monkeypatch, attacks={name: settings.attacks[name] for name in ("FGSM", "BIM-a")})


def change(monkeypatch, **settings):
    """Change the settings of digits."""
    record = registry.RECORDS["digits"]
    changed = dataclasses.replace(record.settings, **settings)
    record = dataclasses.replace(record, settings=changed)
    monkeypatch.setitem(registry.RECORDS, "digits", record)


def run(out, monkeypatch, *parts):
    monkeypatch.setattr(__main__, "QUICK", TINY)
    __main__.main(["--quick", "--out", str(out), "--only", *parts])
    return json.loads((out / "results.json").read_text())


@pytest.mark.usefixtures("shared")
def test_verdicts_are_counted_and_agree(tmp_path, monkeypatch):
    rows = run(tmp_path, monkeypatch, "verdicts")["verdicts"]["rows"]
    gradients, differ = rows[::2], rows[1::2]
    assert [row["median"] for row in differ] == [0, 0, 0]
    assert [row["at_most"] for row in gradients] == [0.5, 0.5, 0.4]
    assert all(0 < row["median"] < 1 for row in gradients)
    assert {row["what"].split(", ")[-1] for row in gradients} == {*verdict_gradients.COST_RULES}
    assert next(row for row in gradients if "zscore" in row["what"])["median"] < 0.5


def test_gradients_of_a_verdict_are_one_more_than_its_steps(subject):
    full = subject.bim(subject.classifier, subject.benign)
    guarded = subject.guarded()
    out = guarded.predict(subject.benign, verbose=0)
    spent, whole = verdict_gradients._gradients(
        out["cost"] > 0, guarded.detector.thresholds, full.gradient_evaluations[:, None]
    )
    assert spent == (out["cost"] + 1).mean()
    assert whole == (full.cost + 1).mean()


def test_loop_counts_the_same_gradients_in_any_batch(tmp_path, monkeypatch, shared):
    walk = (
        a2d.DBA(max_iterations=3) if len({*shared.settings.defences.values()}) > 1 else shared.bim
    )
    monkeypatch.setattr(loop_overhead, "_WALK", walk)
    rows = run(tmp_path, monkeypatch, "loop")["loop"]["rows"]
    assert [row["at_most"] for row in rows] == [1.08, 1.15, None, 1.2, None]
    counts = [row["note"].split(" of ")[0] for row in rows]
    assert counts[1] == counts[2] != counts[0]
    assert counts[4].endswith("queries")


@pytest.mark.usefixtures("shared")
def test_peers_agree_and_parts_are_kept(tmp_path, monkeypatch, capsys):
    kept = run(tmp_path, monkeypatch, "cleverhans")
    costs, judged = kept["cleverhans"]["rows"]
    assert "100% of the costs are equal" in costs["note"]
    assert "100% of the verdicts are equal" in judged["note"]

    both = run(tmp_path, monkeypatch, "reference")
    assert list(both) == ["reference", "cleverhans"]  # in the order of the table
    assert both["cleverhans"] == kept["cleverhans"]
    assert [row["at_least"] for row in both["reference"]["rows"]] == [7, 15]
    assert all("100% of the costs are equal" in row["note"] for row in both["reference"]["rows"])

    table = (tmp_path / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert table.count("\n| ") == 4


def small_photographs(monkeypatch, subject, part):
    """Take digits for photographs, and their classifier for MobileNet."""
    x = np.concatenate([subject.held_out, subject.benign])
    monkeypatch.setattr(part.imagenet, "photographs", lambda *_: (x, None))
    monkeypatch.setattr(part.imagenet, "load", lambda *_: subject.model)
    monkeypatch.setattr(part, "_PHOTOGRAPHS", len(subject.held_out))


def compares_precisions(tmp_path, monkeypatch):
    rows = run(tmp_path, monkeypatch, "precision")["precision"]["rows"]
    attacks = len(registry.find("digits").settings.attacks)
    assert len(rows) == 1 + attacks + 2 + attacks + 2
    assert all(row["median"] <= 0.1 for row in rows if "AUROC" in row["what"])


def test_precision_compares_the_attacks_of_env1(tmp_path, monkeypatch, shared):
    monkeypatch.setattr(reduced_precision, "native_bfloat16", lambda: {"fast"})
    monkeypatch.setattr(reduced_precision.a2d, "Classifier", lambda model, **_: shared.classifier)
    small_photographs(monkeypatch, shared, reduced_precision)
    compares_precisions(tmp_path, monkeypatch)


@pytest.mark.skipif(not native_bfloat16(), reason="the processor has no native bfloat16")
def test_bfloat16_finds_nearly_the_same(tmp_path, monkeypatch, shared):
    small_photographs(monkeypatch, shared, reduced_precision)
    compares_precisions(tmp_path, monkeypatch)


def test_precision_says_where_the_processor_has_no_bfloat16(tmp_path, monkeypatch):
    monkeypatch.setattr(reduced_precision, "native_bfloat16", set)
    (row,) = run(tmp_path, monkeypatch, "precision")["precision"]["rows"]
    assert (row["median"], row["met"]) == (None, None)
    assert "no native bfloat16" in row["note"]
    assert "not measured" in (tmp_path / "table.md").read_text()


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    def rows(bench):
        yield Row("first", exactly(1.0))
        raise FileNotFoundError("There is no such file. Received: x.npz")

    monkeypatch.setattr("benchmarks.first_call.rows", rows)
    monkeypatch.setitem(__main__.PARTS, "art", "benchmarks.not_there")
    parts = run(tmp_path, monkeypatch, "first_call", "art")
    first, missing = parts["first_call"]["rows"]
    assert first["median"] == 1.0
    assert missing["median"] is None
    assert missing["note"].endswith("Received: x.npz")
    (missing,) = parts["art"]["rows"]
    assert missing["note"].startswith("it needs the extra `benchmarks`")


@pytest.mark.usefixtures("shared")
def test_price_is_drawn_over_the_size(tmp_path, monkeypatch):
    monkeypatch.delenv("A2D_DATA_DIR", raising=False)
    gradients, _, missing = run(tmp_path, monkeypatch, "size")["size"]["rows"]
    assert gradients["median"] > 1
    assert "imagenet1000.npz" in missing["note"]


def test_what_many_images_cost_follows_from_one(tmp_path, monkeypatch, shared):
    default, papers = run(tmp_path, monkeypatch, "cost")["cost"]["rows"]
    assert default["median"] > 0
    assert papers["note"].startswith(f"{TINY.inputs} inputs")
    table = (tmp_path / "cost.md").read_text()
    assert f"| a million | default | {default['median']:.2g} |" in table
    assert table.count("not measured") == 4


def test_price_compares_with_the_passes(tmp_path, monkeypatch, shared):
    small_photographs(monkeypatch, shared, verdict_price)
    rows = run(tmp_path, monkeypatch, "price")["price"]["rows"]
    passes = [row for row in rows if "of its passes" in row["what"]]
    assert [row["at_most"] for row in passes] == [1.1, 1.25, 1.1]
    batches = [row["what"].rpartition(" ")[2] for row in passes]
    assert batches == ["128", "32", "32"]


def test_workers_give_the_same_counts(tmp_path, monkeypatch, shared):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed: a2d-keras[beam]")
    monkeypatch.setattr(scaling_out, "_WORKERS", (1, 2))
    *seconds, differ = run(tmp_path, monkeypatch, "out")["out"]["rows"]
    assert len(seconds) == 2
    assert differ["median"] == 0
    assert '"scored": 200' in differ["note"]


def test_scaling_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling_inputs, "python", lambda *words: float(words[-1]))
    monkeypatch.setattr(scaling_inputs, "_seconds", lambda counts, _: np.array([counts, counts]).T)
    rows = run(tmp_path, monkeypatch, "inputs")["inputs"]["rows"]
    assert rows[0]["median"] == pytest.approx(1)
    assert [row["median"] for row in rows[1:]] == [2, 2, 20]
    assert (tmp_path / "scaling_inputs.png").stat().st_size > 10_000


def test_seconds_of_more_inputs_are_more():
    seconds = scaling_inputs._seconds((100, 2000), 2)
    assert seconds.shape == (2, 2)
    assert (seconds[1] > seconds[0]).all()


@pytest.mark.parametrize("what", ["verdicts", "costs", "array"])
def test_memory_is_printed(what, capsys):
    memory.main([what, "100"])
    assert float(capsys.readouterr().out) > 100


def test_a_process_of_its_own_prints_a_number():
    assert python("-c", "print('so much:', 3.5)") == 3.5


def test_memory_is_that_of_the_process_alone():
    _large = np.ones(2**26)  # half a GiB, which a process started from here lacks
    alone = python("-c", "from benchmarks.memory import peak; print(peak())")
    assert 100 < alone < memory.peak() - 256


def test_target():
    measured = Measured(1.0, 0.5, 2.0)
    assert Row("", measured, at_most=1.0).met is True
    assert Row("", measured, at_most=0.9).met is False
    assert Row("", measured, at_least=1.1).met is False
    assert Row("", measured).met is None
    assert Row("", None, at_most=1.0).met is None
    assert spread([3.0, 1.0, 2.0, 5.0]) == (2.5, 1.0, 5.0)


def test_table_tells_what_was_met():
    rows = [
        Row("a", Measured(1.05, 1.0, 1.2), at_most=1.08),
        Row("b", exactly(3), at_least=7, note="why"),
        Row("c", None, at_most=0.75, note="because"),
    ]
    about = {"command": "c", "date": "d", "processor": "p", "processors": 2, "seeds": "0"}
    part = {
        "about": {**about, "versions": {"keras": "3"}, "seconds": 4},
        "rows": [results.record(row) for row in rows],
    }
    table = results.table({"x": part, "y": part})
    assert "| a | 1.05 | 1 to 1.2 | ≤ 1.08 | met |  |" in table
    assert "| b | 3 |  | ≥ 7 | not met | why |" in table
    assert "| c | not measured |  | ≤ 0.75 |  | because |" in table
    assert "2 of 6 targets are met." in table
    assert table.count("Measured by") == 1


def test_time_is_taken_in_turns():
    called = []
    seconds, found = timing.in_turns([lambda: called.append("a"), lambda: called.append("b")], 3)
    assert called == ["a", "b"] * 3
    assert seconds.shape == (2, 3)
    assert found == [None, None]


def test_share_of_passes_is_time_over_that_of_passes(monkeypatch):
    clock = iter(range(0, 100, 6))  # every call takes six seconds
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    ratio, passes, seconds = timing.share_of_passes(lambda: 2, lambda: 1.5, 2)
    assert (ratio.median, passes, seconds) == (2.0, 2, 6)


def test_best_batch_is_no_larger_than_the_inputs():
    assert timing.best_batch(lambda x: x, np.zeros(5)) == 5


def test_peers_steps_are_counted_as_ours(subject):
    x = np.concatenate([subject.kinds["FGSM"], subject.benign])[::8]
    labels = subject.labels(x)
    ours = subject.bim(subject.classifier, x)
    widths = []

    def step(x, labels):
        widths.append(len(x))
        attack = subject.bim
        after = type(attack)(eps=attack.eps, eps_iter=attack.eps_iter, max_iterations=1)
        return after(subject.classifier, x).adversarial, None

    def stepped(x, labels):
        after, _ = step(x, labels)
        return after, subject.labels(after) != labels

    limit = 30
    found = common._costs(stepped, x, labels, limit)
    np.testing.assert_array_equal(found, np.minimum(ours.cost, limit))
    assert widths[0] == len(x)
    assert widths == sorted(widths, reverse=True)


def compares_walks(subject, taken):
    def walk(model, x, labels):
        for _ in range(3):
            model(x)
        return common.WALK(subject.classifier, x, budget=taken, slots="auto").adversarial

    note = common.walks_compared("a peer", walk, subject, 5, repeats=1).note
    steps = int(note.partition("; ")[2].partition(" steps of ours")[0])
    assert abs(steps - taken) <= taken / 8
    assert "queries an input 3, of ours" in note
    assert "fooled 100% and 100%" in note


def test_walks_are_compared_at_equal_distance(subject, monkeypatch):
    class Walk:
        """Return an input of another class, with an overshoot that shrinks with the steps."""

        max_iterations = 100

        def __call__(self, classifier, x, budget, slots):
            labels = subject.labels(subject.benign)
            others = [subject.benign[labels != each][0] for each in subject.labels(x)]
            adversarial = np.clip(others + (others - x) / budget, 0, 1)
            return SimpleNamespace(adversarial=adversarial, queries=np.full(len(x), budget))

    monkeypatch.setattr(common, "WALK", Walk())
    compares_walks(subject, taken=40)


def test_boundary_attacks_are_compared_at_equal_distance(subject):
    compares_walks(subject, taken=40)


def test_a_journal_notes_the_nearest_misclassified_image():
    def model(x):
        return tf.reshape(tf.stack([x[..., 0], 1 - x[..., 0]], -1), (-1, 2))  # class 0 if bright

    journal = queries.Journal(model, np.zeros((1, 1, 1), "float32"), 1)
    for batch in ([0.1, 0.9], [0.6], [0.7, 0.2]):
        tf.function(journal)(tf.reshape(tf.constant(batch), (-1, 1, 1, 1)))
    np.testing.assert_allclose(journal.nearest([1, 2, 3, 5, 99]), [np.inf, 0.9, 0.6, 0.6, 0.6])
    assert queries.queries_to([(1, 2.0), (9, 0.5)], 0.4) is None


def test_reference_costs_are_ours(subject):
    x = np.concatenate([subject.kinds["FGSM"][:3], subject.benign[:2]])
    way = reference.one_at_a_time(common.logits_model(subject.model), subject.bim)
    np.testing.assert_array_equal(way(x), subject.bim(subject.classifier, x).cost)


def test_logits_model_has_the_softmax_of_the_model(subject):
    logits = common.logits_model(subject.model)(subject.benign[:4])
    expected = subject.classifier.logits(subject.benign[:4])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
