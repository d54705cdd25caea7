import keras
import numpy as np
import pytest
from keras import layers
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from a2d_keras import BIM, Classifier
from baselines.dissector.detector import Dissector
from baselines.dissector.hidden import MAX_VALUES, Hidden, pooled
from baselines.dissector.validity import Growth, snapshot_invalidity
from models import imagenet, zoo

pytestmark = pytest.mark.checkout


@pytest.fixture(scope="module")
def kinds(digits, model):
    predicted = model.predict(digits.x_test, verbose=0).argmax(-1)
    benign = digits.x_test[predicted == digits.y_test][:200]
    return benign, BIM(eps_iter=0.01, max_iterations=50)(Classifier(model), benign).adversarial


@pytest.fixture(scope="module")
def fitted(model, digits, kinds):
    benign, adversarial = kinds
    return Dissector.from_data(model, digits).fit(benign, benign, adversarial)


def by_loops(snapshots, weights):
    """The validity degree of each input, as Wang et al. define it."""
    degrees = []
    for rows in zip(*snapshots, strict=True):
        label, validities = rows[-1].argmax(), []
        for s in rows:
            if s.argmax() == label:
                validities.append(s[label] / (s[label] + np.sort(s)[-2]))
            else:
                validities.append(1 - s.max() / (s.max() + s[label]))
        degrees.append(np.dot(weights, validities) / np.sum(weights))
    return np.array(degrees)


@pytest.mark.slow
def test_scores_equal_the_definition(fitted, model, kinds):
    outputs = keras.Model(model.inputs, [model.get_layer(n).output for n in fitted.names])
    heads = fitted._heads()
    for x in kinds:
        features = [a.reshape(len(x), -1) for a in outputs.predict(x, verbose=0)]
        logits = [a.astype("float64") @ w + b for a, (w, b) in zip(features, heads, strict=True)]
        snapshots = [softmax(each, axis=-1) for each in logits]
        snapshots.append(model.predict(x, verbose=0).astype("float64"))
        expected = by_loops(snapshots, np.exp([1, 2, 3, 4]))
        np.testing.assert_allclose(1 - fitted.score(x), expected, atol=1e-6)


def test_a_snapshot_is_valid_above_one_half_only_if_it_agrees(fitted, kinds):
    for x in kinds:
        snapshots = fitted.snapshots(x)
        label = snapshots[-1].argmax(axis=-1)
        invalidity = fitted.characteristics(x)
        assert invalidity.shape == (200, 4)
        assert ((invalidity > 0) & (invalidity < 1)).all()
        agrees = np.stack([each.argmax(axis=-1) == label for each in snapshots], axis=1)
        np.testing.assert_array_equal(invalidity < 0.5, agrees)
        assert (invalidity[:, -1] < 0.5).all()
        for column, logits in zip(invalidity.T, snapshots, strict=True):
            np.testing.assert_array_equal(column, snapshot_invalidity(logits, label))
        scores = fitted.score(x)
        assert ((scores > 0) & (scores < 1)).all()


def test_tells_adversarial_digits(fitted, kinds):
    benign, adversarial = (fitted.score(x) for x in kinds)
    labels = np.repeat([0, 1], 200)
    assert roc_auc_score(labels, np.append(benign, adversarial)) > 0.98


def test_a_sure_classifier_still_ranks_its_inputs(fitted, kinds):
    logits = np.array([[700.0, 0.0], [600.0, 0.0], [50.0, 0.0]])
    found = snapshot_invalidity(logits, [0, 0, 0])
    assert 0 < found[0] < found[1] < found[2] < 1e-16
    last = fitted.characteristics(kinds[0])[:, -1]
    assert len(np.unique(last)) == 200


def test_later_sub_models_are_better_and_all_have_learned(fitted, digits):
    snapshots = fitted.snapshots(digits.x_test)
    accuracy = [np.mean(each.argmax(axis=-1) == digits.y_test) for each in snapshots]
    assert accuracy[0] > 0.9
    assert accuracy[2] > accuracy[0]


def test_the_model_does_not_change(fitted, model):
    assert [w.tobytes() for w in model.get_weights()] == [
        w.tobytes() for w in zoo.load("digits").get_weights()
    ]


@pytest.mark.parametrize(
    ("growth", "expected"),
    [
        (Growth(), np.exp([1, 2, 3])),
        (Growth("exponential", beta=0.5), np.exp([0.5, 1, 1.5])),
        (Growth("exponential", alpha=2, beta=0.5), 2 * np.exp([0.5, 1, 1.5]) + 1),
        (Growth("linear"), [1, 2, 3]),
        (Growth("linear", alpha=2), [3, 5, 7]),
        (Growth("logarithmic"), np.log([1, 2, 3])),
        (Growth("logarithmic", alpha=2, beta=0), 2 * np.log([1, 2, 3]) + 1),
        (Growth("logarithmic", alpha=2, beta=3), 2 * np.log([4, 7, 10]) + 1),
    ],
)
def test_growths(growth, expected):
    np.testing.assert_allclose(growth.weights(3), expected)


def test_the_growth_weighs_the_snapshots(model, digits, fitted, kinds):
    detector = Dissector.from_data(model, digits, growth=Growth("linear"))
    table = fitted.characteristics(kinds[1])
    detector.fit_characteristics(table, table, table)
    expected = (table * [0.1, 0.2, 0.3, 0.4]).sum(axis=1)
    np.testing.assert_allclose(detector.score_characteristics(table), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("digits", ["conv2d", "conv2d_1", "dense"]),
        ("lenet5", ["conv2d", "pool_1", "conv2d_1", "pool_2", "hidden_1", "hidden_2"]),
        ("resnet20", ["ReLU 32", "ReLU 16", "ReLU 8"]),
    ],
)
def test_the_rule_takes_the_last_layer_at_each_resolution(name, expected):
    keras.utils.clear_session()
    model = zoo.build(name)
    found = Hidden(model).names
    if name == "resnet20":
        inner = {layer.name: layer for layer in model.layers[-1].layers}
        found = [f"{type(inner[n]).__name__} {inner[n].output.shape[1]}" for n in found]
    assert found == expected


