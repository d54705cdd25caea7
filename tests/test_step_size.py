"""The step that `adapt` chooses, so that benign inputs withstand enough steps."""

import warnings

import keras
import numpy as np
import pytest

import a2d_keras as a2d
from a2d_keras.statistics.step_size import FIRST_STEP, choose_step


def magnified(model, by):
    """The same classifier, but more fragile, since it magnifies its inputs."""
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, model(keras.layers.Rescaling(by, 0.5 - by / 2)(inputs)))


@pytest.fixture(scope="module")
def fragile(model):
    return a2d.Classifier(magnified(model, 10.0))


@pytest.fixture(scope="module")
def narrow(held_out):
    return 0.1 * held_out[:100] + 0.45


@pytest.fixture(scope="module")
def guarded(fragile, narrow):
    guarded = a2d.guard(fragile, rule="zscore")
    guarded.adapt(narrow, verbose=0)
    return guarded


def test_is_the_papers_where_benign_inputs_withstand_it(classifier, held_out):
    assert choose_step(classifier, held_out[:100], 0.05, 128) == a2d.BIM(eps_iter=FIRST_STEP)


@pytest.mark.slow
def test_is_halved_until_benign_inputs_withstand_20_steps(guarded, fragile, narrow):
    (attack,) = guarded.detector.attacks
    halvings = np.log2(FIRST_STEP / attack.eps_iter)
    assert halvings == pytest.approx(round(halvings), abs=1e-3)
    assert 1 <= round(halvings) <= 11

    def quantile(eps_iter):
        cost = a2d.BIM(eps_iter=eps_iter)(fragile, narrow, budget=20, images=False).cost
        return np.quantile(cost, 0.05, method="lower")

    assert quantile(attack.eps_iter) >= 20 > quantile(2 * attack.eps_iter)


def test_is_kept_as_the_shortest_decimal(guarded):
    (attack,) = guarded.detector.attacks
    assert len(repr(attack.eps_iter)) < 12
    assert np.float32(attack.eps_iter) == attack.eps_iter or repr(attack.eps_iter) == str(
        np.float32(attack.eps_iter)
    )


@pytest.mark.slow
def test_is_saved(guarded, narrow, tmp_path):
    guarded.save(tmp_path / "guarded.keras")
    loaded = keras.models.load_model(tmp_path / "guarded.keras")
    assert loaded.detector.attacks == guarded.detector.attacks
    assert loaded.detector.attacks[0].eps_iter < 0.0004
    np.testing.assert_array_equal(loaded.detector.thresholds, guarded.detector.thresholds)
    expected, out = (g.predict(narrow[:10], verbose=0) for g in (guarded, loaded))
    np.testing.assert_array_equal(out["cost"], expected["cost"])


@pytest.mark.slow
def test_gives_up_with_a_warning(model, held_out):
    inputs = (1e-6 * held_out[:40] + 0.5).astype("float32")
    guarded = a2d.guard(magnified(model, 1e6), rule="zscore")
    with pytest.warns(UserWarning, match="too fragile to guard well. Received: Functional") as told:
        guarded.adapt(inputs, verbose=0)
    mine = [w for w in told if "fragile" in str(w.message)]
    assert [warning.filename for warning in mine] == [__file__]


def test_never_shrinks_below_the_resolution_of_float32(model, held_out):
    inputs = (1e-6 * held_out[:40] + 0.5).astype("float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attack = choose_step(a2d.Classifier(magnified(model, 1e6)), inputs, 0.05, 128)
    assert attack.eps_iter >= 4 * np.spacing(np.float32(0.5))


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_a_share_of_benign_inputs_may_give_way(fragile, narrow, rate):
    attack = choose_step(fragile, narrow, rate, 128)
    cost = attack(fragile, narrow, budget=20, images=False).cost
    assert np.mean(cost < 20) <= rate


def test_no_inputs_need_no_halving(classifier, held_out):
    assert choose_step(classifier, held_out[:0], 0.05, 128).eps_iter == FIRST_STEP
