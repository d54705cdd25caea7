import functools
import json
import sys
import types

import keras
import numpy as np
import pandas as pd
import pytest

import a2d_keras as a2d
from baselines.compare import compare, estimate
from baselines.compare.__main__ import main
from baselines.compare.attacks import attacks, default_attacks, defences
from baselines.compare.data import check, load
from baselines.compare.detectors import defaults, detectors, offered
from baselines.compare.sizes import Sizes, default_limit, rounded, sizes
from baselines.comparison import Options, protocols
from baselines.comparison.labels import predicted
from baselines.registry import BASELINES
from baselines.scored import Guard, Scored

pytestmark = pytest.mark.checkout

SIZES = Sizes(distance=0.05, eps=0.2, step=0.0005, large=False)
X = np.random.default_rng(0).uniform(size=(240, 6)).astype("float32")


class Brightness:
    """A detector of a user."""

    def __init__(self, model):
        self.mean = None

    def fit(self, x):
        self.mean = x.mean()

    def score(self, x):
        return abs(x.reshape(len(x), -1).mean(axis=1) - self.mean)


@pytest.fixture(scope="module")
def linear():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])


@pytest.fixture(scope="module")
def tiny(linear):
    return a2d.Classifier(linear)


@pytest.fixture(scope="module")
def arrays(tiny):
    return {"x_test": X, "y_test": predicted(tiny, X)}


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(protocols, "RESAMPLES", 30)  # intervals are not tested


def test_one_unit_and_many_are_predicted_alike():
    one = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, "sigmoid")])
    kernel = one.layers[0].kernel.numpy()
    two = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)])
    two.set_weights([np.hstack([0 * kernel, kernel]), np.zeros(2)])
    found = predicted(one, X - 0.5)
    np.testing.assert_array_equal(found, predicted(two, X - 0.5))
    assert {*found} == {0, 1}
    assert predicted(one, X[:0]).shape == (0,)


def test_sizes_follow_from_the_distance_to_the_boundary(tiny):
    found = sizes(tiny, X)
    statistic = a2d.Fingerprints(tiny, statistics=[a2d.BoundaryDistance()])
    median = np.median(statistic.fit(X[:100]).transform(X[:100]))
    assert found.distance == rounded(median) == pytest.approx(median, rel=0.05)
    assert found.eps == pytest.approx(min(0.5, 2 * median), rel=0.06)
    assert found.step == pytest.approx(median / 50, rel=0.1)
    assert (found.large, default_limit(X)) == (False, 200)
    assert default_limit(np.zeros((1, 64, 64, 3))) == 100
    assert f"ε = {found.eps:g}" in found.text()


def test_a_classifier_without_gradient_is_refused():
    flat = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, kernel_initializer="zeros")])
    with pytest.raises(ValueError, match="must have a gradient.* Received: none at 100 inputs"):
        sizes(a2d.Classifier(flat), X)


def test_large_inputs_get_no_slow_attack_or_detector():
    large = SIZES._replace(large=True)
    assert {*default_attacks(SIZES)} - {*default_attacks(large)} == {"JSMA", "C&W"}
    left = {*defaults(SIZES, trained=True)} - {*defaults(large, trained=True)}
    assert left == {"mutation testing"}
    assert isinstance(attacks(large)["JSMA"], a2d.JSMA)
    assert {*attacks(large)} == {*attacks(SIZES)}


def test_attacks_have_the_size_of_the_classifier():
    found = attacks(SIZES)
    assert (found["FGSM"].eps, found["BIM-a"].eps, found["PGD"].eps) == (0.2, 0.2, 0.2)
    assert not found["PGD"].stop_at_success
    assert defences(SIZES)["BIM_d"].eps_iter == SIZES.step


def test_training_inputs_decide_what_runs():
    without = defaults(SIZES, trained=False)
    assert {*defaults(SIZES, trained=True)} - {*without} == {"KD+BU", "Dissector"}
    assert {"LID", "default", "mutation testing"} <= {*without}


def test_detectors_are_found_by_name_by_place_and_as_objects(linear, tiny):
    make = functools.partial(detectors, classifier=tiny, sizes=SIZES, benign=X)
    named = f"{__name__}:Brightness"
    found = make(["BIM_d", "LID", named, a2d.BIM2(), a2d.Margin()])
    assert [*found] == ["BIM_d", "LID", "Brightness", "BIM2_d", "margin"]
    assert isinstance(found["BIM_d"], a2d.BIM)
    assert isinstance(found["LID"](linear, None), BASELINES["LID"])
    own = found["Brightness"](linear, None)
    expected = abs(X[:5].mean(axis=1) - X.mean())
    np.testing.assert_allclose(own.characteristics(X[:5])[:, 0], expected, atol=1e-6)
    assert [*make([Brightness])] == ["Brightness"]
    assert {*make(offered(SIZES))} == {*offered(SIZES)}
    with pytest.raises(ValueError, match="must have different names.* Received: 'LID' twice"):
        make(["LID", "LID"])
    with pytest.raises(ValueError, match="A detector must be one of JSMA_d, .* Received: 'BIM'"):
        make(["BIM"])
    with pytest.raises(ValueError, match="module:Class.* Received: nowhere:Class"):
        make(["nowhere:Class"])


