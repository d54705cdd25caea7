import dataclasses
import inspect
import io
import json
import pathlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats
from sklearn.metrics import roc_auc_score

from a2d_keras import BIM, statistics
from a2d_keras.statistics import AttackCost, BoundaryDistance, Margin
from a2d_keras.statistics.base import Statistic
from a2d_keras.statistics.defaults import FOR_IMAGES
from baselines.comparison import protocols
from baselines.comparison.checkpoints import Checkpoints
from baselines.comparison.labels import correctly_classified
from baselines.comparison.measurements import Work
from baselines.coverage import __main__ as command
from baselines.coverage import changes, detectors, kinds, tables, writing
from baselines.coverage.__main__ import main
from baselines.coverage.detectors import Detector, Judged, by_fisher, label, measured, sets
from baselines.coverage.kinds import Kind, Kinds, collect
from baselines.coverage.strangers import strangers
from models.registry import RECORDS

pytestmark = pytest.mark.checkout

LIMIT = 60


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(protocols, "RESAMPLES", 30)  # intervals are not tested


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((20, 12, 10, 3), "float32")


@pytest.fixture(scope="module")
def few_settings():
    """The digits with three quick attacks and a quick baseline."""
    settings = RECORDS["digits"].settings
    quick = BIM(eps=0.3, eps_iter=0.05, max_iterations=10)
    return dataclasses.replace(
        settings,
        attacks={"FGSM": settings.attacks["FGSM"], "BIM-a": quick},
        strong={"C&W κ5": quick},
        defences={"BIM_d": BIM(eps_iter=0.005, max_iterations=100)},
        baselines={
            "KD+BU": {"passes": 2, "bandwidth": 0.3},
            "mutation testing": {"mutants": 5},
            "Dissector": {"epochs": 1},
        },
    )


@pytest.fixture(scope="module")
def collected(classifier, digits, few_settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "MAX_CONFIDENT", 40)
        work = Work(classifier, Checkpoints(folder))
        return collect(work, digits, few_settings, name="digits", limit=LIMIT), folder


@pytest.mark.parametrize("change", [*changes.HARMLESS, *changes.EVASIONS])
def test_changes_keep_images(images, change):
    apply = changes.HARMLESS.get(change) or changes.EVASIONS[change]
    for x in (images, images[..., :1]):
        changed = apply(x)
        assert changed.shape == x.shape
        assert changed.dtype == np.float32
        assert changed.min() >= 0
        assert changed.max() <= 1
        assert 0 < abs(changed - x).mean() < 0.4
        np.testing.assert_array_equal(apply(x), changed)


@pytest.mark.parametrize("sigma", [2, 4, 8])
def test_noise_is_as_wide_as_it_says(sigma):
    grey = np.full((50, 20, 20, 1), 0.5, "float32")
    added = changes.HARMLESS[f"noise {sigma}"](grey) - grey
    assert added.std() * 255 == pytest.approx(sigma, rel=0.02)
    assert abs(added.mean()) < 1e-3
    assert stats.kstest(added.ravel() * 255 / sigma, "norm").pvalue > 0.01


def test_brightness_is_a_factor(images):
    brighter, darker = (changes.HARMLESS[f"bright {by} %"](images) for by in ("+20", "−20"))
    np.testing.assert_allclose(brighter, np.minimum(1.2 * images, 1), rtol=1e-6)
    np.testing.assert_allclose(darker, 0.8 * images, rtol=1e-6)


def test_blur_is_gaussian():
    point = np.zeros((1, 11, 11, 1), "float32")
    point[0, 5, 5] = 1
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 0.6**2)) * (abs(np.arange(11) - 5) < 3)
    line /= line.sum()
    np.testing.assert_allclose(
        changes.HARMLESS["blur"](point)[0, :, :, 0], np.outer(line, line), atol=1e-6
    )


def test_shift_repeats_the_edge(images):
    shifted = changes.HARMLESS["shift"](images)
    np.testing.assert_array_equal(shifted[:, :, 1:], images[:, :, :-1])
    np.testing.assert_array_equal(shifted[:, :, 0], images[:, :, 0])


