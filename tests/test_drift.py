"""Detectors and weights cannot drift apart."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d

pytestmark = pytest.mark.keras

CHANGED = "weights have changed since `adapt`.*call `adapt` with benign inputs again.* Received: "


def small():
    keras.utils.set_random_seed(0)  # since module fixtures run before those of a test
    layers = [keras.Input((4,)), keras.layers.Dense(8), keras.layers.BatchNormalization()]
    return keras.Sequential([*layers, keras.layers.Dropout(0.5), keras.layers.Dense(3)])


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).uniform(size=(60, 4)).astype("float32")


ATTACKS = [a2d.BIM(eps_iter=1e-3, max_iterations=300)]
GUARDS = {"statistics": {}, "costs": {"attacks": ATTACKS}}


def adapted(model, x, **options):
    guarded = a2d.guard(model, **options)
    guarded.adapt(x, verbose=0)
    return guarded


@pytest.fixture(
    scope="module", params=["statistics", pytest.param("costs", marks=pytest.mark.slow)]
)
def adapted_once(x, request):
    return adapted(small(), x, **GUARDS[request.param])


@pytest.fixture
def guarded(adapted_once):
    weights = adapted_once.get_weights()
    yield adapted_once
    adapted_once.set_weights(weights)


def flip_one_bit(weight):
    bits = keras.ops.convert_to_numpy(weight).copy()
    bits.reshape(-1).view("uint8")[0] ^= 1
    weight.assign(bits)


@pytest.mark.parametrize("index", range(8))
def test_one_bit_of_any_weight_is_noticed(guarded, x, index):
    weight = guarded.detector.model.weights[index]
    flip_one_bit(weight)
    with pytest.raises(ValueError, match=CHANGED):
        guarded.predict(x, verbose=0)
    flip_one_bit(weight)
    guarded.predict(x, verbose=0)


@pytest.mark.parametrize("kind", ["array", "list", "tensor", "dataset", "empty"])
def test_whatever_is_predicted(guarded, x, kind):
    given = {
        "array": x,
        "list": x.tolist(),
        "tensor": tf.constant(x),
        "dataset": tf.data.Dataset.from_tensor_slices(x).batch(8),
        "empty": x[:0],
    }
    flip_one_bit(guarded.detector.model.weights[0])
    with pytest.raises(ValueError, match=CHANGED):
        guarded.predict(given[kind], verbose=0)


def test_weights_that_change_places_are_noticed(guarded, x):
    mean, variance = guarded.detector.model.layers[1].weights[2:]
    before = mean.numpy(), variance.numpy()
    mean.assign(before[1])
    variance.assign(before[0])
    with pytest.raises(ValueError, match=CHANGED):
        guarded.predict(x, verbose=0)


@pytest.mark.slow
def test_adapting_again_settles_it(guarded, x):
    model = guarded.detector.model
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    guarded.predict(x, verbose=0)  # compiling changes no weight
    model.fit(x, np.arange(60) % 3, verbose=0)
    assert not guarded.detector.up_to_date
    with pytest.raises(ValueError, match=CHANGED):
        guarded.predict(x, verbose=0)
    guarded.adapt(x, verbose=0)
    assert guarded.detector.up_to_date
    guarded.predict(x, verbose=0)


def test_random_seeds_are_no_weights(guarded, x):
    seed = [v for v in guarded.detector.model.variables if "seed" in v.path]
    before = seed[0].numpy()
    guarded.detector.model.layers[2](x, training=True)
    assert (seed[0].numpy() != before).any()
    guarded.predict(x, verbose=0)


@pytest.mark.slow
def test_warns_by_choice(x):
    guarded = adapted(small(), x, on_changed_weights="warn")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        before = guarded.predict(x, verbose=0)
    flip_one_bit(guarded.detector.model.weights[0])
    with pytest.warns(UserWarning, match=CHANGED) as caught:
        after = guarded.predict(x, verbose=0)
    told = [w for w in caught if w.category is UserWarning]
    assert [w.filename for w in told] == [__file__]  # the caller's line
    np.testing.assert_array_equal(after["is_adversarial"], before["is_adversarial"])


def test_a_detector_that_was_not_adapted_says_just_that(x):
    with pytest.raises(ValueError, match="is not adapted: call `adapt`"):
        a2d.guard(small()).predict(x, verbose=0)


def test_the_choice_is_checked():
    with pytest.raises(ValueError, match='"raise" or "warn". Received: \'ignore\''):
        a2d.guard(small(), on_changed_weights="ignore")


@pytest.mark.parametrize("choice", ["raise", "warn"])
def test_saved_with_the_model(x, tmp_path, choice):
    guarded = adapted(small(), x, on_changed_weights=choice)
    guarded.save(tmp_path / "guarded.keras")
    loaded = keras.models.load_model(tmp_path / "guarded.keras")
    assert loaded.detector.options.on_changed_weights == choice
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded.predict(x, verbose=0)
    flip_one_bit(loaded.detector.model.weights[0])
    told = {"raise": pytest.raises(ValueError, match=CHANGED), "warn": pytest.warns(match=CHANGED)}
    with told[choice]:
        loaded.predict(x, verbose=0)


@pytest.mark.slow
def test_exported_models_skip_it(guarded, x, tmp_path):
    expected = guarded.predict(x, verbose=0)
    guarded.export(tmp_path / "serving")
    flip_one_bit(guarded.detector.model.weights[0])
    exported = tf.saved_model.load(tmp_path / "serving")
    served = exported.serve(tf.constant(x))
    np.testing.assert_array_equal(served["is_adversarial"], expected["is_adversarial"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "mixed_bfloat16"])
def test_weights_of_every_kind(dtype, tmp_path):
    keras.config.set_dtype_policy(dtype)
    classifier = a2d.Classifier(small())
    before = classifier.weights_hash()
    assert -(2**63) <= before < 2**63
    classifier.model.save(tmp_path / "model.keras")
    loaded = a2d.Classifier(keras.models.load_model(tmp_path / "model.keras"))
    assert loaded.weights_hash() == before
    flip_one_bit(loaded.model.weights[0])
    assert loaded.weights_hash() != before


def test_the_hash_is_that_of_the_bits():
    """The hash is the same in every version and on every machine, since saved models hold it."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.set_weights([np.array([[1, 2], [3, 4]]), np.array([-0.5, 0])])
    assert a2d.Classifier(model).weights_hash() == -1991412642696154092
    model.set_weights([np.array([[1, 2], [3, 4]]), np.array([-0.5, -0.0])])
    assert a2d.Classifier(model).weights_hash() != -1991412642696154092
