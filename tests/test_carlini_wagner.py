import keras
import numpy as np
import pytest

from a2d_keras import BIM, Classifier
from a2d_keras.attacks.carlini_wagner import CarliniWagner

BOUNDS = (-1.0, 2.0)  # a range other than one, so that fractions differ from absolute lengths
QUICK = {
    "binary_search_steps": 3,
    "search_iterations": 60,
    "initial_c": 0.3,
    "learning_rate": 0.1,
}


@pytest.fixture(scope="module")
def digits20(benign):
    return benign[:20]


@pytest.fixture(scope="module")
def result(classifier, digits20):
    return CarliniWagner(**QUICK)(classifier, digits20)


@pytest.fixture(scope="module")
def tiny():
    """A classifier of one hidden layer, its weights for `plain`, and three inputs."""
    keras.utils.set_random_seed(5)
    hidden = keras.layers.Dense(16, activation="tanh", bias_initializer="random_normal")
    model = keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(5)])
    x = np.random.default_rng(6).uniform(*BOUNDS, size=(3, 6)).astype("float32")
    x[0, :2] = BOUNDS
    return Classifier(model, bounds=BOUNDS), [w.astype("float64") for w in model.get_weights()], x


def l2(x, y):
    return np.sqrt(((x - y).reshape(len(x), -1) ** 2).sum(axis=-1))


def leads(classifier, x, labels):
    """The lead of the largest other logit over the label's."""
    logits = classifier.logits(x).numpy()
    rows = np.arange(len(x))
    own = logits[rows, labels]
    logits[rows, labels] = -np.inf
    return logits.max(axis=-1) - own


def predicted(classifier, x):
    return classifier.logits(x).numpy().argmax(axis=-1)


