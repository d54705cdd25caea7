import keras
import numpy as np
import pytest
import tensorflow as tf
from cleverhans.tf2.attacks.basic_iterative_method import basic_iterative_method
from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method

from a2d_keras import BIM, BIM2, FGSM, Classifier
from a2d_keras.attacks import gradient_sign
from models import zoo

BOUNDS = (-1.0, 2.0)  # a range other than one, so that fractions differ from absolute lengths


@pytest.fixture(scope="module")
def soft():
    """An unsure classifier, so that no gradient of CleverHans underflows."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    stack = [layers.Conv2D(4, 3, activation="tanh"), layers.Flatten(), layers.Dense(5)]
    return Classifier(keras.Sequential([keras.Input((6, 6, 2)), *stack]), bounds=BOUNDS)


@pytest.fixture
def images():
    return np.random.default_rng(4).uniform(*BOUNDS, size=(20, 6, 6, 2)).astype("float32")


def test_fgsm_is_cleverhans(soft, images):
    expected = fast_gradient_method(soft.logits, images, 0.1 * 3, np.inf, None, *BOUNDS)
    result = FGSM(eps=0.1)(soft, images)
    np.testing.assert_allclose(result.adversarial, expected, atol=1e-6)
    np.testing.assert_array_equal(result.cost, 1)


def test_targeted_fgsm_is_cleverhans(soft, images):
    targets = np.arange(20) % 5
    expected = fast_gradient_method(
        soft.logits, images, 0.1 * 3, np.inf, None, *BOUNDS, targets, targeted=True
    )
    result = FGSM(eps=0.1, targeted=True)(soft, images, targets=targets)
    np.testing.assert_allclose(result.adversarial, expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("attack", "norm", "unit"), [(BIM, np.inf, 1), (BIM2, 2, 72**0.5)])
def test_bim_is_cleverhans(soft, images, attack, norm, unit):
    steps, eps, eps_iter = 8, 0.004, 0.0007  # the ball is reached before the last step
    ours = attack(eps=eps, eps_iter=eps_iter, max_iterations=steps)(soft, images)
    expected = basic_iterative_method(
        soft.logits,
        images,
        eps * 3 * unit,
        eps_iter * 3 * unit,
        steps,
        norm,
        *BOUNDS,
        sanity_checks=False,
    ).numpy()
    resisting = ~ours.success
    assert resisting.sum() >= 10
    np.testing.assert_allclose(ours.adversarial[resisting], expected[resisting], atol=1e-6)


@pytest.mark.parametrize("attack", [BIM, pytest.param(BIM2, marks=pytest.mark.slow)])
def test_perturbation_stays_in_ball_and_bounds(soft, images, attack):
    result = attack(eps=0.02, eps_iter=0.003, max_iterations=30)(soft, images)
    change = (result.adversarial - images) / 3
    size = np.abs(change).max() if attack is BIM else (change**2).mean(axis=(1, 2, 3)).max() ** 0.5
    assert size <= 0.02 + 1e-6
    assert result.adversarial.min() >= BOUNDS[0]
    assert result.adversarial.max() <= BOUNDS[1]


@pytest.mark.slow
@pytest.mark.parametrize("attack", [BIM, BIM2])
def test_bim_b_is_the_last_iterate(classifier, benign, attack):
    parameters = {"eps_iter": 0.01, "max_iterations": 50, "eps": 0.3}
    first = attack(**parameters)(classifier, benign)
    last = attack(**parameters, stop_at_success=False)(classifier, benign)
    np.testing.assert_array_equal(last.cost, 50)
    label = classifier.logits(benign).numpy().argmax(-1)
    found = classifier.logits(last.adversarial).numpy().argmax(-1)
    np.testing.assert_array_equal(last.success, found != label)
    assert last.success.all()
    further = [
        np.abs(x - benign).mean(axis=(1, 2, 3)) for x in (last.adversarial, first.adversarial)
    ]
    assert (further[0] > further[1]).mean() > 0.9


@pytest.mark.slow
def test_success_is_the_first_change_of_the_prediction(classifier, benign):
    attack, benign = BIM(eps_iter=0.01, max_iterations=50), benign[:10]
    result = attack(classifier, benign)
    label = classifier.logits(benign).numpy().argmax(-1)
    found = classifier.logits(result.adversarial).numpy().argmax(-1)
    assert result.success.all()
    assert (found != label).all()
    before = np.maximum(result.cost - 1, 1)
    one_less = [
        attack(classifier, x[None], budget=int(b)) for x, b in zip(benign, before, strict=True)
    ]
    stopped = np.array([r.success[0] for r in one_less])
    np.testing.assert_array_equal(stopped, result.cost == 1)


@pytest.mark.slow
def test_targeted_reaches_the_target(classifier, benign):
    label = classifier.logits(benign).numpy().argmax(-1)
    targets = (label + 1) % 10
    result = BIM(eps=0.6, eps_iter=0.01, targeted=True)(classifier, benign, targets=targets)
    assert result.success.mean() > 0.9
    reached = classifier.logits(result.adversarial).numpy().argmax(-1)
    np.testing.assert_array_equal(reached[result.success], targets[result.success])


def scaled(factor, dtype="float32"):
    """The trained digits classifier, `factor` times as sure."""
    keras.config.set_dtype_policy(dtype)
    model = zoo.build("digits")
    weights = zoo.load("digits").get_weights()
    model.set_weights([*weights[:-2], *(factor * w for w in weights[-2:])])
    return model


def float64_costs(factor, x):
    """BIM, written plainly: the log-odds of the label fall along the sign of their gradient."""
    keras.config.set_dtype_policy("float64")
    model = scaled(factor, "float64")
    logits = keras.Model(model.inputs, model.layers[-1].input)
    kernel, bias = (tf.constant(w) for w in model.layers[-1].get_weights())

    @tf.function
    def evaluate(x, label):
        with tf.GradientTape() as tape:
            tape.watch(x)
            z = logits(x) @ kernel + bias
            others = tf.where(tf.one_hot(label, 10) > 0, tf.float64.min, z)
            odds = tf.reduce_logsumexp(others, -1) - tf.reduce_sum(
                z * tf.one_hot(label, 10, dtype=z.dtype), -1
            )
        return tf.argmax(z, -1), tape.gradient(odds, x)

    start = tf.constant(x, tf.float64)
    label = evaluate(start, tf.zeros(len(x), tf.int64))[0]
    costs, current = np.full(len(x), 500), start
    for step in range(501):
        predicted, gradient = evaluate(current, label)
        costs = np.where((predicted != label) & (costs == 500), min(step, 500), costs)
        change = tf.clip_by_value(current + 0.0006 * tf.sign(gradient) - start, -0.3, 0.3)
        current = tf.clip_by_value(start + change, 0.0, 1.0)
    return costs


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1, 15])
def test_confidence_does_not_hide_the_gradient(benign, factor):
    model, benign = scaled(factor), benign[:12]
    z = np.sort(Classifier(model).logits(benign).numpy(), axis=-1)
    margins = z[:, -1] - z[:, -2]
    assert factor == 1 or (120 < margins.max() < 210 and np.median(margins) > 100)
    expected = float64_costs(factor, benign)
    costs = BIM()(Classifier(model), benign).cost
    assert np.mean(costs == expected) >= 0.95
    assert np.abs(costs - expected).max() <= 2
    half = BIM()(Classifier(scaled(factor, "mixed_float16")), benign).cost
    # Half precision rounds the network itself, so near the boundary labels differ by some steps.
    assert np.abs(half - expected).mean() <= 0.02 * expected.mean()
    assert np.abs(half / expected - 1).max() <= 0.15


@pytest.fixture(
    scope="module", params=[4, pytest.param(1, marks=pytest.mark.slow)], ids=["a quarter", "all"]
)
def parity(reference, request):
    """The authors' counts of BIM and BIM2 are from zero: ours are from one, at most 500."""
    model, x, counts = reference
    ours = {name: np.minimum(counts[name] + 1, 500) for name in ("bim", "bim2")}
    return model, x[:: request.param], {k: v[:: request.param] for k, v in ours.items()}


