import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from a2d_keras import Classifier, progress
from a2d_keras.attacks.lbfgs import LBFGS
from models import zoo


def labels_of(classifier, x):
    return classifier.logits(x).numpy().argmax(-1)


def distances(result, x):
    return np.sqrt(((result.adversarial - x) ** 2).mean(axis=(1, 2, 3)))


def plain_lbfgs(model, images, c):
    """The attack written plainly: all iterates first, then the first of them at the target."""
    logits = keras.Model(model.inputs, model.layers[-1].input)
    kernel, bias = (tf.constant(w) for w in model.layers[-1].get_weights())

    @tf.function
    def evaluate(flat, target):
        with tf.GradientTape() as tape:
            tape.watch(flat)
            x = tf.cast(tf.reshape(flat, (1, 8, 8, 1)), model.compute_dtype)
            z = tf.cast((logits(x) @ kernel + bias)[0], tf.float64)
            loss = tf.reduce_logsumexp(z) - z[target]
        return z, loss, tape.gradient(loss, flat)

    def objective(flat, start, target):
        _, loss, slope = evaluate(flat, target)
        change = flat - start
        return (change @ change) / 64 + c * loss.numpy(), 2 * change / 64 + c * slope.numpy()

    def attack(start):
        target = tf.argsort(evaluate(start, tf.constant(0))[0])[-2]
        iterates = []
        optimize.fmin_l_bfgs_b(
            objective,
            start,
            args=(start, target),
            bounds=[(0, 1)] * 64,
            m=15,
            pgtol=0,
            maxiter=12,
            callback=lambda flat: iterates.append(flat.copy()),
        )
        found = [np.argmax(evaluate(x, target)[0]) == target for x in iterates]
        cost = found.index(True) + 1 if any(found) else 150
        return cost, iterates[min(cost, len(iterates)) - 1]

    found = [attack(start) for start in images.reshape(len(images), -1).astype("float64")]
    return (np.array(column) for column in zip(*found, strict=True))


@pytest.fixture(scope="module")
def few(benign):
    return benign[:20]


@pytest.fixture(scope="module")
def result(classifier, few):
    return LBFGS()(classifier, few)


@pytest.mark.slow
def test_is_the_attack_written_plainly(model, few, result):
    costs, images = plain_lbfgs(model, few, 0.01)
    assert costs.max() > 2
    same = result.cost == costs
    assert same.mean() >= 0.95
    change = np.abs(result.adversarial.reshape(20, -1) - images)[same].max(axis=-1)
    assert np.mean(change < 1e-3) >= 0.95


def test_reaches_the_second_most_likely_class(classifier, few, result):
    target = np.argsort(classifier.logits(few).numpy())[:, -2]
    assert result.success.all()
    np.testing.assert_array_equal(labels_of(classifier, result.adversarial), target)
    assert result.adversarial.min() >= 0
    assert result.adversarial.max() <= 1
    np.testing.assert_array_equal(result.queries, result.gradient_evaluations + 1)
    assert (result.gradient_evaluations > result.cost).all()  # the start is evaluated too


def test_adversarial_inputs_cost_less(classifier, benign, adversarial):
    costs = LBFGS()(classifier, benign).cost
    assert LBFGS()(classifier, adversarial).cost.mean() < 0.6 * costs.mean()


def test_stops_at_the_first_success(classifier, few, result):
    for i in np.flatnonzero(result.cost > 1):
        less = LBFGS()(classifier, few[i][None], budget=int(result.cost[i]) - 1)
        assert not less.success[0]
        assert less.cost[0] == result.cost[i] - 1
    enough = LBFGS()(classifier, few, budget=int(result.cost.max()))
    np.testing.assert_array_equal(enough.cost, result.cost)


def test_resists(classifier, few):
    """With almost no weight on the cross-entropy, SciPy finds no lower value and ends at once."""
    for budget in (None, 100):
        result = LBFGS(c=1e-6)(classifier, few[:5], budget=budget)
        assert not result.success.any()
        np.testing.assert_array_equal(result.cost, 150)
        assert np.abs(result.adversarial - few[:5]).max() < 0.01


def test_binary_search_comes_nearer(classifier, few):
    first = LBFGS()(classifier, few[:8])
    nearer = LBFGS(binary_search_steps=3)(classifier, few[:8])
    np.testing.assert_array_equal(nearer.cost, first.cost)
    np.testing.assert_array_equal(nearer.success, first.success)
    target = labels_of(classifier, first.adversarial)
    np.testing.assert_array_equal(labels_of(classifier, nearer.adversarial), target)
    assert (distances(nearer, few[:8]) <= distances(first, few[:8])).all()
    assert np.median(distances(nearer, few[:8])) < 0.8 * np.median(distances(first, few[:8]))
    assert (nearer.queries > first.queries).all()


def test_targeted(classifier, few):
    targets = (labels_of(classifier, few) + 3) % 10
    result = LBFGS(targeted=True)(classifier, few, targets=targets)
    assert result.success.mean() >= 0.9
    reached = labels_of(classifier, result.adversarial)
    np.testing.assert_array_equal(result.success, reached == targets)


def test_progress_is_reported(classifier, few, monkeypatch, capsys):
    monkeypatch.setattr(progress, "visible", lambda: True)
    LBFGS()(classifier, few[:3], verbose=1)
    assert "3/3" in capsys.readouterr().out


def test_other_bounds_scale(model, few, result):
    inputs = keras.Input((8, 8, 1))
    wide = Classifier(keras.Model(inputs, model((inputs + 1) / 4)), bounds=(-1.0, 3.0))
    scaled = LBFGS()(wide, 4 * few - 1)
    same = scaled.cost == result.cost
    assert same.mean() >= 0.95
    change = np.abs((scaled.adversarial + 1) / 4 - result.adversarial)[same].max(axis=(1, 2, 3))
    assert np.mean(change < 1e-3) >= 0.95
    assert scaled.adversarial.min() >= -1
    assert scaled.adversarial.max() <= 3


@pytest.mark.slow
def test_confidence_does_not_hide_the_gradient(few):
    """The digits classifier, 15 times as sure: margins of some hundred."""
    weights = zoo.load("digits").get_weights()
    models = []
    for dtype in ("float64", "float32"):
        keras.config.set_dtype_policy(dtype)
        models.append(zoo.build("digits"))
        models[-1].set_weights([*weights[:-2], *(15 * w for w in weights[-2:])])
    (precise, model), few = models, few[:8]
    costs, _ = plain_lbfgs(precise, few, 0.001)
    result = LBFGS(c=0.001)(Classifier(model), few)
    assert costs.max() > 2
    assert result.success.all()
    assert np.mean(result.cost == costs) >= 0.95


def test_needs_a_gradient(labels_only, few):
    with pytest.raises(ValueError, match="A gradient attack needs a classifier that is diff"):
        LBFGS()(labels_only, few)


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, "0.1", None])
def test_refuses_other_weights(value):
    with pytest.raises(ValueError, match="`c` must be a positive number. Received: "):
        LBFGS(c=value)


@pytest.mark.parametrize("value", [-1, 1.5, None])
def test_refuses_other_counts(value):
    for name in ("binary_search_steps", "max_iterations"):
        with pytest.raises(ValueError, match=f"`{name}` must be a whole number.*Received: "):
            LBFGS(**{name: value})