def test_rotation_turns_by_5_degrees():
    line = np.zeros((1, 41, 41, 1), "float32")
    line[0, 20, 5:36] = 1
    rows, columns = np.indices((41, 41)) - 20
    turned = changes.HARMLESS["rotation"](line)[0, :, :, 0]
    slope = (turned * rows * columns).sum() / (turned * columns**2).sum()
    assert np.degrees(np.arctan(-slope)) == pytest.approx(5, abs=0.2)  # rows run down
    assert (turned * rows).sum() == pytest.approx(0, abs=1e-3)


def test_eight_bits_are_what_a_file_holds(images):
    rounded = changes.EVASIONS["8 bits"](images)
    np.testing.assert_array_equal(rounded, np.round(images * 255).astype("float32") / 255)
    assert abs(rounded - images).max() <= 0.5001 / 255


@pytest.mark.parametrize("quality", [75, 50])
def test_jpeg_is_pillows(quality):
    x = np.linspace(0, 1, 16 * 16, dtype="float32").reshape(1, 16, 16, 1)
    file, pixels = io.BytesIO(), np.rint(x[0, :, :, 0] * 255).astype("uint8")
    Image.fromarray(pixels).save(file, "jpeg", quality=quality)
    found = changes.HARMLESS[f"JPEG {quality}"](x)[0, :, :, 0]
    np.testing.assert_allclose(found * 255, np.asarray(Image.open(file)), atol=2.01)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("digits", (8, 8, 1), {"photographs"}),
        ("mnist", (28, 28, 1), {"digits", "photographs"}),
        ("cifar10", (32, 32, 3), {"digits"}),
    ],
)
def test_strangers_come_from_elsewhere_in_this_shape(name, shape, expected, digits):
    found = strangers(name, shape, 5)
    assert {*found} == expected
    for x in found.values():
        assert x.shape == (5, *shape)
        assert x.dtype == np.float32
        assert 0 <= x.min() < x.max() <= 1
        assert len(np.unique(x, axis=0)) == 5


def test_digits_are_upscaled_and_grey_in_colour(digits):
    found = strangers("cifar10", (32, 32, 3), 5)["digits"]
    np.testing.assert_array_equal(found[..., 0], found[..., 2])
    shrunk = found[..., 0].reshape(5, 8, 4, 8, 4).mean(axis=(2, 4)).reshape(5, 1, 64)
    distances = np.linalg.norm(shrunk - digits.x_train[:50].reshape(1, 50, 64), axis=-1)
    assert distances.argmin(axis=1).tolist() == [*range(5)]


def test_kinds_are_made_of_correct_inputs_in_halves(collected, model, digits):
    found, _ = collected
    correct = correctly_classified(model, digits.x_test, digits.y_test, 2 * LIMIT)
    np.testing.assert_array_equal(found.benign.x, correct[:LIMIT])
    np.testing.assert_array_equal(found.adapting.x, correct[LIMIT:])
    assert not found.adapting.reported.any()
    for kind in found.all().values():
        assert len(kind.x) == len(kind.benign) == len(kind.first) == len(kind.reported)
        assert not (kind.first & kind.reported).any()
    for name, kind in found.attacks.items():
        count = 40 if name == "C&W κ5" else LIMIT
        assert len(kind.x) == count
        fools = _labels(model, kind.x) != _labels(model, kind.benign)
        second = np.arange(count) >= count // 2
        np.testing.assert_array_equal(kind.reported, fools & second)
        np.testing.assert_array_equal(kind.first, fools & ~second)
        assert found.fooled[name] == fools.mean()
        np.testing.assert_array_equal(kind.benign, correct[:count])


