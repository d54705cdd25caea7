"""Files of version 0.1 load, and give the same verdicts as then."""

import pathlib

import keras
import numpy as np
import pytest

import a2d_keras as a2d

pytestmark = pytest.mark.skipif(
    tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15),
    reason="the files were written by Keras 3.15, and older versions do not read them",
)

DATA = pathlib.Path(__file__).parent / "data"
SERIALIZED_BIM = {
    "module": "a2d_keras.attacks.gradient_sign",
    "class_name": "BIM",
    "registered_name": "a2d_keras>BIM",
    "config": {
        "max_iterations": 100,
        "targeted": False,
        "eps": 0.3,
        "eps_iter": 0.002,
        "stop_at_success": True,
    },
}


def config(**changes):
    """What 0.1's `DetectorLayer.get_config` returned."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    return {
        "name": "detector_layer",
        "model": keras.saving.serialize_keras_object(model),
        "bounds": [0.0, 2.0],
        "attacks": None,
        "detector": "zscore",
        "false_positive_rate": 0.1,
        "exact": False,
        "on_invalid": "raise",
        "from_logits": None,
        "slots": 128,
        "on_changed_weights": "raise",
        "precision": "float32",
        **changes,
    }


@pytest.fixture(scope="module", params=["guarded", "guarded_knn"])
def saved(request):
    path = DATA / f"{request.param}_0.1.keras"
    return keras.models.load_model(path), np.load(path.with_suffix(".npz"))


@pytest.fixture(scope="module")
def x(digits, classifier):
    """As `tests/data/README.md` says."""
    benign = digits.x_test[300:600]
    crafted = a2d.BIM(eps_iter=0.01, max_iterations=50)(classifier, benign[:100])
    return {"benign": benign, "adversarial": crafted.adversarial}


def assert_as_before(guarded, x, expected, count):
    for kind, inputs in x.items():
        out = guarded.predict(inputs[:count], verbose=0)
        for name in ("cost", "score", "is_adversarial"):
            rows = expected[f"{kind}_{name}"][:count]
            np.testing.assert_array_equal(out[name], rows, err_msg=f"{kind} {name}")


@pytest.mark.parametrize("count", [60, pytest.param(None, marks=pytest.mark.slow)])
def test_verdicts_are_equal(saved, x, count):
    guarded, expected = saved
    assert guarded.detector.up_to_date
    assert_as_before(guarded, x, expected, count)


def test_what_was_chosen_is_kept(saved):
    layer = saved[0].detector
    attacks, rule = {1: ((a2d.BIM(),), "zscore"), 2: ((a2d.BIM(), a2d.JSMA()), "knn")}[
        len(layer.attacks)
    ]
    assert (layer.attacks, layer.rule.name) == (attacks, rule)
    assert layer.statistics == tuple(
        a2d.AttackCost(attack if rule == "knn" else None) for attack in attacks
    )


@pytest.mark.slow
def test_is_saved_in_the_present_form(saved, x, tmp_path):
    guarded, expected = saved
    guarded.save(tmp_path / "guarded.keras")
    loaded = keras.models.load_model(tmp_path / "guarded.keras")
    assert "rule" in loaded.detector.get_config()
    assert not hasattr(loaded.detector, "verdict")
    assert_as_before(loaded, x, expected, 20)
    guarded.save_weights(tmp_path / "guarded.weights.h5")
    loaded.load_weights(tmp_path / "guarded.weights.h5")
    assert_as_before(loaded, x, expected, 20)


@pytest.mark.slow
def test_adapts_again(held_out, digits):
    guarded = keras.models.load_model(DATA / "guarded_0.1.keras")
    before = guarded.detector.thresholds
    guarded.adapt(digits.x_test[:300], verbose=0)
    np.testing.assert_array_equal(guarded.detector.thresholds, before)


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"exact": True}, "statistics", (a2d.AttackCost(exact=True),)),
        (
            {"exact": True, "attacks": [SERIALIZED_BIM]},
            "statistics",
            (a2d.AttackCost(a2d.BIM(eps_iter=0.002, max_iterations=100), exact=True),),
        ),
        ({"slots": "auto"}, "options", a2d.GuardOptions(slots="auto")),
        ({"on_invalid": "flag"}, "options", a2d.GuardOptions(on_invalid="flag")),
        ({"on_changed_weights": "warn"}, "options", a2d.GuardOptions(on_changed_weights="warn")),
        ({"name": "mine"}, "name", "mine"),
        ({}, "false_positive_rate", 0.1),
    ],
    ids=str,
)
def test_every_option_is_converted(changes, name, value):
    layer = a2d.DetectorLayer.from_config(config(**changes))
    assert getattr(layer, name) == value
    assert layer.classifier.bounds == (0, 2)


@pytest.mark.parametrize(
    ("name", "value"), [("precision", "bfloat16"), ("from_logits", True), ("from_logits", False)]
)
def test_what_belongs_to_the_classifier_is_converted(name, value):
    try:
        a2d.Classifier(
            keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), **{name: value}
        )
    except ValueError:
        pytest.skip("this processor lacks the precision")
    layer = a2d.DetectorLayer.from_config(config(**{name: value}))
    assert getattr(layer.classifier, name) == value


def test_files_are_small():
    assert all(path.stat().st_size < 400_000 for path in DATA.glob("*_0.1.*"))


def test_draws_keep_their_old_name():
    from a2d_keras.attacks import draws
    from a2d_keras.attacks.engine import randomness

    assert (draws.keys, draws.uniform) == (randomness.keys, randomness.uniform)