def plain(weights, x, label, attack):
    """The attack on one input, in NumPy's float64: its distance in fractions, and its steps."""
    kernel_1, bias_1, kernel_2, bias_2 = weights
    sign = -1 if attack.targeted else 1
    low, high = BOUNDS
    pixels = (x.astype("float64") - low) / (high - low)
    start = np.arctanh((2 * pixels - 1) * 0.999999)
    c, failing, working = attack.initial_c, 0.0, None
    nearest, steps = np.inf, 0
    for _ in range(attack.binary_search_steps):
        w, mean, square = start.copy(), 0.0, 0.0
        works, checked = False, np.inf
        for i in range(attack.search_iterations):
            steps += 1
            fraction = (np.tanh(w) + 1) / 2
            hidden = np.tanh((low + (high - low) * fraction) @ kernel_1 + bias_1)
            logits = hidden @ kernel_2 + bias_2
            rival = max((k for k in range(5) if k != label), key=lambda k: logits[k])
            margin = sign * (logits[label] - logits[rival])
            loss = max(margin + attack.confidence, 0)
            distance = ((fraction - pixels) ** 2).sum()
            if loss == 0 and margin < 0:
                works, nearest = True, min(nearest, distance)
            objective = distance + c * loss
            if attack.early_abort and i % (attack.search_iterations // 10) == 0:
                if objective >= 0.9999 * checked:
                    break
                checked = objective
            slope = 2 * (fraction - pixels)
            if loss > 0:
                back = sign * (kernel_2[:, label] - kernel_2[:, rival]) * (1 - hidden**2)
                slope = slope + c * (high - low) * (kernel_1 @ back)
            gradient = slope * (1 - np.tanh(w) ** 2) / 2
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            unbiased = mean / (1 - 0.9 ** (i + 1)), square / (1 - 0.999 ** (i + 1))
            w -= attack.learning_rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
        failing, working = (failing, c) if works else (c, working)
        c = 10 * c if working is None else (failing + working) / 2
    return np.sqrt(nearest), steps


@pytest.mark.slow
@pytest.mark.parametrize(
    ("targeted", "confidence", "initial_c", "early_abort"),
    [(False, 0.0, 0.05, True), (True, 0.3, 1.0, True), (True, 0.0, 0.003, False)],
)
def test_is_the_plain_attack(tiny, targeted, confidence, initial_c, early_abort):
    classifier, weights, x = tiny
    attack = CarliniWagner(
        confidence=confidence,
        initial_c=initial_c,
        learning_rate=0.05,
        binary_search_steps=4,
        search_iterations=30,
        early_abort=early_abort,
        targeted=targeted,
    )
    labels = (predicted(classifier, x) + targeted) % 5
    expected = [plain(weights, *pair, attack) for pair in zip(x, labels, strict=True)]
    distances, steps = np.transpose(expected)
    result = attack(classifier, x, targets=labels if targeted else None)
    found = np.isfinite(distances)
    assert found.sum() >= 2
    np.testing.assert_array_equal(result.success, found)
    ours = l2(x, result.adversarial) / 3
    np.testing.assert_allclose(ours[found], distances[found], rtol=1e-3)
    np.testing.assert_array_equal(result.queries, steps + 1)
    np.testing.assert_array_equal(result.cost, np.where(found, steps, 120))


def test_result_is_adversarial_and_within_bounds(classifier, digits20, result):
    labels = predicted(classifier, digits20)
    assert result.success.all()
    assert (leads(classifier, result.adversarial, labels) > -1e-4).all()
    assert result.adversarial.min() >= 0
    assert result.adversarial.max() <= 1


def test_counts(result):
    np.testing.assert_array_equal(result.queries, result.cost + 1)
    np.testing.assert_array_equal(result.gradient_evaluations, result.queries)
    assert (result.cost < 180).any()  # early abort
    assert (result.cost <= 180).all()


def test_confidence_is_kept_and_costs_distance(classifier, digits20, result):
    sure = CarliniWagner(**QUICK, confidence=3.0)(classifier, digits20)
    labels = predicted(classifier, digits20)
    assert sure.success.mean() >= 0.9
    found = sure.success
    assert (leads(classifier, sure.adversarial, labels)[found] > 3 - 1e-3).all()
    near, far = (l2(digits20, r.adversarial)[found] for r in (result, sure))
    assert (far > near).all()


@pytest.mark.slow
def test_nearer_than_bim(classifier, digits20):
    bim = BIM(eps_iter=0.002)(classifier, digits20)
    long = CarliniWagner(
        initial_c=0.02, learning_rate=0.1, search_iterations=150, early_abort=False
    )
    result = long(classifier, digits20)
    assert bim.success.all()
    assert result.success.all()
    distances = [l2(digits20, r.adversarial) for r in (result, bim)]
    assert (distances[0] <= distances[1]).all()
    assert distances[0].mean() < 0.8 * distances[1].mean()


@pytest.mark.slow
def test_search_over_c_brings_examples_nearer(classifier, digits20, result):
    once = CarliniWagner(**(QUICK | {"binary_search_steps": 1}))(classifier, digits20)
    first, last = (l2(digits20, r.adversarial)[once.success] for r in (once, result))
    assert (last <= first + 1e-5).all()
    assert (last < 0.9 * first).any()


@pytest.mark.slow
def test_scales_with_the_bounds(model, digits20, result):
    low, high = BOUNDS
    rescale = keras.layers.Rescaling(1 / 3, offset=1 / 3)
    wide = Classifier(keras.Sequential([keras.Input((8, 8, 1)), rescale, model]), bounds=BOUNDS)
    other = CarliniWagner(**QUICK)(wide, low + (high - low) * digits20)
    assert np.mean(other.cost == result.cost) >= 0.95
    distances = l2(digits20, (other.adversarial - low) / (high - low))
    np.testing.assert_allclose(distances, l2(digits20, result.adversarial), rtol=0.02)
    assert other.adversarial.min() >= low
    assert other.adversarial.max() <= high


def test_without_early_abort_every_step_is_walked(classifier, digits20, result):
    whole = CarliniWagner(**QUICK, early_abort=False)(classifier, digits20)
    np.testing.assert_array_equal(whole.cost, 180)
    assert whole.success.all()
    assert l2(digits20, whole.adversarial).mean() < 1.05 * l2(digits20, result.adversarial).mean()


def test_a_budget_ends_the_search_with_the_nearest_so_far(classifier, digits20, result):
    short = CarliniWagner(**QUICK)(classifier, digits20, budget=100)
    np.testing.assert_array_equal(short.success, result.cost < 100)
    np.testing.assert_array_equal(short.cost, np.minimum(result.cost, 100))
    turned = predicted(classifier, short.adversarial) != predicted(classifier, digits20)
    assert turned.mean() >= 0.5
    distances = l2(digits20, result.adversarial)[turned]
    assert (l2(digits20, short.adversarial)[turned] >= distances - 1e-3).all()


@pytest.mark.slow
def test_targeted_reaches_the_target_and_at_it_costs_one(classifier, digits20):
    labels = predicted(classifier, digits20)
    there = np.arange(20) < 5
    targets = np.where(there, labels, (labels + 1) % 10)
    attack = CarliniWagner(**QUICK, targeted=True)
    result = attack(classifier, digits20, targets=targets)
    assert result.success.mean() >= 0.9
    lags = leads(classifier, result.adversarial, targets)
    assert (lags[result.success] < 1e-4).all()
    assert result.success[there].all()
    np.testing.assert_array_equal(result.cost == 1, there)
    np.testing.assert_allclose(result.adversarial[there], digits20[there], atol=1e-5)


def test_where_nothing_is_found_all_steps_are_the_cost():
    last = keras.layers.Dense(2, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((4,)), last])
    last.bias.assign([1.0, 0.0])
    classifier = Classifier(model, from_logits=True)
    result = CarliniWagner(**QUICK)(classifier, np.full((2, 4), 0.5, "float32"))
    assert not result.success.any()
    np.testing.assert_array_equal(result.cost, 180)
    np.testing.assert_allclose(result.adversarial, 0.5, atol=1e-5)
    assert (result.queries < 180).all()


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, "0.1", None])
def test_refuses_other_rates(value):
    for name in ("initial_c", "learning_rate"):
        with pytest.raises(ValueError, match=f"`{name}` must be a positive number.*Received: "):
            CarliniWagner(**{name: value})


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, "0", None])
def test_refuses_other_confidences(value):
    with pytest.raises(ValueError, match="`confidence` must be a number, at least 0.*Received: "):
        CarliniWagner(confidence=value)


def test_refuses_max_iterations():
    with pytest.raises(TypeError):
        CarliniWagner(max_iterations=5)
