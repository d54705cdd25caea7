"""No input takes more queries than the maximum that is known before the call."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d

STUBBORN = [
    a2d.FGSM(),
    a2d.BIM(max_iterations=40),
    a2d.BIM2(max_iterations=40),
    a2d.JSMA(max_iterations=40),
    a2d.CarliniWagner(binary_search_steps=3, search_iterations=15),
    a2d.LSA(max_iterations=3),
    a2d.PairJSMA(max_iterations=40),
    a2d.DeepFool(max_iterations=20),
    a2d.DBA(max_iterations=25),
    a2d.DBA(max_iterations=25, distance=1e-6, source_step=0.9),  # whose proposals nearly all fail
]


@keras.saving.register_keras_serializable(package="tests")
class Counter(keras.layers.Layer):
    """Counts the inputs that pass through it, in graphs and their loops too."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = tf.Variable(0, dtype="int64", trainable=False)  # no weight: not to be saved

    def call(self, x):
        with tf.control_dependencies([self.seen.assign_add(tf.shape(x, tf.int64)[0])]):
            return tf.identity(x)


def counted(model):
    counter, inputs = Counter(), keras.Input(model.input_shape[1:])
    return keras.Model(inputs, model(counter(inputs))), counter


def deaf():
    """A classifier that hardly depends on its input, and never changes its label."""
    inputs = keras.Input((8, 8, 1))
    quiet = keras.layers.Flatten()(keras.layers.Rescaling(1e-3)(inputs))
    strong = keras.initializers.Constant([9.0] + [0.0] * 9)
    return keras.Model(inputs, keras.layers.Dense(10, "softmax", bias_initializer=strong)(quiet))


@pytest.fixture(scope="module")
def expensive(model, classifier, digits):
    """The most expensive inputs: flat images, noise, and robust digits, some made more robust."""
    x = digits.x_test
    costs = a2d.AttackCosts(model).transform(x)[:, 0]
    hardiest = x[costs.argsort()[-4:]]
    own = model.predict(hardiest, verbose=0).argmax(-1)
    harden = a2d.BIM(
        eps=1.0, eps_iter=0.02, max_iterations=60, targeted=True, stop_at_success=False
    )
    hardened = harden(classifier, hardiest, targets=own).adversarial
    noise = np.random.default_rng(0).uniform(size=(2, 8, 8, 1))
    flat = np.ones((3, 8, 8, 1)) * np.array([0, 0.5, 1]).reshape(3, 1, 1, 1)
    return np.concatenate([hardened, hardiest, noise, flat]).astype("float32")


@pytest.mark.slow
@pytest.mark.parametrize("attack", STUBBORN, ids=repr)
def test_an_input_that_never_gives_way_takes_no_more_than_is_said(expensive, attack):
    target = a2d.Classifier(deaf())
    queries = attack(target, expensive).queries
    limit = attack.max_queries(target, attack.max_iterations)
    assert queries.max() <= limit
    if attack in STUBBORN[:3]:
        assert (queries == limit).all()


@pytest.mark.slow
@pytest.mark.parametrize("attack", STUBBORN, ids=repr)
def test_nor_does_any_other(classifier, expensive, attack):
    queries = attack(classifier, expensive).queries
    assert queries.max() <= attack.max_queries(classifier, attack.max_iterations)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rule": "zscore"},
        {"statistics": [a2d.AttackCost(a2d.BIM(eps_iter=0.002, max_iterations=80), exact=True)]},
        {"attacks": [a2d.LSA(max_iterations=2), a2d.DBA(max_iterations=8)]},
    ],
    ids=["default", "cost", "exact", "labels"],
)
@pytest.mark.slow
def test_no_input_exceeds_the_budget(guard_digits, model, expensive, options):
    """Counted in the classifier itself, one input at a time, so that no slot is ever empty."""
    adapted = guard_digits(count=60, **options)
    watched, counter = counted(model)
    guarded = a2d.guard(watched, slots=1, **options)
    guarded.set_weights(adapted.get_weights())
    limit = guarded.max_queries_per_input
    taken = []
    for x in expensive:
        counter.seen.assign(0)
        guarded.predict(x[None], verbose=0)
        taken.append(int(counter.seen))
    assert max(taken) <= limit
    if options and "attacks" not in options:
        assert max(taken) == limit  # the budget is no larger than it must be


def test_is_known_before_adapt_and_shrinks_with_it(guard_digits, model, capsys):
    # The prediction, 500 steps, and a last look.
    assert a2d.guard(model, rule="zscore").max_queries_per_input == 502
    guarded = guard_digits(rule="zscore")
    assert guarded.max_queries_per_input == guarded.detector.thresholds[0] + 2
    guarded.summary()
    assert f"Maximum queries per input: {guarded.max_queries_per_input}" in capsys.readouterr().out
    lines = []
    guarded.summary(print_fn=lines.append)
    assert lines[-1] == f" Maximum queries per input: {guarded.max_queries_per_input}"


def test_is_the_prediction_and_the_passes_of_every_statistic(model, guarded):
    layer = guarded.detector
    passes = [statistic.passes(layer.classifier) for statistic in layer.statistics]
    expected = 1 + sum(each.queries for each in passes)
    assert guarded.max_queries_per_input == expected <= 16
    assert a2d.guard(model).max_queries_per_input == expected


def test_is_the_sum_of_the_attacks(model):
    attacks = [a2d.BIM(max_iterations=70), a2d.DBA(max_iterations=20)]
    statistics = [a2d.AttackCost(attack, exact=True) for attack in attacks]
    guarded = a2d.guard(model, statistics=statistics)
    noise, starts, blends, walk, last_look = 1000, 16, 20, 28 * (20 + 2), 4
    dba = noise + starts + blends + walk + last_look
    assert guarded.max_queries_per_input == 1 + 71 + dba
