import warnings

import keras
import numpy as np
import pytest
from keras import layers
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, LeaveOneOut
from sklearn.neighbors import KernelDensity

from a2d_keras import BIM, FGSM, Classifier
from baselines.kernel_density import (
    KernelDensityUncertainty,
    choose_bandwidth,
    log_density,
    mean_variance,
)
from baselines.noise import gaussian_noise

pytestmark = pytest.mark.checkout


class Counting(layers.Layer):
    """Counts its calls."""

    def build(self, _):
        self.calls = self.add_weight(shape=(), initializer="zeros", dtype="int32")

    def call(self, x):
        self.calls.assign_add(1)
        return x


def points(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3)).astype("float32")


def stacked(*between, classes=2):
    return keras.Sequential([keras.Input((3,)), *between, layers.Dense(classes, "softmax")])


def detector_of(model, passes=5, **options):
    """A detector on 20 points of two classes."""
    y = np.arange(20) % 2
    return KernelDensityUncertainty(model, points(20), y, bandwidth=1, passes=passes, **options)


@pytest.fixture(scope="module")
def right(digits, model):
    """Test digits that are correctly classified."""
    predicted = model.predict(digits.x_test, verbose=0).argmax(-1)
    return digits.x_test[predicted == digits.y_test]


@pytest.fixture(scope="module")
def kinds(model, right):
    """160 digits, the same with noise, and adversarial."""
    adversarial = BIM(eps_iter=0.01, max_iterations=50)(Classifier(model), right[:160]).adversarial
    return right[:160], gaussian_noise(right[:160], adversarial), adversarial


@pytest.fixture(scope="module")
def detector(model, digits):
    return KernelDensityUncertainty(model, digits.x_train, digits.y_train)


@pytest.fixture(scope="module")
def fitted(detector, kinds):
    return detector.fit(*(x[:80] for x in kinds))


@pytest.mark.parametrize("bandwidth", [0.05, 0.7, 20.0])
def test_log_density_equals_scikit_learn(bandwidth):
    generator = np.random.default_rng(0)
    reference, x = (generator.normal(size=(n, 40)).astype("float32") * 5 for n in (300, 50))
    x[:10] = reference[:10]
    # One leaf, since far from the points scikit-learn's tree loses digits, up to all of them.
    peer = KernelDensity(kernel="gaussian", bandwidth=bandwidth, leaf_size=300).fit(reference)
    found = log_density(x, reference, bandwidth)
    assert found.dtype == "float64"
    np.testing.assert_allclose(found, peer.score_samples(x), rtol=1e-6, atol=1e-6)


def test_bandwidth_is_that_of_leave_one_out():
    activations = points(60)
    activations[30:] *= 3
    classes = np.repeat([4, 7], 30)
    bandwidths = [0.1, 0.4, 0.6, 0.8, 1.0, 1.2, 1.6, 3.0]
    scores = 0
    for label in (4, 7):
        search = GridSearchCV(KernelDensity(), {"bandwidth": bandwidths}, cv=LeaveOneOut())
        scores += search.fit(activations[classes == label]).cv_results_["mean_test_score"]
    expected = bandwidths[scores.argmax()]
    assert choose_bandwidth(activations, classes, bandwidths) == expected
    assert 0.1 < expected < 3


def test_bandwidth_goes_with_the_units():
    activations, classes = points(60), np.arange(60) % 2
    expected = choose_bandwidth(activations, classes)
    assert 0.1 < expected < 3
    assert choose_bandwidth(activations * 8, classes) == pytest.approx(8 * expected)
    assert choose_bandwidth(activations * 0, classes) > 0


