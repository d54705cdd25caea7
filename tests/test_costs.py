import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from a2d_keras import BIM, BIM2, AttackCosts, Classifier, RunOptions, progress

ATTACKS = [BIM(eps_iter=0.002), BIM2(eps_iter=0.001)]


@pytest.fixture(scope="module")
def costs(model):
    return AttackCosts(model, attacks=ATTACKS)


@pytest.mark.slow
def test_fingerprints_are_the_costs_of_each_attack(costs, classifier, benign):
    fingerprints = costs.transform(benign)
    assert fingerprints.shape == (len(benign), 2)
    assert np.issubdtype(fingerprints.dtype, np.integer)
    for column, attack in zip(fingerprints.T, ATTACKS, strict=True):
        np.testing.assert_array_equal(column, attack(classifier, benign).cost)


@pytest.mark.slow
def test_adversarial_inputs_cost_less(costs, benign, adversarial):
    ratio = costs.transform(adversarial).mean(axis=0) / costs.transform(benign).mean(axis=0)
    assert (ratio < 0.2).all()


def test_attack_keeps_all_that_was_found(costs, classifier, benign):
    bim, bim2 = costs.attack(benign, budget=30)
    assert bim.adversarial.shape == benign.shape
    assert bim2.cost.max() == 30
    np.testing.assert_array_equal(bim.queries, bim.cost + 1)
    changed = classifier.logits(bim.adversarial).numpy().argmax(-1)
    label = classifier.logits(benign).numpy().argmax(-1)
    np.testing.assert_array_equal(changed != label, bim.success)


@pytest.mark.slow
@pytest.mark.parametrize(
    "form",
    [
        pytest.param(tf.constant, marks=pytest.mark.slow),
        pytest.param(
            lambda x: tf.data.Dataset.from_tensor_slices(x).batch(16), marks=pytest.mark.slow
        ),
        lambda x: tf.data.Dataset.from_tensor_slices((x, np.zeros(len(x)))).batch(64),
    ],
    ids=["tensor", "dataset", "dataset of pairs"],
)
def test_takes_tensors_and_datasets(costs, benign, form):
    np.testing.assert_array_equal(costs.transform(form(benign)), costs.transform(benign))


def test_no_inputs_no_costs(costs, benign):
    assert costs.transform(benign[:0]).shape == (0, 2)


def test_clone_keeps_the_model(costs):
    copy = clone(costs)
    assert copy is not costs
    assert copy.model is costs.model
    assert copy.get_params(deep=False) == costs.get_params(deep=False)
    assert clone(make_pipeline(costs, SVC()))[0].model is costs.model


@pytest.mark.parametrize(
    "detector",
    [
        RandomForestClassifier(random_state=0),
        *(
            pytest.param(detector, marks=pytest.mark.slow)
            for detector in (
                KNeighborsClassifier(20),
                SVC(),
                DecisionTreeClassifier(random_state=0),
            )
        ),
    ],
    ids=lambda detector: type(detector).__name__,
)
def test_any_classifier_detects_behind_it(costs, benign, adversarial, detector):
    pipeline = make_pipeline(costs, detector)
    half = len(benign) // 2
    pipeline.fit(np.concatenate([benign[:half], adversarial[:half]]), [0] * half + [1] * half)
    assert pipeline.predict(adversarial[half:]).mean() > 0.9
    assert pipeline.predict(benign[half:]).mean() < 0.2


@pytest.mark.slow
def test_changed_parameters_count(model, benign):
    costs = AttackCosts(model, attacks=[BIM(eps_iter=0.01)])
    first = costs.transform(benign)
    costs.set_params(model=Classifier(model, bounds=(0, 2)))
    wide = costs.transform(benign)
    assert (wide <= first).all()
    assert (wide < first).any()
    costs.set_params(options=RunOptions(slots=8), attacks=[BIM(eps_iter=0.02)])
    assert costs.get_params()["options"].slots == 8
    assert (costs.transform(benign) <= wide).all()


def test_pickles_without_what_was_compiled(costs, benign):
    restored = pickle.loads(pickle.dumps(costs))
    np.testing.assert_array_equal(restored.transform(benign[:5]), costs.transform(benign[:5]))


def test_names_its_columns(costs):
    assert list(costs.get_feature_names_out()) == ["bim_0", "bim2_1"]


@pytest.mark.slow
def test_shows_progress(model, benign, monkeypatch, capsys):
    monkeypatch.setattr(progress, "visible", lambda: True)
    AttackCosts(model, attacks=[BIM(eps_iter=0.01)], verbose=1).transform(benign)
    assert f"{len(benign)}/{len(benign)}" in capsys.readouterr().out


def test_probabilities_out_of_sight_are_warned_of_once(benign, model):
    @tf.function
    def hidden(x):
        return tf.nn.softmax(x)

    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Dense(10)(keras.layers.Flatten()(inputs))
    opaque = keras.Model(inputs, keras.layers.Lambda(hidden)(x))
    costs = AttackCosts(opaque, attacks=[BIM(eps_iter=0.01)])
    with pytest.warns(UserWarning, match="out of sight") as record:
        _ = [costs.transform(benign) for _ in range(2)]
    assert len(record) == 1