@pytest.mark.slow
def test_changed_kinds_are_of_the_second_half(collected, model):
    found, _ = collected
    half = found.benign.x[LIMIT // 2 :]
    for change, kind in found.changes.items():
        np.testing.assert_array_equal(kind.x, changes.HARMLESS[change](half))
        assert kind.reported.all()
        kept = _labels(model, kind.x) == _labels(model, half)
        assert found.kept[change] == kept.mean()
    for change, evading in found.evasions.items():
        for attack, kind in evading.items():
            origin = found.attacks[attack]
            middle = len(origin.x) // 2
            np.testing.assert_array_equal(kind.x, changes.EVASIONS[change](origin.x[middle:]))
            fools = _labels(model, kind.x) != _labels(model, kind.benign)
            np.testing.assert_array_equal(kind.reported, origin.reported[middle:] & fools)


def test_examples_are_kept_for_other_suites(collected, classifier, digits, few_settings, capsys):
    found, folder = collected
    assert {path.stem for path in folder.glob("*.h5")} == {
        f"test {name}" for name in kinds.attacks_of(few_settings)
    }
    correct = correctly_classified(classifier.model, digits.x_test, digits.y_test, LIMIT)
    work = Work(classifier, Checkpoints(folder))
    attacks = few_settings.attacks
    examples, _ = work.craft("test", attacks, dict.fromkeys(attacks, correct))
    assert capsys.readouterr().out.split("\n")[:-1] == ["test FGSM: kept", "test BIM-a: kept"]
    np.testing.assert_array_equal(examples["FGSM"], found.attacks["FGSM"].x)


@pytest.mark.slow
def test_few_inputs_still_use_all_examples(classifier, digits, few_settings, tmp_path):
    """If there are too few inputs to adapt on others, fewer are judged than were attacked."""
    few = digits._replace(x_test=digits.x_test[:100], y_test=digits.y_test[:100])
    work = Work(classifier, Checkpoints(tmp_path))
    only = {"FGSM": few_settings.attacks["FGSM"]}
    settings = dataclasses.replace(few_settings, attacks=only, strong={})
    found = collect(work, few, settings, name="digits", limit=90)
    correct = correctly_classified(classifier.model, few.x_test, few.y_test, 100)
    assert len(found.benign.x) == len(found.adapting.x) == len(correct) // 2 < 60
    kept = work.attack("test FGSM", only["FGSM"], correct[:90], {})
    assert len(kept["adversarial"]) == 90
    np.testing.assert_array_equal(kept["adversarial"][: len(correct) // 2], found.attacks["FGSM"].x)


def _labels(model, x):
    return model.predict(x, verbose=0).argmax(-1)


def test_sets_are_the_registry_and_the_default(classifier):
    found = sets(classifier)
    registered = {
        name
        for name, kind in vars(statistics).items()
        if inspect.isclass(kind) and issubclass(kind, Statistic) and kind is not AttackCost
    }
    cheap = {n for n in registered if sum(getattr(statistics, n)().passes(classifier)) <= 20}
    alone = {name for name, chosen in found.items() if "default" not in name}
    assert alone == {*cheap, "BoundaryDistance(secant=True)"}
    assert found["Margin"] == (Margin(),)
    assert found["default"] == FOR_IMAGES
    more = [name for name in ("Reconstruction", "Spectrum") if name in registered]
    assert [n for n in found if n.startswith("default +")] == (
        [" + ".join(["default", *more])] if more else []
    )


def test_labels_name_what_differs():
    assert label(Margin()) == "Margin"
    found = label(BoundaryDistance(norm="2", tail="both"))
    assert found == "BoundaryDistance(tail='both', norm='2')"


def test_statistics_are_measured_once_for_the_same_inputs(classifier, benign, tmp_path, capsys):
    mask = np.ones(len(benign), bool)
    every = {name: Kind(benign, benign, mask, mask) for name in ("adapting", "benign")}
    work = Work(classifier, Checkpoints(tmp_path))
    values = measured(work, Margin(), every)
    logits = np.sort(classifier.logits(benign).numpy(), axis=-1)
    np.testing.assert_allclose(values["benign"], logits[:, -1] - logits[:, -2], rtol=1e-5)
    measured(work, Margin(), every)
    assert capsys.readouterr().out.split("\n")[2] == "Margin: kept"
    fewer = every | {"benign": Kind(benign[1:], benign[1:], mask[1:], mask[1:])}
    assert len(measured(work, Margin(), fewer)["benign"]) == len(benign) - 1


@pytest.fixture(scope="module")
def values():
    """Made-up statistics: attacks are low in the first, and extreme in the second."""
    generator = np.random.default_rng(0)
    spread = {"adapting": (0, 1), "benign": (0, 1), "attack": (-2, 3)}
    return {
        kind: generator.normal((shift, 0), (1, scale), (400, 2)).astype("float32")
        for kind, (shift, scale) in spread.items()
    }


@pytest.mark.parametrize(("column", "tail"), [(0, "low"), (0, "high"), (1, "both")])
def test_one_statistic_ranks_by_its_tail(values, column, tail):
    alone = {kind: rows[:, [column]] for kind, rows in values.items()}
    judged = by_fisher(alone, [tail])["attack"]
    center = np.median(values["adapting"][::2, column])
    sign = {"low": -1, "high": 1}.get(tail)
    plain = [
        abs(rows[:, column] - center) if sign is None else sign * rows[:, column]
        for rows in (values["benign"], values["attack"])
    ]
    labels = np.repeat([0, 1], 400)
    expected = roc_auc_score(labels, np.concatenate(plain))
    found = roc_auc_score(labels, np.append(judged.benign, judged.scores))
    assert found == pytest.approx(expected, abs=0.01 if tail == "both" else 1e-3)


def test_flags_are_at_five_percent_of_the_odd_adapting_rows(values):
    judged = by_fisher(values, ["low", "both"])
    threshold = np.sort(judged["adapting"].scores[1::2])[-10]  # of 200: rank 10 of 201 is 5 %
    for each in judged.values():
        clear = abs(each.scores - threshold) > 1e-5  # the last digit depends on the batch
        np.testing.assert_array_equal((each.scores > threshold)[clear], each.flagged[clear])
    np.testing.assert_array_equal(each.flagged, each.scores >= threshold)
    np.testing.assert_array_equal(judged["attack"].benign, judged["benign"].scores)


@pytest.fixture(scope="module")
def made_up():
    """Kinds and detectors of random numbers. "B" judges only the attacks; "few" has no rows."""
    generator = np.random.default_rng(1)
    x = np.zeros((40, 1))
    second = np.arange(40) >= 20

    def attack(fools):
        return Kind(x, x, fools & ~second, fools & second)

    def half(reported):
        return Kind(x[20:], x[20:], np.zeros(20, bool), reported)

    attacks = {"FGSM": attack(generator.random(40) < 0.8), "few": attack(np.arange(40) == 39)}
    fooling = {name: kind.reported[20:] for name, kind in attacks.items()}
    found = Kinds(
        benign=attack(np.ones(40, bool)),
        adapting=Kind(x, x, *np.zeros((2, 40), bool)),
        attacks=attacks,
        fooled={"FGSM": 0.8, "few": 0.1},
        evasions={
            "8 bits": {n: half(each & (np.arange(20) % 2 == 0)) for n, each in fooling.items()},
            "JPEG 75": {n: half(np.zeros(20, bool)) for n in attacks},
        },
        changes={"blur": half(np.ones(20, bool))},
        kept={"blur": 0.95},
        strangers={"digits": half(np.ones(20, bool))},
    )
    benign = generator.normal(size=40)

    def judge(name, kind):
        scores = benign if name == "benign" else generator.normal(1, 1, len(kind.x))
        return Judged(benign, scores, scores > 1)

    every = {name: judge(name, kind) for name, kind in found.all().items()}
    return found, {
        "A": Detector(every, 7, 1),
        "B, same attack": Detector({"FGSM": every["FGSM"]}, 50, 0, benign_only=False),
    }


def test_verdicts_are_shares_and_areas_of_the_second_half(made_up):
    found, judges = made_up
    rows = tables.verdicts(found, judges).set_index(["group", "kind", "detector"])
    keys = {"attacks": "FGSM", "strangers": "digits", "8 bits": "FGSM 8 bits", "changes": "blur"}
    for group, key in keys.items():
        kind = found.all()[key]
        row = rows.loc[group, key.removesuffix(" 8 bits"), "A"]
        scores = judges["A"].verdicts[key].scores[kind.reported]
        assert row["inputs"] == len(scores) > 5
        assert row["flagged"] == (scores > 1).mean()
        if group == "changes":
            assert np.isnan(row["auroc"])
            continue
        benign = judges["A"].verdicts["benign"].scores[20:]
        labels = np.repeat([0, 1], [20, len(scores)])
        assert row["auroc"] == pytest.approx(roc_auc_score(labels, np.append(benign, scores)))
        assert row["low"] <= row["auroc"] <= row["high"]
    benign = judges["A"].verdicts["benign"].scores[20:]
    assert rows.loc["benign", "benign", "A"]["flagged"] == (benign > 1).mean()
    assert rows.loc["attacks", "few", "A"]["inputs"] == 1
    assert np.isnan(rows.loc["attacks", "few", "A"]["flagged"])
    assert {key[2] for key in rows.index if key[0] != "attacks"} == {"A"}
    assert ("attacks", "FGSM", "B, same attack") in rows.index
    assert ("attacks", "few", "B, same attack") not in rows.index


def test_first_half_is_of_what_learned_no_attack(made_up):
    found, judges = made_up
    rows = tables.first_half(found, judges)
    assert set(rows["detector"]) == {"A"}
    judged, kind = judges["A"].verdicts["FGSM"], found.attacks["FGSM"]
    positive = judged.scores[kind.first]
    labels = np.repeat([0, 1], [20, len(positive)])
    expected = roc_auc_score(labels, np.append(judged.benign[:20], positive))
    assert rows.set_index("kind").loc["FGSM", "auroc"] == pytest.approx(expected)
    assert np.isnan(rows.set_index("kind").loc["few", "auroc"])


def test_examples_count_what_still_fools(made_up):
    found, _ = made_up
    rows = tables.examples(found).set_index("attack")
    count = found.attacks["FGSM"].reported.sum()
    assert rows.loc["FGSM", "reported"] == count
    still = found.evasions["8 bits"]["FGSM"].reported.sum()
    assert rows.loc["FGSM", "8 bits"] == still / count
    assert rows.loc["FGSM", "JPEG 75"] == 0
    assert rows.loc["FGSM", "fool"] == 0.8


def test_report_holds_every_table(made_up, tmp_path):
    found = tables.compute(*made_up)
    about = {"title": "digits", "benign inputs": 40, "adapting inputs": 40}
    writing.write(tmp_path, about, found)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("auroc.csv", "auroc.png", "results.json", "tables.md"),
    }
    results = json.loads((tmp_path / "results.json").read_text())
    assert {*results} == {"about", *found}
    rows = pd.read_csv(tmp_path / "auroc.csv")
    assert len(rows) == len(found["verdicts"]) == len(results["verdicts"])
    text = (tmp_path / "tables.md").read_text()
    assert "second half of 40 benign inputs" in text
    verdicts = found["verdicts"].set_index(["group", "kind", "detector"])
    row = verdicts.loc["attacks", "FGSM", "A"]
    assert f"| A              | {row['auroc']:.3f}  | –     |" in text
    assert f"{100 * row['flagged']:.0f}" in text
    row = verdicts.loc["8 bits", "FGSM", "A"]
    assert f"{100 * row['flagged']:.0f} / {row['auroc']:.3f}" in text
    assert "| A                 | " in text.split("False alarms")[1]
    price = text.split("Price")[1].split("AUROC")[0]
    assert "| A          | 7         | 1          |" in price
    assert "same attack" not in price


@pytest.fixture
def _few(monkeypatch, few_settings):
    record = dataclasses.replace(RECORDS["digits"], settings=few_settings)
    monkeypatch.setitem(RECORDS, "digits", record)


@pytest.mark.usefixtures("_few")
def test_the_command_judges_by_statistics_costs_and_a_rival(
    collected, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(kinds, "MAX_CONFIDENT", 40)  # as in the examples, which are kept
    chosen = {"Margin": (Margin(),), "default": (Margin(), BoundaryDistance())}
    rivals = detectors.rivals
    monkeypatch.setattr(detectors, "sets", lambda classifier: chosen)
    monkeypatch.setattr(detectors, "rivals", lambda settings: {"BL1": rivals(settings)["BL1"]})
    main(["--limit", str(LIMIT), "--out", str(tmp_path), "--examples", str(collected[1])])
    printed = capsys.readouterr().out
    assert "test BIM-a: kept" in printed
    assert (tmp_path / "tables.md").read_text() in printed
    rows = pd.DataFrame(json.loads((tmp_path / "results.json").read_text())["verdicts"])
    found = rows[(rows["group"] == "attacks") & (rows["kind"] == "BIM-a")].set_index("detector")
    assert set(found.index) == {"Margin", "default", "BIM_d", "BL1", "BL1, same attack"}
    assert found.loc["BIM_d", "auroc"] > 0.9


@pytest.mark.parametrize(("limit", "folder"), [(1000, "digits"), (60, "digits-60")])
def test_a_quick_look_has_examples_of_its_own(limit, folder, tmp_path, monkeypatch, capsys):
    given = {}

    def record(model, data, **rest):
        given.update(rest, model=model.name)
        (tmp_path / "tables.md").write_text("no tables")

    monkeypatch.setattr(command, "cover", record)
    words = ["--limit", str(limit), "--out", str(tmp_path)]
    main(words)
    assert (given["model"], given["name"], given["limit"]) == ("digits", "digits", limit)
    assert given["folders"].out == tmp_path
    assert given["folders"].examples == pathlib.Path("results/examples") / folder
    assert given["about"]["command"] == f"python -m baselines.coverage {' '.join(words)}"
    assert "no tables" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("_few")
def test_runs_on_the_digits_and_measures_again_only_what_changed(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    words = ["--limit", "60", "--out", str(out), "--examples", str(tmp_path / "examples")]
    main(words)
    printed = capsys.readouterr().out
    assert (out / "tables.md").read_text() in printed
    results = json.loads((out / "results.json").read_text())
    about = results["about"]
    assert about["command"] == f"python -m baselines.coverage {' '.join(words)}"
    assert (about["benign inputs"], about["reported"], about["adapting inputs"]) == (60, 30, 60)
    assert list(about["attacks"]) == ["FGSM", "BIM-a", "C&W κ5"]
    rows = pd.DataFrame(results["verdicts"]).set_index(["group", "kind", "detector"])
    assert ("attacks", "FGSM", "BIM_d") in rows.index  # the exact cost of nothing else: too slow
    for detector in ("Margin", "BoundaryDistance", "default", "BL1", "BL2"):
        for group, kind in (("attacks", "FGSM"), ("changes", "blur"), ("8 bits", "C&W κ5")):
            assert (group, kind, detector) in rows.index
    assert rows.loc["attacks", "BIM-a", "BIM_d"]["auroc"] > 0.9
    fitted = [rows.loc["attacks", "FGSM", name]["auroc"] for name in ("BL1", "BL1, same attack")]
    assert fitted[0] == fitted[1]
    price = pd.DataFrame(results["price"]).set_index("detector")
    assert price.loc["BIM_d", "forward"] > 20
    assert tuple(price.loc["BoundaryDistance"]) == (0, 1)
    assert tuple(price.loc[["BL1", "BL2", "BL3", "BL4"], "forward"]) == (2, 0, 5, 0)
    assert "BL2, same attack" in price.index
    assert not {"BL3, same attack", "BL4, same attack"} & {*price.index}

    damaged = out / "checkpoints" / "FGSM BIM_d.h5"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    statistics = (BoundaryDistance(tail="both"), BoundaryDistance(norm="2"))
    monkeypatch.setattr(detectors, "default_statistics", lambda classifier: statistics)
    main(words)
    printed = capsys.readouterr().out
    again = [line for line in printed.split("\n") if "computing" in line]
    assert again == [
        "BoundaryDistance(norm='2'): computing",
        "FGSM BIM_d: FGSM BIM_d.h5 is damaged; computing it again",
        "FGSM BIM_d: computing",
    ]
    kept = pd.DataFrame(json.loads((out / "results.json").read_text())["verdicts"])
    first = pd.DataFrame(results["verdicts"])
    unchanged = [rows[~rows["detector"].str.startswith("default")] for rows in (first, kept)]
    pd.testing.assert_frame_equal(*(rows.reset_index(drop=True) for rows in unchanged))


def test_refuses_too_few_inputs(capsys):
    with pytest.raises(SystemExit):
        main(["--limit", "59"])
    assert "at least 60 test inputs" in capsys.readouterr().err