@pytest.mark.slow
def test_characteristics_equal_the_definitions(detector, model, digits, kinds):
    x = np.concatenate([kinds[0][:150], kinds[2][:150]])  # more than a batch of 256
    hidden = keras.Model(model.inputs, model.layers[-2].input)
    reference = hidden.predict(digits.x_train, verbose=0).astype("float64")
    activations = hidden.predict(x, verbose=0).astype("float64")
    predicted = model.predict(x, verbose=0).argmax(-1)
    stored = np.concatenate([detector.monte_carlo(x[:256]), detector.monte_carlo(x[256:])], axis=1)
    assert stored.shape == (50, 300, 10)
    h, expected = detector.bandwidth, []
    for i in range(len(x)):
        members = reference[digits.y_train == predicted[i]]
        squared = cdist(activations[i : i + 1], members)[0] ** 2
        kernels = np.longdouble(-squared / (2 * h**2)).clip(-11000)
        density = np.log(np.exp(kernels).mean()) - 32 * np.log(2 * np.pi * h**2)
        variances = []
        for label in range(10):
            mean = sum(stored[t, i, label] for t in range(50)) / 50
            variances.append(sum((stored[t, i, label] - mean) ** 2 for t in range(50)) / 50)
        expected.append((density, sum(variances) / 10))
    found = detector.characteristics(x)
    assert found.dtype == "float64"
    densities, uncertainties = np.array(expected, "float64").T
    np.testing.assert_allclose(found[:, 0], densities, rtol=1e-5, atol=3e-5)  # logs, near 0 too
    np.testing.assert_allclose(found[:, 1], uncertainties, rtol=1e-5)


def test_passes_are_those_of_keras_with_dropout(model, digits, right):
    x = right[:20]
    data = digits.x_train, digits.y_train
    many = KernelDensityUncertainty(model, *data, bandwidth=1.0, passes=1000)
    found = many.monte_carlo(x)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    peer = model(np.tile(x, (1000, 1, 1, 1)), training=True).numpy().reshape(1000, 20, 10)
    np.testing.assert_allclose(found.mean(axis=0), peer.mean(axis=0), atol=0.08)  # 4 σ
    uncertainties, peers = mean_variance(found), mean_variance(peer)
    np.testing.assert_allclose(uncertainties, peers, rtol=0.35, atol=1.5e-3)
    assert uncertainties.mean() == pytest.approx(peers.mean(), rel=0.15)
    assert len(np.unique(found[:, :, 0], axis=0)) == 1000  # all passes differ


def test_only_dropout_is_active():
    stack = (layers.Dense(8), layers.BatchNormalization(), layers.Dropout(1e-9))
    model = stacked(*stack, layers.GaussianNoise(1.0))
    x = points(30) * 4 + 2
    model(x, training=True)  # updates the moving averages
    before = model.get_weights()
    detector = detector_of(model)
    predictions = detector.monte_carlo(x)
    expected = np.broadcast_to(model.predict(x, verbose=0), predictions.shape)
    np.testing.assert_allclose(predictions, expected, atol=1e-6)
    np.testing.assert_allclose(detector.characteristics(x)[:, 1], 0, atol=1e-12)
    for kept, weights in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, weights)
    assert np.abs(model(x, training=True) - expected[0]).max() > 0.1


@pytest.mark.parametrize(
    "dropout",
    [layers.Dropout, layers.GaussianDropout, layers.AlphaDropout, layers.SpatialDropout1D],
)
def test_every_kind_of_dropout_is_active(dropout):
    stack = [layers.Reshape((1, 3)), dropout(0.5), layers.Flatten()]
    found = detector_of(stacked(*stack)).characteristics(points(9))
    assert (found[:, 1] > 1e-6).all()


def test_what_no_dropout_touches_runs_once():
    before, after = Counting(), Counting()
    detector = detector_of(stacked(before, layers.Dropout(0.5), after), passes=7)
    before.calls.assign(0)
    after.calls.assign(0)
    detector.monte_carlo(points(9))
    assert int(before.calls.numpy()) == 1
    assert int(after.calls.numpy()) == 1 + 7  # once at rest


def branched():
    """Two branches, one with dropout; the last Dense takes their sum."""
    inputs = keras.Input((3,))
    left = layers.Dense(5, "tanh")(inputs)
    right = layers.Dropout(0.5)(layers.Dense(5, "relu")(inputs))
    both = left + right
    return keras.Model(inputs, layers.Dense(2, "softmax")(both)), keras.Model(inputs, both)


def test_a_model_with_branches():
    (model, hidden), x = branched(), points(12, seed=1)
    detector = detector_of(model, passes=3000)
    reference = hidden.predict(points(20), verbose=0)
    predicted = model.predict(x, verbose=0).argmax(-1)
    pairs = zip(hidden.predict(x, verbose=0), predicted, strict=True)
    expected = [log_density(a[None], reference[c::2], 1)[0] for a, c in pairs]
    np.testing.assert_allclose(detector.log_densities(x), expected, rtol=1e-5)
    peer = model(np.tile(x, (3000, 1)), training=True).numpy().reshape(3000, 12, 2)
    found = detector.characteristics(x)[:, 1]
    np.testing.assert_allclose(found, mean_variance(peer), rtol=0.2, atol=1e-4)