def test_a_detector_must_score_each_input():
    class Wrong(Brightness):
        def score(self, x):
            return super().score(x)[:1]

    with pytest.raises(ValueError, match="a finite number for each input. Received: shape"):
        Scored(Wrong(None), X).characteristics(X[:3])


def test_another_detector_or_other_benign_inputs_are_another_origin():
    first = Scored(Brightness(None), X).parameters()
    assert first == Scored(Brightness(None), X).parameters()
    assert first != Scored(Brightness(None), X[1:]).parameters()
    json.dumps(first)


def test_a_detector_that_was_typed_in_never_has_the_same_origin(monkeypatch):
    monkeypatch.setitem(sys.modules, "typed_in", types.ModuleType("typed_in"))
    typed = type("Typed", (Brightness,), {"__module__": "typed_in"})
    first, again = (Scored(typed(None), X).parameters() for _ in range(2))
    assert first.pop("source") != again.pop("source")
    assert first == again


def test_a_guard_is_a_detector_that_knows_its_price(linear):
    statistics = [a2d.Margin()]
    detector = Guard(linear, statistics).fit(X[:100])
    guarded = a2d.guard(linear, statistics=statistics)
    guarded.adapt(X[:100], verbose=0)
    expected = guarded.predict(X[100:], verbose=0)["score"]
    np.testing.assert_array_equal(detector.score(X[100:]), expected)
    assert detector.passes == 0  # the margin is that of the prediction itself
    assert "Guard([Margin(" in Scored(detector, X).parameters()["detector"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"x_test": None}, "The data must hold x_test, y_test. Received: y_test, without x_test"),
        ({"x_train": X}, "Received: .*, without y_train"),
        ({"x_test": X[:, :5]}, r"shape \(n, 6\). Received: float32 of the shape \(240, 5\)"),
        ({"x_test": 300 * X}, "`x_test` must lie within the bounds.* Received: "),
        ({"y_test": np.full(240, 3)}, "a whole number from 0 to 2. Received: int64"),
        ({"y_test": np.zeros(9, int)}, "Received: .* for 240 inputs"),
        ({"class_names": ["a", "b"]}, "each of the 3 classes. Received: 2 names"),
    ],
)
def test_refuses_data_that_does_not_fit(tiny, arrays, change, sentence):
    changed = {name: value for name, value in (arrays | change).items() if value is not None}
    with pytest.raises(ValueError, match=sentence):
        check(changed, tiny)


