"""The requirements for every baseline in the registry."""

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from a2d_keras import BIM, Classifier
from baselines.base import RegressionBaseline
from baselines.noise import gaussian_noise
from baselines.registry import BASELINES
from models import registry, zoo

pytestmark = pytest.mark.checkout


@pytest.fixture(scope="module", params=BASELINES)
def baseline(request):
    return BASELINES[request.param]


@pytest.fixture(scope="module")
def make(baseline, digits):
    """Make the baseline of a model, as Env1 makes it for the digits."""
    options = registry.find("digits").settings.baselines.get(baseline.name, {})
    return lambda model, **more: baseline.from_data(model, digits, **options, **more)


@pytest.fixture(scope="module")
def kinds(digits, model):
    """160 benign digits, the same with noise, and adversarial."""
    predicted = model.predict(digits.x_test, verbose=0).argmax(-1)
    benign = digits.x_test[predicted == digits.y_test][:160]
    adversarial = BIM(eps_iter=0.01, max_iterations=50)(Classifier(model), benign).adversarial
    return benign, gaussian_noise(benign, adversarial), adversarial


@pytest.fixture(scope="module")
def fitted(make, model, kinds):
    return make(model).fit(*(x[:100] for x in kinds))


@pytest.mark.slow
def test_adversarial_inputs_score_higher(fitted, kinds):
    benign, noisy, adversarial = (fitted.score(x[100:]) for x in kinds)
    assert benign.dtype == "float64"
    assert benign.shape == (60,)
    labels = np.repeat([0, 1], 60)
    assert roc_auc_score(labels, np.append(benign, adversarial)) > 0.9
    assert roc_auc_score(labels, np.append(noisy, adversarial)) > 0.9


def test_no_inputs_have_no_scores(fitted, kinds):
    assert fitted.score(kinds[0][:0]).shape == (0,)


@pytest.mark.slow
def test_fits_characteristics_that_were_computed_before(make, fitted, model, kinds):
    again = make(model)
    tables = [again.characteristics(x[:100], benign=kinds[0][:100]) for x in kinds]
    assert again.fit_characteristics(*tables) is again
    expected = [fitted.score_characteristics(table) for table in tables]
    for table, scores in zip(tables, expected, strict=True):
        np.testing.assert_array_equal(again.score_characteristics(table), scores)  # seeded, too


def test_parameters_and_the_split_of_the_paper(fitted):
    assert fitted.parameters() == fitted.parameters()
    first, scored = fitted.paper_split(60)
    assert first.shape == scored.shape == (60,)
    assert first.any()
    assert scored.any()


def test_saved_and_loaded_it_scores_the_same(baseline, fitted, kinds, tmp_path):
    path = tmp_path / "file"
    fitted.save(path)
    fitted.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    loaded = baseline.load(path, zoo.load("digits"))
    assert loaded.parameters() == fitted.parameters()
    assert loaded.seed == fitted.seed
    np.testing.assert_array_equal(loaded.score(kinds[2]), fitted.score(kinds[2]))


def test_refuses_a_file_of_other_weights(baseline, fitted, model, tmp_path):
    fitted.save(tmp_path / "file")
    with pytest.raises(ValueError, match="file was fitted on .* other weights.* Received: Seq"):
        baseline.load(tmp_path / "file", keras.models.clone_model(model))


def test_refuses_a_file_of_another_baseline(baseline, fitted, model, tmp_path, monkeypatch):
    fitted.save(tmp_path / "file")
    monkeypatch.setattr(baseline, "name", "another")
    with pytest.raises(ValueError, match="file was not saved by another; .* Received: a file of"):
        baseline.load(tmp_path / "file", model)


def test_refuses_a_damaged_file(baseline, fitted, model, tmp_path):
    path = tmp_path / "file"
    fitted.save(path)
    whole = path.read_bytes()
    damaged = [b"", b"text", whole[:-100], whole[: len(whole) // 2]]
    for place in range(120, 300, 60):  # in the first array; a changed time stamp does no harm
        damaged.append(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
    for contents in damaged:
        path.write_bytes(contents)
        with pytest.raises(ValueError, match="file is damaged.* Received: "):
            baseline.load(path, model)


def test_refuses_a_missing_file(baseline, model, tmp_path):
    with pytest.raises(FileNotFoundError):
        baseline.load(tmp_path / "none", model)


@pytest.mark.parametrize("use", ["score", "score_characteristics", "save"])
def test_refuses_to_work_before_fit(make, model, digits, use, tmp_path):
    given = tmp_path / "file" if use == "save" else digits.x_test[:8]
    with pytest.raises(ValueError, match="Call `fit` first.* Received: "):
        getattr(make(model), use)(given)


def test_refuses_a_bad_seed(make, model):
    with pytest.raises(ValueError, match="`seed` must be a whole number, at least 0. Received: -1"):
        make(model, seed=-1)


def test_refuses_too_few_inputs(fitted, kinds):
    table = fitted.characteristics(kinds[0], benign=kinds[0])
    with pytest.raises(ValueError, match="at least 5 inputs of each kind.* Received: .160, 160, 4"):
        fitted.fit_characteristics(table, table, table[:4])


def test_says_what_it_learns_from(make, fitted, model, kinds):
    tables = [fitted.characteristics(x[:50], benign=kinds[0][:50]) for x in kinds]
    again = make(model).fit_characteristics(*tables)
    other = make(model).fit_characteristics(tables[0], tables[2], tables[1])
    scores = [each.score_characteristics(tables[2]) for each in (again, other)]
    assert np.array_equal(*scores) != fitted.supervised
    assert fitted.passes >= 0


def test_every_baseline_has_a_name_of_its_own():
    assert list(BASELINES) == [baseline.name for baseline in BASELINES.values()]
    assert len({*BASELINES.values()}) == len(BASELINES) >= 2
    assert RegressionBaseline not in BASELINES.values()
