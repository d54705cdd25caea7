import warnings

import keras
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from a2d_keras import BIM, Classifier
from baselines.local_dimension import LocalDimension, local_dimension
from baselines.noise import gaussian_noise

pytestmark = pytest.mark.checkout


class Counting(keras.layers.Layer):
    """Counts its calls and their inputs."""

    def build(self, _):
        self.calls = self.add_weight(shape=(), initializer="zeros", dtype="int32")

    def call(self, x):
        self.calls.assign_add(1)
        return x


def exact_model():
    """Three layers whose activations of multiples of 1/8 have no rounding error."""
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(12, "relu"), keras.layers.Dense(4)]
    )
    generator = np.random.default_rng(5)
    model.set_weights([generator.integers(-4, 5, w.shape) for w in model.get_weights()])
    return model


def exact_activations(model, x):
    kernel, bias, last_kernel, last_bias = (w.astype("float64") for w in model.get_weights())
    hidden = np.maximum(x @ kernel + bias, 0)
    return [x, hidden, hidden @ last_kernel + last_bias]


def eighths(n, seed):
    return np.random.default_rng(seed).integers(-800, 800, (n, 3)).astype("float32") / 8


def by_loops(model, benign, x, k, batch_size):
    """The dimensionalities as Ma et al. define them, one at a time."""
    table = []
    for i in range(len(x)):
        stop = min(len(benign), (i // batch_size + 1) * batch_size)
        minibatch = exact_activations(model, benign[max(0, stop - batch_size) : stop])
        row = []
        for around, point in zip(minibatch, exact_activations(model, x[i : i + 1]), strict=True):
            distances = sorted(cdist(point, around)[0])[1 : k + 1]
            row.append(-k / sum(np.log(r / distances[-1]) for r in distances))
        table.append(row)
    return np.array(table)


@pytest.fixture(scope="module")
def kinds(digits, model):
    """200 benign digits, the same with noise, and adversarial."""
    benign = digits.x_test[model.predict(digits.x_test, verbose=0).argmax(-1) == digits.y_test]
    adversarial = BIM(eps_iter=0.01, max_iterations=50)(Classifier(model), benign[:200]).adversarial
    return benign[:200], gaussian_noise(benign[:200], adversarial), adversarial


@pytest.fixture(scope="module")
def fitted(model, kinds):
    return LocalDimension(model).fit(*(x[:100] for x in kinds))


@pytest.mark.parametrize(("n", "k", "batch_size"), [(60, 5, 30), (50, 3, 20), (25, 20, 100)])
def test_equals_the_definition(n, k, batch_size):
    model, benign = exact_model(), eighths(n, 0)
    detector = LocalDimension(model, k=k, batch_size=batch_size)
    for x in (benign, benign + eighths(n, 1) / 64):
        np.testing.assert_allclose(
            detector.characteristics(x, benign=benign),
            by_loops(model, benign, x, k, batch_size),
            rtol=1e-5,
        )


def test_every_layer_counts_and_so_does_the_input(model, kinds):
    benign = kinds[0][:100]
    layers = keras.Model(model.inputs, [layer.output for layer in model.layers])
    found = LocalDimension(model).characteristics(benign, benign=benign)
    assert found.dtype == "float64"
    activations = [benign, *layers.predict(benign, batch_size=100, verbose=0)]
    flat = [a.reshape(100, -1) for a in activations]
    expected = [local_dimension(np.sort(cdist(a, a))[:, 1:21]) for a in flat]
    assert found.shape == (100, 8)
    np.testing.assert_allclose(found[:, :-1], np.transpose(expected)[:, :-1], rtol=1e-4)
    np.testing.assert_allclose(found[:, -1], expected[-1], rtol=0.05)  # the softmax saturates


def test_duplicates_are_finite():
    duplicates = [[0, 0, 0], [0, 0, 1], [0, 1, 1], [1e-30, 0.5, 1], [1, 1, 1], [1, 1, 1 + 1e-9]]
    found = local_dimension(np.array(duplicates, "float64"))
    assert np.isfinite(found).all()
    assert (np.diff(found[[0, 1, 2, 5]]) > 0).all()  # the fewer duplicates, the more dimensions
    assert found[0] < 0.02
    assert found[4] == 1000
    model = exact_model()
    same = np.repeat(eighths(4, 0), 10, axis=0)
    detector = LocalDimension(model, k=5, batch_size=20).fit(same, same, same + 1)
    assert np.isfinite(detector.score(np.concatenate([same, same + 1]))).all()


def test_near_duplicates_keep_their_digits():
    model, benign = exact_model(), eighths(30, 0) + 2.0**13
    nudged = benign + np.random.default_rng(1).integers(1, 9, benign.shape).astype("float32") / 512
    found = LocalDimension(model, k=5, batch_size=30).characteristics(nudged, benign=benign)
    np.testing.assert_allclose(found[:, 0], by_loops(model, benign, nudged, 5, 30)[:, 0], rtol=1e-5)


def test_one_forward_pass_gives_all_layers_of_a_batch():
    counting = Counting()
    layers = [keras.Input((3,)), counting, keras.layers.Dense(4, "relu"), keras.layers.Dense(2)]
    detector = LocalDimension(keras.Sequential(layers), k=5, batch_size=20)
    counting.calls.assign(0)
    detector.characteristics(eighths(60, 1), benign=eighths(60, 0))
    assert int(counting.calls.numpy()) == 2 * 3  # of three minibatches and their neighbours


def test_layers_inside_a_model_count_and_layers_may_belong_to_another(model, kinds):
    benign = kinds[0][:100]
    inputs = keras.Input((8, 8, 1))
    rescaled = keras.layers.Rescaling(1.0)(inputs)
    nested = keras.Model(inputs, model(rescaled))
    again = keras.Sequential([keras.Input((8, 8, 1)), *model.layers])
    expected = LocalDimension(model).characteristics(benign, benign=benign)
    for other, extra in ((nested, [0]), (again, [])):
        found = LocalDimension(other).characteristics(benign, benign=benign)
        np.testing.assert_allclose(found, expected[:, [0, *extra, *range(1, 8)]], rtol=1e-4)


def test_dropout_is_at_rest(model, kinds):
    detector = LocalDimension(model)
    first, second = (detector.characteristics(kinds[1], benign=kinds[0]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first[:, 3], first[:, 4], rtol=1e-12)  # before and after Dropout


def test_tells_held_out_adversarial_digits(fitted, kinds):
    benign, noisy, adversarial = (fitted.score(x[100:]) for x in kinds)
    assert benign.dtype == "float64"
    assert benign.shape == (100,)
    labels = np.repeat([False, True], 100)
    assert roc_auc_score(labels, np.append(benign, adversarial)) > 0.97
    assert roc_auc_score(labels, np.append(noisy, adversarial)) > 0.97


def test_benign_inputs_of_fit_are_not_compared_with_themselves(model, kinds):
    benign, noisy, adversarial = (x[:150] for x in kinds)
    detector = LocalDimension(model).fit(benign, noisy, adversarial)
    known = detector.score_characteristics(detector.characteristics(benign, benign=benign))
    np.testing.assert_allclose(detector.score(benign), known, rtol=1e-9)
    np.testing.assert_allclose(detector.score(benign[:7]), known[:7], rtol=1e-4)


def test_the_nearest_counts_for_an_input_of_no_benign_origin():
    model, reference, x = exact_model(), eighths(20, 0), eighths(6, 2)
    detector = LocalDimension(model, k=5, batch_size=20)
    detector.fit(reference, reference + 1, reference + 500)
    expected = []
    for point in x:
        around = np.concatenate([[point], reference])
        expected.append(by_loops(model, around, point[None], 5, 21)[0])
    expected = detector.score_characteristics(np.array(expected))
    np.testing.assert_allclose(detector.score(x), expected, rtol=1e-5)


def test_the_reference_goes_round(fitted, kinds):
    x = kinds[2][100:150]
    places = np.concatenate([kinds[0][:100], x])
    np.testing.assert_allclose(fitted.score(places)[100:], fitted.score(x), rtol=1e-4)


def test_scores_nothing(fitted, kinds):
    assert fitted.score(kinds[0][:0]).shape == (0,)


def test_fits_characteristics_that_were_computed_before(model, kinds, fitted):
    detector = LocalDimension(model)
    benign = kinds[0][:100]
    characteristics = [detector.characteristics(x[:100], benign=benign) for x in kinds]
    detector.fit_characteristics(*characteristics)
    expected = fitted.score_characteristics(characteristics[2])
    np.testing.assert_array_equal(detector.score_characteristics(characteristics[2]), expected)
    detector.reference = benign
    np.testing.assert_array_equal(detector.score(kinds[2]), fitted.score(kinds[2]))


def test_is_seeded_and_warns_of_nothing(model, kinds, fitted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # of SciPy, by older scikit-learn
        again = LocalDimension(model).fit(*(x[:100] for x in kinds))
    np.testing.assert_array_equal(again.score(kinds[2]), fitted.score(kinds[2]))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"k": 1}, "`k` must be a whole number, at least 2"),
        ({"k": 2.5}, "`k` must be a whole number"),
        ({"k": 100}, "`k` must be less than `batch_size`, 100"),
        ({"batch_size": 0}, "`batch_size` must be a whole number, at least 1"),
        ({"seed": -1}, "`seed` must be a whole number, at least 0"),
    ],
)
def test_refuses_a_bad_parameter(model, options, sentence):
    with pytest.raises(ValueError, match=f"{sentence}.* Received: "):
        LocalDimension(model, **options)


def test_refuses_a_model_without_a_graph_of_layers():
    class Subclassed(keras.Model):
        pass

    for model in (Subclassed(), keras.Sequential([keras.layers.Dense(2)])):
        with pytest.raises(
            ValueError, match="must be built, Sequential or Functional.* Received: "
        ):
            LocalDimension(model)


def test_refuses_too_few_inputs():
    detector, benign = LocalDimension(exact_model(), k=5, batch_size=20), eighths(20, 0)
    with pytest.raises(ValueError, match="more benign inputs than `k`, 5.* Received: 5"):
        detector.fit(benign[:5], benign[:5], benign[:5])
    with pytest.raises(ValueError, match="one input for each benign one.* Received: 8 and 20"):
        detector.fit(benign, benign, benign[:8])
    table = detector.characteristics(benign, benign=benign)
    with pytest.raises(ValueError, match="at least 5 inputs of each kind.* Received: "):
        detector.fit_characteristics(table, table, table[:4])
