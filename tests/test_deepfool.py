import keras
import numpy as np
import pytest
import tensorflow as tf

from a2d_keras import Classifier
from a2d_keras.attacks.deepfool import DeepFool

BOUNDS = (-6.0, 6.0)  # wide enough for a linear classifier that nothing is clipped
BOTH = pytest.mark.parametrize("norm", [2, np.inf])


@pytest.fixture(scope="module")
def found(classifier, benign):
    return DeepFool()(classifier, benign[:20])


def linear(kernel, bounds=BOUNDS):
    pixels, classes = kernel.shape
    model = keras.Sequential([keras.Input((pixels,)), keras.layers.Dense(classes)])
    model.set_weights([kernel, np.zeros(classes)])
    return Classifier(model, bounds=bounds)


@BOTH
@pytest.mark.parametrize("candidates", [10, 3])
def test_one_step_suffices_where_the_classifier_is_linear(norm, candidates):
    rng = np.random.default_rng(0)
    kernel, x = rng.normal(size=(30, 6)), rng.normal(size=(40, 30))
    result = DeepFool(norm=norm, candidates=candidates)(linear(kernel), x)
    expected = []
    for image in x:
        order = np.argsort(-(image @ kernel))
        ways = kernel[:, order[1:candidates]] - kernel[:, order[:1]]
        dual = np.linalg.norm(ways, ord=2 if norm == 2 else 1, axis=0)
        expected.append(1.02 * (-(image @ ways) / dual).min())
    length = np.linalg.norm(result.adversarial - x, ord=norm, axis=1)
    np.testing.assert_allclose(length, expected, rtol=1e-3)
    np.testing.assert_array_equal(result.success, True)
    np.testing.assert_array_equal(result.cost, 1)
    np.testing.assert_array_equal(result.queries, 2)
    np.testing.assert_array_equal(result.gradient_evaluations, 2 * (min(candidates, 6) - 1))


def plain(evaluate, image, norm):
    """DeepFool of one image in (0, 1), written plainly, in float64 except for the network."""
    total, x = np.zeros(image.shape), image
    for step in range(51):
        z, gradients = (values.numpy() for values in evaluate(tf.constant(x[None], tf.float32)))
        if step == 0:
            order = np.argsort(-z)
        elif z.argmax() != order[0]:
            return x, step
        best, way = np.inf, None
        for other in order[1:]:
            slope = (gradients[other] - gradients[order[0]]).astype("float64")
            size = np.linalg.norm(slope.ravel(), ord=2 if norm == 2 else 1)
            if (z[order[0]] - z[other]) / size < best:
                best = (z[order[0]] - z[other]) / size
                way = slope / size if norm == 2 else np.sign(slope)
        total += max(best, 1e-4) * way
        x = np.clip(image + 1.02 * total, 0, 1)
    return x, 50


@pytest.mark.slow
@BOTH
def test_is_deepfool_written_plainly(classifier, benign, norm):
    @tf.function
    def evaluate(x):
        logits, pullback = classifier.vjp(x)
        return logits[0], tf.concat(
            [pullback(side[None]) for side in tf.unstack(tf.eye(10))], axis=0
        )

    x = benign[:20]
    result = DeepFool(norm=norm)(classifier, x)
    images, costs = zip(*(plain(evaluate, image, norm) for image in x), strict=True)
    lengths = [
        np.linalg.norm((adversarial - x).reshape(20, -1), ord=norm, axis=1)
        for adversarial in (result.adversarial, np.stack(images))
    ]
    np.testing.assert_allclose(*(length.mean() for length in lengths), rtol=1e-3)
    assert np.median(np.abs(lengths[0] / lengths[1] - 1)) < 1e-3
    assert np.mean(result.cost == costs) >= 0.95
    assert len(set(costs)) > 3
    assert result.success.all()


def test_success_is_a_change_of_the_prediction(classifier, benign, found):
    label = classifier.logits(benign[:20]).numpy().argmax(-1)
    assert (classifier.logits(found.adversarial).numpy().argmax(-1) != label).all()
    assert found.success.all()
    assert found.adversarial.min() >= 0
    assert found.adversarial.max() <= 1
    np.testing.assert_array_equal(found.queries, found.cost + 1)
    np.testing.assert_array_equal(found.gradient_evaluations, 9 * found.queries)


@pytest.mark.slow
@BOTH
def test_the_norm_asked_for_is_the_smaller(classifier, benign, norm):
    sizes = {
        attack.norm: np.linalg.norm(
            (attack(classifier, benign).adversarial - benign).reshape(40, -1), ord=norm, axis=1
        ).mean()
        for attack in (DeepFool(norm=2), DeepFool(norm=np.inf))
    }
    assert min(sizes, key=sizes.get) == norm


@pytest.mark.slow
@BOTH
def test_moves_scale_with_the_bounds(norm):
    rng = np.random.default_rng(5)
    kernel, x = rng.normal(size=(8, 3)), rng.uniform(size=(20, 8))
    one = DeepFool(norm=norm)(linear(kernel, (0.0, 1.0)), x)
    other = DeepFool(norm=norm)(linear(kernel, (0.0, 8.0)), 8 * x)
    np.testing.assert_allclose(8 * one.adversarial, other.adversarial, atol=1e-4)
    np.testing.assert_array_equal(one.cost, other.cost)


@BOTH
def test_leaves_a_boundary(norm):
    kernel = np.array([[1.0, -1.0], [0.5, -0.5]])
    x = np.array([[0.0, 0.0], [1.0, -2.0]])  # both logits are 0
    result = DeepFool(norm=norm)(linear(kernel), x)
    np.testing.assert_array_equal(result.cost, 1)
    np.testing.assert_array_equal(result.success, True)
    assert np.linalg.norm(result.adversarial - x, ord=norm, axis=1) == pytest.approx(
        0.001224, rel=1e-3
    )


@BOTH
def test_a_class_without_a_gradient_is_not_near(norm):
    kernel = np.zeros((4, 3))
    kernel[:, 2] = [0.0, -1.0, 0.0, -1.0]
    x = np.full((1, 4), 2.0)
    result = DeepFool(norm=norm)(linear(kernel), x)  # classes 0 and 1 are tied all over
    assert result.success[0]
    assert result.adversarial[0] @ kernel[:, 2] == pytest.approx(4 * 0.02, rel=1e-3)


@BOTH
def test_resists_where_there_is_no_gradient(norm):
    result = DeepFool(norm=norm)(linear(np.zeros((4, 3))), np.ones((2, 4)))
    np.testing.assert_array_equal(result.cost, 50)
    np.testing.assert_array_equal(result.success, False)
    np.testing.assert_array_equal(result.adversarial, 1)
    np.testing.assert_array_equal(result.queries, 1)


@pytest.mark.slow
@BOTH
def test_small_gradients_do_not_underflow(norm):
    rng = np.random.default_rng(1)
    kernel, x = rng.normal(size=(5, 3)), rng.normal(size=(20, 5))
    usual, faint = (DeepFool(norm=norm)(linear(scale * kernel), x) for scale in (1, 1e-25))
    np.testing.assert_allclose(faint.adversarial, usual.adversarial, rtol=1e-4)
    np.testing.assert_array_equal(faint.cost, usual.cost)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("norm", [1, 0, "2", np.nan, -np.inf, None]),
        ("overshoot", [0, -0.02, np.inf, np.nan, "1", None]),
        ("candidates", [1, 0, 2.5, "3", None]),
        ("max_iterations", [0, 1.5, None]),
    ],
)
def test_refuses_other_parameters(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"`{name}` must be .*Received: {value}"):
            DeepFool(**{name: value})