def test_a_layer_without_weights_behind_the_outputs_is_not_hidden():
    names = Hidden(imagenet.build("mobilenet", 64)).names
    assert names == [f"conv_pw_{place}_relu" for place in (1, 3, 5, 11, 13)]


def test_activations_are_those_of_the_layers(model, digits):
    x = digits.x_test[:300]
    chosen = [model.layers[place].name for place in (4, 1)]
    hidden = Hidden(model, chosen=chosen)
    assert (hidden.names, hidden.places) == (chosen, [4, 1])
    assert Hidden(model, chosen=[4, 1]).names == chosen
    outputs = keras.Model(model.inputs, [model.get_layer(n).output for n in hidden.names])
    expected = [a.reshape(300, -1) for a in outputs.predict(x, verbose=0)]
    for place, (found, each) in enumerate(zip(hidden.activations(x), expected, strict=True)):
        np.testing.assert_allclose(found, each, atol=1e-5)
        np.testing.assert_allclose(hidden.activations_of(place, x), each, atol=1e-5)


def adaptive_average(a, cells):
    """Average pooling as PyTorch's `adaptive_avg_pool2d`, cell by cell."""
    found = np.empty((len(a), cells, cells, a.shape[-1]))
    for i in range(cells):
        for j in range(cells):
            rows, columns = (
                slice(k * side // cells, -(-((k + 1) * side) // cells))
                for k, side in zip((i, j), a.shape[1:3], strict=True)
            )
            found[:, i, j] = a[:, rows, columns].mean(axis=(1, 2))
    return found.reshape(len(a), -1)


@pytest.mark.parametrize(
    ("shape", "cells"),
    [((10, 13, 100), 4), ((7, 9, 300), 2), ((5, 5, 700), 1), ((5, 5, 3000), 1)],
)
def test_pooling_averages_over_a_grid(shape, cells):
    a = np.random.default_rng(0).random((3, *shape), "float32")
    np.testing.assert_allclose(pooled(a_tensor(a)), adaptive_average(a, cells), atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 16, 8), (5000,), (2048,), (30, 60), (3, 2, 4, 5)])
def test_small_activations_and_vectors_stay_as_they_are(shape):
    a = np.random.default_rng(0).random((3, *shape), "float32")
    assert np.prod(shape) <= MAX_VALUES or len(shape) == 1
    np.testing.assert_array_equal(pooled(a_tensor(a)), a.reshape(3, -1))


def a_tensor(a):
    return keras.ops.convert_to_tensor(a)


@pytest.mark.slow
def test_nested_models_and_logits(model, digits, fitted, kinds):
    inputs = keras.Input((8, 8, 1))
    nested = keras.Model(inputs, model(layers.Rescaling(1.0)(inputs)))
    again = Dissector.from_data(nested, digits, hidden=fitted.names)
    np.testing.assert_allclose(
        again.characteristics(kinds[1]), fitted.characteristics(kinds[1]), atol=1e-3
    )


def test_a_loaded_detector_needs_no_training_inputs(fitted, digits, kinds, tmp_path):
    fitted.save(tmp_path / "file")
    loaded = Dissector.load(tmp_path / "file", zoo.load("digits"))
    np.testing.assert_array_equal(loaded.score(kinds[1]), fitted.score(kinds[1]))
    assert loaded.parameters() == fitted.parameters()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hidden": ["none"]}, "`hidden` must hold names.* Received: 'none', which is 0 such"),
        ({"hidden": [7]}, "`hidden` must hold names.* Received: 7, which is 0 such"),
        ({"hidden": []}, "must have a hidden layer.* Received: Sequential"),
        ({"epochs": 0}, "`epochs` must be a whole number, at least 1. Received: 0"),
    ],
)
def test_refuses_a_bad_parameter(model, digits, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Dissector.from_data(model, digits, **options)


def test_refuses_another_growth():
    with pytest.raises(ValueError, match='"linear" or .* Received: .quadratic'):
        Growth("quadratic")


def test_refuses_models_that_it_cannot_look_into():
    x, y = np.zeros((6, 4), "float32"), np.arange(6) % 3
    linear = keras.Sequential([keras.Input((4,)), layers.Dense(3, "softmax")])
    with pytest.raises(ValueError, match="must have a hidden layer.* Received: Sequential"):
        Dissector(linear, x, y)
    with pytest.raises(ValueError, match="built, Sequential or Functional.* Received: Seq"):
        Hidden(keras.Sequential([layers.Dense(2)]))
    stack = [keras.Input((None, None, 1)), layers.Conv2D(2, 3), layers.GlobalMaxPooling2D()]
    with pytest.raises(ValueError, match="must not be open.* Received: "):
        Hidden(keras.Sequential([*stack, layers.Dense(3)]))


def test_refuses_classes_that_do_not_fit(model, digits):
    x, y = digits.x_train[:20], digits.y_train[:20]
    for wrong in (y[:19], y + 5, y - 5, y / 2, np.eye(10)[y]):
        with pytest.raises(ValueError, match="`y_train` must hold the class.* Received: "):
            Dissector(model, x, wrong)
