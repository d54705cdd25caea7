import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from models import zoo

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


def legacy_h5(tmp_path):
    zoo.load("digits").save(tmp_path / "model.h5")
    return keras.models.load_model(tmp_path / "model.h5")


@pytest.fixture(scope="module")
def x(digits):
    """200 inputs, some of them adversarial."""
    model = zoo.load("digits")
    crafted = a2d.BIM(eps_iter=0.01, max_iterations=50)(a2d.Classifier(model), digits.x_test[:60])
    return np.concatenate([digits.x_test[:140], crafted.adversarial])


def serve(path, x):
    exported = tf.saved_model.load(path)  # which must outlive its functions
    return tf.nest.map_structure(np.asarray, exported.serve(tf.constant(x)))


def assert_equal(left, right, exact=True):
    assert set(left) == set(right)
    for name in left:
        if exact or left[name].dtype != "float32":
            np.testing.assert_array_equal(left[name], right[name], err_msg=name)
        else:
            np.testing.assert_allclose(left[name], right[name], rtol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def guarded(held_out):
    guarded = a2d.guard(zoo.load("digits"))
    guarded.adapt(held_out, verbose=0)
    return guarded


def test_reloads_in_a_fresh_process(guarded, x, tmp_path):
    guarded.save(tmp_path / "guarded.keras")
    np.save(tmp_path / "x.npy", x)
    arguments = [tmp_path / name for name in ("guarded.keras", "x.npy", "out.npz")]
    subprocess.run([sys.executable, "-c", FRESH_PROCESS, *arguments], check=True)
    with np.load(tmp_path / "out.npz") as out:
        assert_equal(guarded.predict(x, verbose=0), dict(out))


def test_exports(guarded, x, tmp_path):
    guarded.export(tmp_path / "serving")
    assert_equal(guarded.predict(x, verbose=0), serve(tmp_path / "serving", x))


def test_exports_what_was_loaded_and_never_called(guarded, x, tmp_path):
    guarded.save(tmp_path / "guarded.keras")
    keras.models.load_model(tmp_path / "guarded.keras").export(tmp_path / "serving")
    assert_equal(guarded.predict(x, verbose=0), serve(tmp_path / "serving", x))


def test_an_exported_model_refuses_with_the_same_sentence(guarded, x, tmp_path):
    guarded.export(tmp_path / "serving")
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be finite numbers within the"):
        serve(tmp_path / "serving", x + 1)


def test_the_ensemble_of_the_paper_is_saved(held_out, x, tmp_path):
    attacks = [a2d.JSMA(), a2d.BIM(), a2d.BIM2(), a2d.DBA()]
    ensemble = a2d.guard(zoo.load("digits"), attacks=attacks, false_positive_rate=0.1)
    ensemble.adapt(held_out[:120], verbose=0)
    before = ensemble.predict(x[100:], verbose=0)
    assert before["is_adversarial"][40:].mean() > 0.9 > 0.4 > before["is_adversarial"][:40].mean()
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.models.load_model(tmp_path / "ensemble.keras")
    assert loaded.detector.attacks == tuple(attacks)
    assert_equal(before, loaded.predict(x[100:], verbose=0))


@pytest.mark.parametrize("attack", [a2d.LBFGS(), a2d.JSMA(targeted=True)])
def test_guards_with_untargeted_steps_alone(attack):
    with pytest.raises(ValueError, match="that take steps, none of them targeted.* Received: "):
        a2d.guard(zoo.load("digits"), attacks=[attack])


def test_an_exported_model_takes_an_empty_batch(guarded, x, tmp_path):
    try:
        guarded.detector.model(x[:0])
    except tf.errors.InvalidArgumentError:
        pytest.skip("TensorFlow's convolution fails on an empty batch on this processor")
    guarded.export(tmp_path / "serving")
    assert len(serve(tmp_path / "serving", x[:0])["score"]) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"attacks": [a2d.BIM(eps_iter=0.002), a2d.BIM2()], "false_positive_rate": 0.1},
        {"detector": "knn", "on_invalid": "flag", "exact": True, "slots": 32},
    ],
    ids=["zscore", "knn"],
)
def test_round_trip_keeps_every_choice(options, held_out, x, tmp_path):
    guarded = a2d.guard(functional(), **options)
    adversarial = x[140:] if options.get("detector") == "knn" else None
    guarded.adapt(held_out[:100], adversarial, verbose=0)
    guarded.save(tmp_path / "guarded.keras")
    loaded = keras.models.load_model(tmp_path / "guarded.keras")
    assert_equal(guarded.predict(x, verbose=0), loaded.predict(x, verbose=0))
    before, after = guarded.detector.get_config(), loaded.detector.get_config()
    for name in set(before) - {"model"}:
        assert before[name] == after[name] or name == "bounds"
    assert tuple(before["bounds"]) == tuple(after["bounds"])
    assert loaded.detector.attacks == guarded.detector.attacks


def test_the_chosen_step_is_saved(held_out, tmp_path):
    inputs = keras.Input((8, 8, 1))
    fragile = keras.Model(inputs, zoo.load("digits")(keras.layers.Rescaling(10.0, -4.5)(inputs)))
    guarded = a2d.guard(fragile)
    guarded.adapt(0.1 * held_out[:100] + 0.45, verbose=0)
    guarded.save(tmp_path / "guarded.keras")
    loaded = keras.models.load_model(tmp_path / "guarded.keras")
    assert loaded.detector.attacks == guarded.detector.attacks
    assert loaded.detector.attacks[0].eps_iter < 0.0004
    np.testing.assert_array_equal(loaded.detector.thresholds, guarded.detector.thresholds)


def test_weights_alone(guarded, x, tmp_path):
    guarded.save_weights(tmp_path / "guarded.weights.h5")
    other = a2d.guard(zoo.build("digits"))
    other.load_weights(tmp_path / "guarded.weights.h5")
    assert_equal(guarded.predict(x, verbose=0), other.predict(x, verbose=0))


def test_guards_a_legacy_h5_model(guarded, held_out, x, tmp_path):
    other = a2d.guard(legacy_h5(tmp_path))
    other.adapt(held_out, verbose=0)
    assert_equal(guarded.predict(x, verbose=0), other.predict(x, verbose=0))


def test_layer_in_a_functional_model_is_saved_and_exported(held_out, x, tmp_path):
    layer = a2d.DetectorLayer(zoo.load("digits"))
    inputs = keras.Input((8, 8, 1))
    pipeline = keras.Model(inputs, layer(inputs)["is_adversarial"])
    layer.adapt(held_out, verbose=0)
    expected = pipeline.predict(x, verbose=0)
    pipeline.save(tmp_path / "pipeline.keras")
    loaded = keras.models.load_model(tmp_path / "pipeline.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    loaded.export(tmp_path / "serving")
    np.testing.assert_array_equal(serve(tmp_path / "serving", x), expected)
