"""Other libraries: their attacks on our classifiers, and their pipelines with our verdicts."""

import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import a2d_keras as a2d
from tests import tiny


@pytest.fixture(scope="module")
def guarded():
    return tiny.adapted("statistics")


@pytest.fixture(scope="module")
def classifier(guarded):
    return guarded.detector.classifier


def foolbox():
    return pytest.importorskip("foolbox", reason="Foolbox is not installed: a2d-keras[benchmarks]")


def art():
    reason = "ART is not installed: a2d-keras[benchmarks]"
    return pytest.importorskip("art.attacks.evasion", reason=reason)


def labels_of(classifier, x):
    return classifier.logits(tf.constant(x)).numpy().argmax(-1)


def assert_examples(classifier, x, adversarial):
    """They are in bounds, and turn most answers."""
    low, high = classifier.bounds
    assert adversarial.shape == x.shape
    assert (adversarial >= low).all()
    assert (adversarial <= high).all()
    assert np.mean(labels_of(classifier, adversarial) != labels_of(classifier, x)) > 0.5


def test_foolbox_attacks_and_its_examples_are_judged(guarded, classifier):
    x, labels = tf.constant(tiny.X[:20]), labels_of(classifier, tiny.X[:20])
    attack = foolbox().attacks.LinfBasicIterativeAttack(steps=20)
    model = classifier.as_foolbox()
    np.testing.assert_allclose(model(x), classifier.logits(x), atol=1e-6)
    raw, clipped, _ = attack(model, x, tf.constant(labels), epsilons=0.9)
    assert_examples(classifier, tiny.X[:20], clipped.numpy())
    for examples in (raw, clipped):
        assert tiny.predict(guarded, examples)["is_adversarial"].shape == (20,)


def test_foolbox_examples_of_its_own_tensors_are_judged(guarded, classifier):
    foolbox()
    eagerpy = pytest.importorskip("eagerpy", reason="comes with Foolbox")
    examples = eagerpy.astensor(tf.constant(tiny.X[:3]))
    tiny.assert_equal(tiny.predict(guarded, examples.raw), tiny.predict(guarded, tiny.X[:3]))


def test_art_attacks_and_its_examples_are_judged(guarded, classifier):
    attacks, x = art(), tiny.X[:20]
    estimator = classifier.as_art()
    np.testing.assert_allclose(estimator.predict(x), classifier.logits(x), atol=1e-6)
    assert estimator.input_shape == tiny.SHAPE
    attack = attacks.BasicIterativeMethod(estimator, eps=0.9, max_iter=20, verbose=False)
    adversarial = attack.generate(x)
    assert_examples(classifier, x, adversarial)
    assert tiny.predict(guarded, adversarial)["is_adversarial"].shape == (20,)


def test_ranges_by_feature():
    low, high = np.zeros(tiny.SHAPE), np.arange(1.0, 7.0).reshape(tiny.SHAPE)
    classifier = a2d.Classifier(tiny.classifier(), bounds=(low, high))
    foolbox()
    with pytest.raises(ValueError, match=r"one range .* Received: bounds of the shape \(2, 3, 1\)"):
        classifier.as_foolbox()
    assert classifier.unit.as_foolbox().bounds == (0, 1)
    x = (tiny.X[:20] * high).astype("float32")
    attack = art().ProjectedGradientDescent(
        classifier.as_art(), eps=high - low, eps_step=(high - low) / 10, verbose=False
    )
    assert_examples(classifier, x, attack.generate(x))


def test_one_unit_has_two_classes():
    art()
    one = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid")])
    estimator = a2d.Classifier(one).as_art()
    assert estimator.nb_classes == 2
    assert estimator.predict(np.zeros((3, 4), "float32")).shape == (3, 2)


@pytest.mark.parametrize("way", ["foolbox", "art"])
def test_what_is_missing_is_named(classifier, monkeypatch, way):
    package = {"foolbox": "foolbox", "art": "adversarial-robustness-toolbox"}[way]
    for name in [way, *(name for name in sys.modules if name.startswith(f"{way}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"`pip install {package}`. Received: "):
        getattr(classifier, f"as_{way}")()


def test_verdicts_as_pandas(guarded):
    outputs = tiny.predict(guarded, tiny.X[:5])
    frame = pd.DataFrame(guarded.detector.columns(outputs))
    assert list(frame) == list(guarded.detector.column_names)
    assert frame["is_adversarial"].dtype == bool
    assert len(frame) == 5


def test_statistics_as_named_columns_for_scikit_learn():
    fingerprints = a2d.Fingerprints(tiny.classifier()).set_output(transform="pandas")
    frame = fingerprints.fit(tiny.X).transform(tiny.X[:5])
    assert isinstance(frame, pd.DataFrame)
    assert list(frame) == list(fingerprints.get_feature_names_out())


def test_inside_sequential(guarded):
    """Its dict of outputs is what the whole model gives, so it stands last."""
    doubled = keras.layers.Rescaling(0.5)
    whole = keras.Sequential([keras.Input(tiny.SHAPE), doubled, guarded.detector])
    got = whole.predict(2 * tiny.X[:7], verbose=0)
    expected = tiny.predict(guarded, tiny.X[:7])
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("batch", [1, 4])
def test_inside_a_pipeline_of_tf_data(guarded, batch):
    dataset = tf.data.Dataset.from_tensor_slices(tiny.X[:8]).batch(batch).map(guarded)
    got = np.concatenate([verdicts["p_value"] for verdicts in dataset])
    np.testing.assert_allclose(got, tiny.predict(guarded, tiny.X[:8])["p_value"], atol=1e-5)


def test_a_task_of_keras_hub():
    hub = pytest.importorskip("keras_hub", reason="KerasHub is not installed")
    backbone = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(16, 16, 3),
    )
    converter = hub.layers.ImageConverter(image_size=(16, 16), scale=1 / 255)
    task = hub.models.ResNetImageClassifier(
        backbone=backbone,
        num_classes=3,
        preprocessor=hub.models.ResNetImageClassifierPreprocessor(image_converter=converter),
    )
    guarded = a2d.guard(task, bounds=(0.0, 255.0))
    x = np.random.default_rng(0).uniform(0, 255, (60, 16, 16, 3)).astype("float32")
    guarded.adapt(x, verbose=0)
    outputs = guarded.predict(x[:4], verbose=0)
    expected = task.predict(x[:4], verbose=0)
    np.testing.assert_allclose(outputs["predictions"], expected, atol=1e-6)