def test_loads_pixels_and_classes_in_a_column(linear, arrays, tmp_path):
    classifier = a2d.Classifier(linear, bounds=(-1.0, 1.0))
    pixels = np.round(255 * X).astype("uint8")
    y = arrays["y_test"][:, None]
    np.savez(tmp_path / "data.npz", x_test=pixels, y_test=y, class_names=list("abc"))
    found = load(tmp_path / "data.npz", classifier)
    np.testing.assert_allclose(found.arrays.x_test, 2 * (pixels / 255) - 1, atol=1e-6)
    np.testing.assert_array_equal(found.arrays.y_test, arrays["y_test"])
    assert (found.class_names, len(found.arrays.x_train)) == (["a", "b", "c"], 0)
    (tmp_path / "data.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="must be an NPZ file of arrays.* Received: "):
        load(tmp_path / "data.npz", classifier)


def test_the_estimate_counts_steps_and_inputs(tiny, monkeypatch):
    monkeypatch.setattr(estimate, "seconds_of_gradient", lambda classifier, x: 1.0)
    found = estimate.text(
        tiny, X[:100], {"FGSM": a2d.FGSM()}, {"BIM_d": a2d.BIM(), "own": None}, training=False
    )
    assert "A gradient takes 1e+03 ms an input" in found
    assert "about 28 hours at most, BIM_d alone 28 hours" in found  # 100 · (1 + 2 · 500) s
    monkeypatch.undo()
    assert 0 < estimate.seconds_of_gradient(tiny, X) < 10


def test_compares_without_a_folder_and_says_what_is_left_out(linear, arrays, few_resamples, capsys):
    chosen = {"attacks": ["FGSM", "JSMA"], "detectors": ["KD+BU", Brightness]}
    table = compare(linear, arrays, **chosen, options=Options(limit=60))
    printed = capsys.readouterr().out
    assert "ε = " in printed
    assert "JSMA: left out: " in printed  # it needs two pixels of six
    assert "KD+BU: left out: " in printed
    assert isinstance(table, pd.DataFrame)
    assert [*table["attack"], *table["detector"]] == ["FGSM", "Brightness"]


@pytest.mark.slow
def test_defences_without_training_inputs_have_no_ensembles(
    linear, arrays, few_resamples, tmp_path, capsys
):
    chosen = {"attacks": ["DeepFool"], "detectors": ["BIM_d"], "out": tmp_path}
    table = compare(linear, arrays, **chosen, options=Options(limit=60))
    printed = capsys.readouterr().out
    assert "END, Z-score, Figure 6, Table 7: left out: they need 80 training inputs" in printed
    assert table["detector"].tolist() == ["BIM_d"]
    assert table["auroc"].item() > 0.9
    page = (tmp_path / "report.html").read_text()
    assert "Left out; see the end of the page." in page
    assert "Table 3" in (tmp_path / "tables.md").read_text()
    assert "Figure 6" not in (tmp_path / "tables.md").read_text()


def test_refuses_attacks_that_never_fool(linear, arrays):
    weak = a2d.FGSM(eps=1e-7)
    with pytest.raises(ValueError, match="No attack fools .* Received: FGSM"):
        compare(linear, arrays, attacks=[weak], detectors=["BIM_d"], options=Options(limit=40))
    with pytest.raises(ValueError, match="An attack must be one of FGSM, .* Received: 'BIM_d'"):
        compare(linear, arrays, attacks=["BIM_d"])


def test_refuses_wrong_classes(linear, arrays):
    wrong = arrays | {"y_test": (arrays["y_test"] + 1) % 3}
    with pytest.raises(ValueError, match="at least 40 test inputs right.* Received: 0 of 240"):
        compare(linear, wrong)


def test_the_command_names_what_it_misses(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--model", str(tmp_path / "none.keras"), "--data", "none.npz"])
    assert "The model does not exist" in capsys.readouterr().err


def test_the_command_compares_a_saved_classifier(
    linear, arrays, few_resamples, tmp_path, monkeypatch, capsys
):
    linear.save(tmp_path / "linear.keras")
    np.savez(tmp_path / "data.npz", **arrays)
    monkeypatch.chdir(tmp_path)
    words = ["--model", "linear.keras", "--data", "data.npz", "--limit", "40"]
    main([*words, "--attacks", "FGSM", "--detectors", f"{__name__}:Brightness"])
    printed = capsys.readouterr().out
    out = tmp_path / "results" / "compare" / "linear"
    results = json.loads((out / "results.json").read_text())
    assert (results["about"]["title"], results["about"]["test inputs"]) == ("linear", 40)
    rows = results["auroc_held_out"]
    assert {(row["attack"], row["detector"].split(" + ")[0]) for row in rows} == {
        ("FGSM", "Brightness")
    }
    assert all(f"{row['auroc']:.4f}" in printed for row in rows)
    assert "report.html" in printed


@pytest.mark.slow
def test_the_command_runs_on_digits_as_bytes_and_continues(
    model, digits, tmp_path, monkeypatch, few_resamples, capsys
):
    scaled = [keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), model]
    keras.Sequential(scaled).save(tmp_path / "bytes.keras")
    train, test = (np.round(255 * x) for x in (digits.x_train[:300], digits.x_test[:200]))
    y = {"y_train": digits.y_train[:300], "y_test": digits.y_test[:200]}
    np.savez(tmp_path / "data.npz", x_train=train, x_test=test, **y)
    (tmp_path / "mine.py").write_text(
        "class Brightness:\n    def __init__(self, model): pass\n"
        "    def fit(self, x): self.mean = x.mean()\n"
        "    def score(self, x): return abs(x.mean((1, 2, 3)) - self.mean)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["--model", "bytes.keras", "--data", "data.npz", "--bounds", "0", "255"]
    words += ["--attacks", "FGSM", "DeepFool", "--limit", "60", "--out", "out"]
    words += ["--detectors", "BIM_d", "default", "LID", "mine:Brightness"]
    main(words)
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    about = results["about"]
    assert about["chosen"] in printed
    assert about["command"] == f"python -m baselines.compare {' '.join(words)}"
    rows = pd.DataFrame(results["auroc_held_out"]).set_index(["attack", "detector"])["auroc"]
    assert rows["DeepFool", "BIM_d"] > 0.9
    assert rows["DeepFool", "default"] > 0.9
    names = {*rows.index.get_level_values("detector")}
    assert {"BIM_d", "END", "Z-score", "default", "LID", "Brightness"} <= names
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Brightness" in page
    main(words)
    again = capsys.readouterr().out
    assert ": kept" in again
    assert "computing" not in again
