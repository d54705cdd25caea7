"""Adversarial training: the attack keeps its promises, and the classifier becomes robust."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import a2d_keras as a2d

EPS = 0.1


@pytest.fixture(scope="module")
def data():
    """Two classes that differ by one strong feature, and by many weak ones that EPS turns."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=400)
    x = 0.5 + 0.05 * (2 * y[:, None] - 1) + rng.normal(scale=0.05, size=(400, 20))
    x[:, 0] = 0.5 + 0.25 * (2 * y - 1) + rng.normal(scale=0.1, size=400)
    return np.clip(x, 0, 1).astype("float32"), y


def small(inputs=20):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(2, "softmax")])


def compiled(model, *args, **options):
    training = a2d.AdversarialTraining(model, *args, **options)
    optimizer = keras.optimizers.Adam(0.05)
    training.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return training


def test_it_makes_a_classifier_robust(data):
    x, y = data
    right = {}
    for eps in (1e-6, EPS):
        model = small()
        compiled(model, eps).fit(x, y, epochs=20, verbose=0)
        attacked = np.asarray(compiled(model, EPS).attack(x, y))
        right[eps] = np.mean(model.predict(attacked, verbose=0).argmax(-1) == y)
    assert right[EPS] > right[1e-6] + 0.05


@settings(max_examples=20, deadline=None)
@given(
    eps=st.floats(0.01, 1.0),
    steps=st.integers(1, 4),
    low=st.floats(-5.0, 5.0),
    width=st.floats(0.1, 300.0),
)
def test_the_attack_stays_within_eps_and_bounds(eps, steps, low, width):
    training = compiled(small(3), eps, max_iterations=steps, bounds=(low, low + width))
    x = np.random.default_rng(0).uniform(low, low + width, (4, 3)).astype("float32")
    attacked = np.asarray(training.attack(x, np.array([0, 1, 0, 1])))
    slack = 1e-4 * width
    assert np.all(np.abs(attacked - x) <= eps * width + slack)
    assert np.all((attacked >= low - slack) & (attacked <= low + width + slack))


def test_the_attack_raises_the_loss(data):
    x, y = data
    training = compiled(small(), EPS, max_iterations=3)
    training.fit(x, y, epochs=3, verbose=0)
    attacked = np.asarray(training.attack(x, y))
    plain, raised = (training.evaluate(each, y, verbose=0)[0] for each in (x, attacked))
    assert raised > plain


def test_bounds_may_differ_between_features(data):
    low, high = np.zeros(20), np.arange(1.0, 21.0)
    training = compiled(small(), EPS, bounds=(low, high))
    x = (data[0][:8] * high).astype("float32")
    moved = np.abs(np.asarray(training.attack(x, data[1][:8])) - x).max(0)
    np.testing.assert_allclose(moved, EPS * high, rtol=0.2)


def test_the_attack_grows_while_it_warms_up(data):
    x, y = data
    training = compiled(small(), EPS, warmup_steps=4)
    moved = []
    for _ in range(6):
        moved.append(np.abs(np.asarray(training.attack(x, y)) - x).max())
        training.train_on_batch(x, y)
    np.testing.assert_allclose(moved, EPS * np.minimum(1, np.arange(1, 7) / 4), rtol=1e-3)


def test_the_monitor_follows_the_classifier(data):
    model = small()
    monitor = a2d.AttackCostMonitor(data[0][:10], attack=a2d.BIM(max_iterations=20))
    logs = compiled(model, EPS).fit(*data, epochs=1, verbose=0, callbacks=[monitor]).history
    cost = a2d.BIM(max_iterations=20)(a2d.Classifier(model), data[0][:10]).cost
    assert logs["val_attack_cost"] == [np.median(cost)]


def test_predictions_are_those_of_the_classifier(data):
    model = small()
    trained = compiled(model, EPS)
    trained.fit(*data, epochs=1, verbose=0, sample_weight=np.ones(400))
    np.testing.assert_array_equal(
        trained.predict(data[0], verbose=0), model.predict(data[0], verbose=0)
    )


def test_it_is_saved_with_its_classifier(data, tmp_path):
    training = compiled(small(), EPS, max_iterations=3, bounds=(-1.0, np.linspace(1, 2, 20)))
    training.fit(*data, epochs=1, verbose=0)
    training.save(tmp_path / "training.keras")
    loaded = keras.models.load_model(tmp_path / "training.keras")
    np.testing.assert_array_equal(
        loaded.predict(data[0], verbose=0), training.predict(data[0], verbose=0)
    )
    arguments = [dict(each.get_config(), model=None) for each in (loaded, training)]
    assert arguments[0] == arguments[1]
    assert np.isfinite(loaded.fit(*data, epochs=1, verbose=0).history["loss"][0])


@pytest.mark.parametrize(
    ("model", "options", "named"),
    [
        (keras.Sequential([keras.layers.Dense(2)]), {}, "built"),
        ("a model", {}, "built"),
        (small(), {"eps": 0.0}, "`eps`"),
        (small(), {"max_iterations": 0}, "`max_iterations`"),
        (small(), {"warmup_steps": -1}, "`warmup_steps`"),
        (small(), {"eps_iter": -0.1}, "`eps_iter`"),
        (small(), {"bounds": (1.0, 0.0)}, "`bounds`"),
    ],
)
def test_what_it_refuses(model, options, named):
    with pytest.raises(ValueError, match=named) as error:
        a2d.AdversarialTraining(model, **({"eps": EPS} | options))
    assert "Received: " in str(error.value)
