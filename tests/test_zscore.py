import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.utils.estimator_checks import parametrize_with_checks

from a2d_keras import ZScoreDetector
from a2d_keras.detection.conformal import conformal_rank, rows_needed


def skewed_costs(rng, rows, attacks=1):
    """Costs like those of benign inputs: whole numbers, skewed, correlated, tied at the limit."""
    level = rng.gamma(2.0, 1.0, size=(rows, 1))
    own = rng.gamma(4.0, 0.25, size=(rows, attacks))
    return np.clip(np.ceil(60 * level * own), 1, 500)


@pytest.mark.filterwarnings("ignore:A detector learns little")
@pytest.mark.filterwarnings("ignore:.*nothing will be flagged")
@parametrize_with_checks([ZScoreDetector()])
def test_is_a_scikit_learn_estimator(estimator, check):
    with np.errstate(all="ignore"):
        check(estimator)


def tied_costs(rng, rows, attacks):
    """Costs near enough to normal to need no transform, with many ties."""
    return 10 * np.round(rng.normal(20, 4, size=(rows, 1)) + rng.normal(0, 2, size=(rows, attacks)))


@pytest.mark.parametrize("calibrations", [100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("draw", "attacks", "rows", "rate"),
    [(skewed_costs, 1, 40, 0.1), (tied_costs, 1, 100, 0.05), (tied_costs, 4, 150, 0.1)],
)
def test_false_positive_rate_is_kept(draw, attacks, rows, rate, calibrations):
    """Over many calibrations, ties included, fresh benign inputs are flagged at most at `rate`."""
    rng = np.random.default_rng(7)
    rates = []
    for _ in range(calibrations):
        detector = ZScoreDetector(false_positive_rate=rate).fit(draw(rng, rows, attacks))
        rates.append(np.mean(detector.predict(draw(rng, 100, attacks)) == -1))
    error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) <= rate + 3 * error
    assert np.mean(rates) >= rate / 4  # and the detector is not merely silent


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    k=st.integers(1, 4),
    h=st.floats(-3, 1),
    seed=st.integers(0, 2**16),
)
def test_benign_if_k_attacks_say_benign(k, h, seed):
    rng = np.random.default_rng(seed)
    detector = ZScoreDetector(h=h, k=k).fit(skewed_costs(rng, 50, 4))
    costs = skewed_costs(rng, 200, 4)
    z = detector.z_scores(costs)
    says_benign = (z >= h).sum(axis=1) >= k
    np.testing.assert_array_equal(detector.predict(costs) == 1, says_benign)
    np.testing.assert_array_equal(detector.score_samples(costs), np.sort(z, axis=1)[:, 4 - k])
    np.testing.assert_allclose(detector.decision_function(costs), detector.score_samples(costs) - h)


@pytest.mark.parametrize(("attacks", "k"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_default_k_is_half_of_the_attacks(attacks, k):
    assert ZScoreDetector().fit(skewed_costs(np.random.default_rng(0), 99, attacks)).k_ == k


def test_mean_and_scale_are_of_the_transformed_costs():
    costs = skewed_costs(np.random.default_rng(1), 400)
    detector = ZScoreDetector(h=-1.281552).fit(costs)
    transformed, lmbda = stats.boxcox(costs[:, 0])
    assert detector.lambdas_[0] == pytest.approx(lmbda)
    assert detector.means_[0] == pytest.approx(transformed.mean())
    assert detector.scales_[0] == pytest.approx(transformed.std())
    # The threshold in steps is where the z-score crosses h.
    assert detector.z_scores([detector.thresholds_])[0] == pytest.approx(-1.281552)
    # So about a tenth of benign inputs lies below it, whatever the skew.
    assert np.mean(costs < detector.thresholds_) == pytest.approx(0.1, abs=0.03)


def test_normal_costs_are_left_as_they_are():
    costs = np.random.default_rng(2).normal(200, 20, size=(500, 1))
    detector = ZScoreDetector(h=-1).fit(costs)
    assert detector.lambdas_[0] == 1
    assert detector.thresholds_[0] == pytest.approx(costs.mean() - costs.std())


def test_one_attack_calibrates_on_all_rows():
    costs = np.arange(1, 100.0)[:, None]
    detector = ZScoreDetector(false_positive_rate=0.05).fit(costs)
    np.testing.assert_array_equal(detector.predict(costs) == -1, costs[:, 0] < 5)


def test_calibration_does_not_depend_on_ties():
    costs = np.repeat([10.0, 20.0, 300.0], 40)[:, None]
    flagged = ZScoreDetector(false_positive_rate=0.2).fit(costs).predict([[9], [10], [11], [20]])
    np.testing.assert_array_equal(flagged, [-1, 1, 1, 1])


@pytest.mark.parametrize("attacks", [1, 3])
def test_constant_costs(attacks):
    detector = ZScoreDetector().fit(np.full((100, attacks), 500.0))
    assert detector.predict([[500] * attacks, [499] * attacks, [1] * attacks]).tolist() == [
        1,
        -1,
        -1,
    ]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=60),
    fresh=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20),
)
def test_any_finite_numbers(rows, fresh):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = ZScoreDetector().fit(np.array(rows)[:, None])
        scores = detector.score_samples(np.sort(fresh)[:, None])
    assert np.isfinite(scores).all()
    assert (np.diff(scores) >= 0).all()  # a higher cost is never less normal


def test_few_rows_warn():
    with pytest.warns(UserWarning, match="fewer than 20 benign inputs. Received: 19"):
        ZScoreDetector().fit(np.arange(1, 20.0)[:, None])


def test_too_few_rows_flag_nothing():
    costs = np.arange(100, 118.0)[:, None]
    with pytest.warns(UserWarning, match="nothing will be flagged; 19 are enough. Received: 18"):
        detector = ZScoreDetector().fit(costs)
    assert detector.predict([[1]]) == 1
    assert detector.offset_ == -np.inf


@given(rate=st.floats(0.001, 0.5))
def test_rows_needed_are_the_fewest_that_set_a_threshold(rate):
    rows = rows_needed(rate)
    assert conformal_rank(rows, rate) >= 1
    assert rows == 1 or conformal_rank(rows - 1, rate) == 0
    several = rows_needed(rate, attacks=3)
    assert several - several // 2 == rows


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, np.nan])
def test_refuses_other_rates(rate):
    with pytest.raises(ValueError, match="between 0 and 1. Received: "):
        ZScoreDetector(false_positive_rate=rate).fit(np.arange(1, 50.0)[:, None])


@pytest.mark.parametrize("k", [0, 3])
def test_refuses_other_k(k):
    with pytest.raises(ValueError, match=f"`k` must lie between 1 and .* 2. Received: {k}"):
        ZScoreDetector(k=k).fit(skewed_costs(np.random.default_rng(0), 50, 2))


def test_the_split_is_seeded():
    costs = skewed_costs(np.random.default_rng(3), 80, 2)
    thresholds = [ZScoreDetector(random_state=s).fit(costs).thresholds_.tolist() for s in (0, 0, 1)]
    assert thresholds[0] == thresholds[1] != thresholds[2]


def test_costs_at_their_cap_leave_cheap_inputs_flagged():
    costs = np.array([[50]] * 57 + [[36], [42], [44]])
    detector = ZScoreDetector(false_positive_rate=0.05).fit(costs)
    assert np.isfinite(detector.scales_).all()
    np.testing.assert_array_equal(detector.predict([[2], [50]]), [-1, 1])