def test_layers_inside_a_model_count_and_layers_may_belong_to_another(detector, model, digits):
    inputs, data = keras.Input((8, 8, 1)), (digits.x_train, digits.y_train)
    nested = keras.Model(inputs, model(layers.Rescaling(1.0)(inputs)))
    again = keras.Sequential([keras.Input((8, 8, 1)), *model.layers])
    x = digits.x_test[:50]
    expected = detector.characteristics(x)
    for other in (nested, again):
        found = KernelDensityUncertainty(other, *data).characteristics(x)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)


def test_logits_serve_as_well(detector, model, digits):
    logits = keras.models.clone_model(model)
    logits.layers[-1].activation = keras.activations.linear
    logits.set_weights(model.get_weights())
    other = KernelDensityUncertainty(logits, digits.x_train, digits.y_train)
    x = digits.x_test[:50]
    np.testing.assert_allclose(
        other.characteristics(x), detector.characteristics(x), rtol=1e-4, atol=1e-9
    )


@pytest.mark.parametrize("activation", ["sigmoid", "linear"])
def test_one_unit_is_two_classes(activation):
    stack = [keras.Input((3,)), layers.Dropout(0.5), layers.Dense(1, activation)]
    detector = detector_of(keras.Sequential(stack))
    predictions = detector.monte_carlo(points(9))
    assert predictions.shape == (5, 9, 2)
    np.testing.assert_allclose(predictions.sum(axis=-1), 1)
    predicted = (detector.model.predict(points(9), verbose=0) > (activation == "sigmoid") / 2)[:, 0]
    expected = [
        log_density(x[None], points(20)[int(c) :: 2], 1)[0]
        for x, c in zip(points(9), predicted, strict=True)
    ]
    np.testing.assert_allclose(detector.log_densities(points(9)), expected, rtol=1e-5)


def test_the_last_hidden_layer_of_a_model_without_dense():
    stack = [keras.Input((4, 4, 1)), layers.Conv2D(3, 3), layers.SpatialDropout2D(0.5)]
    stack += [layers.Conv2D(2, 1), layers.GlobalAveragePooling2D(), layers.Softmax()]
    model = keras.Sequential(stack)
    x = np.random.default_rng(0).uniform(size=(20, 4, 4, 1)).astype("float32")
    detector = KernelDensityUncertainty(model, x, np.arange(20) % 2, bandwidth=1.0)
    activations = model.layers[0](x).numpy().reshape(20, -1)
    predicted = model.predict(x, verbose=0).argmax(-1)
    expected = [
        log_density(a[None], activations[c::2], 1)[0]
        for a, c in zip(activations, predicted, strict=True)
    ]
    np.testing.assert_allclose(detector.log_densities(x), expected, rtol=1e-5)


def test_tells_held_out_adversarial_digits(fitted, kinds):
    benign, noisy, adversarial = (fitted.score(x[80:]) for x in kinds)
    labels = np.repeat([0, 1], 80)
    assert roc_auc_score(labels, np.append(benign, adversarial)) > 0.96
    assert roc_auc_score(labels, np.append(noisy, adversarial)) > 0.94


@pytest.mark.slow
def test_tells_held_out_fgsm(model, digits, right):
    benign = right[:300]
    adversarial = FGSM(eps=0.2)(Classifier(model), benign).adversarial
    kinds = (benign, gaussian_noise(benign, adversarial), adversarial)
    detector = KernelDensityUncertainty(model, digits.x_train, digits.y_train, bandwidth=0.3)
    detector.fit(*(x[:150] for x in kinds))
    scores = [detector.score(x[150:]) for x in (benign, adversarial)]
    assert roc_auc_score(np.repeat([0, 1], 150), np.concatenate(scores)) > 0.9