def float32_cross_entropy(logits, labels):
    """The gradient that the authors' code took, with its float32 cancellation in p - 1."""
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return tape.gradient(loss, logits)


@pytest.mark.parametrize(("name", "attack"), [("bim", BIM()), ("bim2", BIM2())])
def test_parity_with_the_authors(parity, monkeypatch, name, attack):
    model, x, counts = parity
    monkeypatch.setattr(gradient_sign, "cross_entropy_direction", float32_cross_entropy)
    costs = attack(Classifier(model), x).cost
    assert np.mean(costs == counts[name]) >= 0.97
    assert np.abs(costs - counts[name]).max() <= 2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "attack"), [("bim", BIM()), ("bim2", BIM2())])
def test_parity_wherever_float32_holds_their_gradient(parity, name, attack):
    model, x, counts = parity
    classifier = Classifier(model)
    costs = attack(classifier, x).cost
    z = np.sort(classifier.logits(x).numpy(), axis=-1)
    precise = z[:, -1] - z[:, -2] < 12  # where p - 1 keeps two digits or more
    assert precise.mean() >= 0.7
    assert np.mean(costs[precise] == counts[name][precise]) >= 0.97
    assert np.abs(costs - counts[name])[precise].max() <= 2
    assert np.mean(costs == counts[name]) >= 0.95
