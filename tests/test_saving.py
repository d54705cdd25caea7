import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from models import zoo

pytestmark = pytest.mark.keras

FRESH_PROCESS = """
import sys
import keras, numpy as np
import a2d_keras
guarded = keras.models.load_model(sys.argv[1])
np.savez(sys.argv[3], **guarded.predict(np.load(sys.argv[2]), verbose=0))
"""


def functional():
    model = zoo.load("digits")
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, model(keras.layers.Rescaling(1.0)(inputs)))


@pytest.fixture(scope="module")
def x(benign, adversarial):
    """60 inputs, 20 of them adversarial."""
    return np.concatenate([benign, adversarial[:20]])


@pytest.fixture(scope="module")
def out(each_guarded, x):
    return each_guarded.predict(x, verbose=0)


@pytest.fixture(scope="module")
def saved(each_guarded, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "guarded.keras"
    each_guarded.save(path)
    return path


def serve(path, x):
    exported = tf.saved_model.load(path)  # which must outlive its functions
    return tf.nest.map_structure(np.asarray, exported.serve(tf.constant(x)))


def assert_equal(left, right):
    assert set(left) == set(right)
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


@pytest.mark.slow
def test_reloads_in_a_fresh_process(saved, x, out, tmp_path):
    np.save(tmp_path / "x.npy", x)
    arguments = [saved, tmp_path / "x.npy", tmp_path / "out.npz"]
    subprocess.run([sys.executable, "-c", FRESH_PROCESS, *arguments], check=True)
    with np.load(tmp_path / "out.npz") as found:
        assert_equal(out, dict(found))


@pytest.fixture(scope="module")
def exported(saved, tmp_path_factory):
    """Export a model that was loaded and never called."""
    folder = tmp_path_factory.mktemp("serving")
    keras.models.load_model(saved).export(folder)
    return folder


@pytest.mark.slow
def test_exports(each_guarded, x, out, tmp_path):
    each_guarded.export(tmp_path / "serving")
    assert_equal(out, serve(tmp_path / "serving", x))


@pytest.mark.slow
def test_exports_what_was_loaded_and_never_called(exported, x, out):
    assert_equal(out, serve(exported, x))


def test_an_exported_model_refuses_with_the_same_sentence(exported, x):
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be finite numbers within the"):
        serve(exported, x + 1)


def test_an_exported_model_takes_an_empty_batch(each_guarded, exported, x):
    try:
        each_guarded.detector.model(x[:0])
    except tf.errors.InvalidArgumentError:
        pytest.skip("TensorFlow's convolution fails on an empty batch on this processor")
    assert len(serve(exported, x[:0])["score"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "attacks",
    [
        (
            a2d.JSMA(max_iterations=40),
            a2d.BIM(eps_iter=0.002, max_iterations=150),
            a2d.BIM2(eps_iter=0.0006, max_iterations=150),
            a2d.DBA(max_iterations=60, distance=0.05),
        ),
        pytest.param(
            (a2d.JSMA(), a2d.BIM(), a2d.BIM2(), a2d.DBA()),
            id="as long as in the paper",
        ),
    ],
)
def test_the_ensemble_of_the_paper_is_saved(guard_digits, x, attacks, tmp_path):
    ensemble = guard_digits(attacks=attacks, false_positive_rate=0.1, count=60)
    before = ensemble.predict(x, verbose=0)
    assert before["is_adversarial"][40:].mean() > 0.9 > 0.4 > before["is_adversarial"][:40].mean()
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.models.load_model(tmp_path / "ensemble.keras")
    assert [repr(attack) for attack in loaded.detector.attacks] == [repr(a) for a in attacks]
    assert_equal(before, loaded.predict(x, verbose=0))


BIMS = [a2d.BIM(eps_iter=0.002, max_iterations=150), a2d.BIM2(max_iterations=150)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"attacks": BIMS, "rule": a2d.ZScore(k=2), "false_positive_rate": 0.1},
        {
            "statistics": [a2d.AttackCost(BIMS[0], exact=True)],
            "rule": a2d.KNN(k=20),
            "on_invalid": "flag",
            "on_changed_weights": "warn",
            "slots": 32,
        },
    ],
    ids=["zscore", "knn"],
)
def test_round_trip_keeps_every_choice(options, guard_digits, x, tmp_path):
    model = a2d.Classifier(functional(), bounds=(0, 1), from_logits=False, threshold=0.5)
    guarded = guard_digits(model, count=60, **options)
    guarded.save(tmp_path / "guarded.keras")
    loaded = keras.models.load_model(tmp_path / "guarded.keras")
    assert_equal(guarded.predict(x, verbose=0), loaded.predict(x, verbose=0))
    before, after = guarded.detector.get_config(), loaded.detector.get_config()
    for name in set(before) - {"model"}:
        assert before[name] == after[name], name
    for name in ("attacks", "statistics", "options", "false_positive_rate"):
        assert getattr(loaded.detector, name) == getattr(guarded.detector, name)
    assert loaded.detector.up_to_date


@pytest.mark.slow
def test_weights_alone(each_guarded, x, out, tmp_path):
    each_guarded.save_weights(tmp_path / "guarded.weights.h5")
    other = a2d.guard(zoo.build("digits"), rule=each_guarded.detector.rule)
    other.load_weights(tmp_path / "guarded.weights.h5")
    assert_equal(out, other.predict(x, verbose=0))


@pytest.mark.slow
def test_guards_a_legacy_h5_model(guarded, guard_digits, model, x, tmp_path):
    model.save(tmp_path / "model.h5")
    other = guard_digits(keras.models.load_model(tmp_path / "model.h5"))
    assert_equal(guarded.predict(x, verbose=0), other.predict(x, verbose=0))


@pytest.mark.slow
def test_layer_in_a_functional_model_is_saved_and_exported(each_guarded, x, out, tmp_path):
    layer = a2d.DetectorLayer(zoo.load("digits"), rule=each_guarded.detector.rule)
    inputs = keras.Input((8, 8, 1))
    pipeline = keras.Model(inputs, layer(inputs)["is_adversarial"])
    layer.set_weights(each_guarded.detector.get_weights())
    pipeline.save(tmp_path / "pipeline.keras")
    loaded = keras.models.load_model(tmp_path / "pipeline.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), out["is_adversarial"])
    loaded.export(tmp_path / "serving")
    np.testing.assert_array_equal(serve(tmp_path / "serving", x), out["is_adversarial"])