@pytest.mark.slow
def test_fits_characteristics_that_were_computed_before(fitted, model, digits, kinds):
    other = KernelDensityUncertainty(model, digits.x_train, digits.y_train)
    tables = [other.characteristics(x[:80]) for x in kinds]
    assert other.fit_characteristics(*tables) is other
    scores = [other.score_characteristics(table) for table in tables]
    assert scores[0].dtype == "float64"
    for found, x in zip(scores, kinds, strict=True):
        np.testing.assert_array_equal(found, fitted.score(x[:80]))  # seeded, too


def test_seeds_tell_apart_and_the_model_keeps_its_own_draws(detector, model, digits):
    x = digits.x_test[:20]
    before = [np.array(v) for v in model.variables]
    other = KernelDensityUncertainty(model, digits.x_train, digits.y_train, seed=1)
    assert (other.monte_carlo(x) != detector.monte_carlo(x)).any()
    np.testing.assert_array_equal(detector.monte_carlo(x), detector.monte_carlo(x))
    for kept, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(kept, np.array(variable))


def test_dropouts_of_one_shape_differ():
    model = stacked(layers.Dropout(0.5), layers.Dropout(0.5))
    model.layers[-1].set_weights([np.full((3, 2), [1, -1]), np.zeros(2)])
    predictions = detector_of(model, passes=4000).monte_carlo(np.ones((1, 3)))[:, 0, 0]
    dropped = np.isclose(predictions, 0.5).mean()
    assert dropped == pytest.approx(0.75**3, abs=0.03)  # it would be 0.5³ if they were equal


def test_warns_of_nothing(detector, kinds):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tables = [detector.characteristics(x[:20]) for x in kinds]
        detector_of(stacked(layers.Dropout(0.5))).fit_characteristics(*tables)


def test_scores_nothing(fitted, kinds):
    assert fitted.score(kinds[0][:0]).shape == (0,)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bandwidth": 0}, "`bandwidth` must be a positive number. Received: 0"),
        ({"bandwidth": float("nan")}, "`bandwidth` must be a positive number. Received: nan"),
        ({"passes": 1}, "`passes` must be a whole number, at least 2. Received: 1"),
        ({"passes": 2.5}, "`passes` must be a whole number, at least 2. Received: 2.5"),
        ({"seed": -1}, "`seed` must be a whole number, at least 0. Received: -1"),
    ],
)
def test_refuses_a_bad_parameter(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        KernelDensityUncertainty(
            stacked(layers.Dropout(0.5)), points(20), np.arange(20) % 2, **options
        )


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (np.zeros((20, 2), int), "the class of each.* Received: int64 of shape (20, 2) for 20"),
        (np.zeros(20), "the class of each.* Received: float64 of shape (20,) for 20 inputs"),
        (np.arange(19) % 2, "the class of each.* Received: int64 of shape (19,) for 20 inputs"),
        (np.arange(20) % 3, "class from 0 to 1 twice or.* Received: the counts {0: 7, 1: 7, 2: 6}"),
        (np.arange(20) // 19, "class from 0 to 1 twice.* Received: the counts {0: 19, 1: 1}"),
        (np.zeros(20, int), "class from 0 to 1 twice or more.* Received: the counts {0: 20}"),
    ],
)
def test_refuses_other_classes(y, sentence):
    pattern = sentence.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=pattern):
        KernelDensityUncertainty(stacked(layers.Dropout(0.5)), points(20), y)


def test_refuses_a_model_without_dropout():
    with pytest.raises(ValueError, match="must have a Dropout, .* Received: Sequential 'plain'"):
        detector_of(keras.Sequential([keras.Input((3,)), layers.Dense(2)], name="plain"))


def test_refuses_a_model_that_is_no_such_classifier():
    inputs = [keras.Input((3,)), keras.Input((3,))]
    joint = keras.Model(inputs, layers.Dropout(0.5)(layers.Add()(inputs)))
    images = keras.Sequential([keras.Input((3, 2)), layers.Dropout(0.5), layers.Dense(2)])
    unbuilt = keras.Sequential([layers.Dropout(0.5), layers.Dense(2)])
    for model in (joint, images, unbuilt):
        with pytest.raises(ValueError, match="The model must be built, .* Received: "):
            detector_of(model)


def test_refuses_too_few_inputs():
    detector, x = detector_of(stacked(layers.Dropout(0.5))), points(20)
    with pytest.raises(ValueError, match="at least 5 inputs of each kind.* Received: .20, 20, 4"):
        detector.fit(x, x, x[:4])
