import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from a2d_keras import ZScoreDetector
from a2d_keras.detection.rules import NeighborsVerdict, ZScoreVerdict


def benign_costs(rng, rows, attacks, most=200):
    return np.clip(rng.gamma(4.0, 25.0, size=(rows, attacks)), 1, most).astype("int64")


def judge(verdict, costs):
    flagged, score = verdict(tf.constant(costs, tf.int64))
    return flagged.numpy(), score.numpy()


@pytest.mark.parametrize("attacks", [1, 2, 4])
def test_zscore_verdicts_are_the_detectors(attacks):
    rng = np.random.default_rng(attacks)
    learned, fresh = benign_costs(rng, 150, attacks), benign_costs(rng, 500, attacks)
    verdict = ZScoreVerdict([200] * attacks, 0.1)
    verdict.learn(learned, None)
    detector = ZScoreDetector(false_positive_rate=0.1).fit(learned)
    flagged, score = judge(verdict, fresh)
    np.testing.assert_array_equal(flagged, detector.predict(fresh) == -1)
    np.testing.assert_allclose(score, -detector.score_samples(fresh), rtol=1e-6)


def run_lazily(verdict, full, order):
    """Stop at budgets, and start no attack that cannot change a verdict."""
    costs = np.zeros_like(full)
    for attack in order:
        going = verdict.undecided(tf.constant(costs)).numpy()
        seen = np.minimum(full[:, attack], verdict.budgets.numpy()[attack])
        costs[:, attack] = np.where(going, seen, 0)
    return costs


@st.composite
def ensembles(draw):
    """A verdict of n attacks of which k must say benign, and what benign and other inputs cost."""
    attacks, seed = draw(st.integers(1, 4)), draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    most = rng.integers(20, 200, attacks)
    verdict = ZScoreVerdict(most.tolist(), draw(st.floats(0.03, 0.6)))
    verdict._k = draw(st.integers(1, attacks))
    benign = np.minimum(benign_costs(rng, 100, attacks), most)
    passes = benign * rng.integers(1, 20, attacks) + rng.integers(0, 300, attacks)
    verdict.learn(benign, None, passes)
    everything = np.concatenate([benign, rng.integers(1, most + 1, size=(200, attacks))])
    return verdict, everything, passes, rng


@settings(max_examples=50, deadline=None)
@given(ensemble=ensembles())
def test_a_settled_verdict_is_the_full_one(ensemble):
    """Whatever the order of the attacks, and so in the one that is learned."""
    verdict, full, _, rng = ensemble
    full_flagged, full_score = judge(verdict, full)
    for order in (verdict.order.numpy(), rng.permutation(full.shape[1])):
        costs = run_lazily(verdict, full, order)
        flagged, score = judge(verdict, costs)
        np.testing.assert_array_equal(flagged, full_flagged)
        assert not verdict.undecided(tf.constant(costs)).numpy().any()
        assert (score >= full_score)[~flagged].all()  # bounds, on the side of the verdict's doubt
        assert (score <= full_score)[flagged].all()


@settings(max_examples=20, deadline=None)
@given(ensemble=ensembles())
def test_no_other_order_takes_fewer_passes(ensemble):
    verdict, full, passes, _ = ensemble
    benign = full[: len(passes)]
    spent = passes * np.minimum(benign, verdict.budgets.numpy()) // benign

    def price(order):
        return spent[run_lazily(verdict, benign, order) > 0].sum()

    prices = [price(order) for order in itertools.permutations(range(benign.shape[1]))]
    assert price(verdict.order.numpy()) == min(prices)


def test_attacks_of_equal_price_keep_their_order():
    verdict = ZScoreVerdict([500] * 4, 0.05)
    verdict.learn(np.repeat(np.arange(30, 130)[:, None], 4, axis=1))
    assert verdict.order.numpy().tolist() == [0, 1, 2, 3]


def test_budget_is_the_smallest_benign_cost():
    verdict = ZScoreVerdict([500], 0.05)
    verdict.learn(np.arange(30, 130)[:, None])
    budget = int(verdict.budgets.numpy()[0])
    flagged, _ = judge(verdict, [[budget - 1], [budget]])
    assert flagged.tolist() == [True, False]


def test_too_few_inputs_are_refused():
    with pytest.raises(ValueError, match="needs at least 19 benign inputs. Received: 18"):
        ZScoreVerdict([500], 0.05).learn(np.arange(1, 19)[:, None])


@settings(max_examples=50, deadline=None)
@given(attacks=st.integers(1, 3), rows=st.integers(3, 150), seed=st.integers(0, 2**16))
def test_neighbours_are_scikit_learns_without_ties(attacks, rows, seed):
    rng = np.random.default_rng(seed)
    references = rng.integers(1, 500, size=(2 * rows, attacks))
    labels = np.arange(2 * rows) >= rows
    k = min(100, 2 * rows)
    verdict = NeighborsVerdict([500] * attacks, 0.05)
    verdict.learn(references[:rows], references[rows:])
    queries = rng.integers(1, 500, size=(100, attacks))
    distances = np.sort(((queries[:, None] - references) ** 2).sum(-1), axis=1)
    tied = (distances[:, k - 1] == distances[:, k]) if k < 2 * rows else np.zeros(100, bool)
    flagged, share = judge(verdict, queries)
    knn = KNeighborsClassifier(k, algorithm="brute").fit(references, labels)
    expected = knn.predict_proba(queries)[:, 1]
    np.testing.assert_allclose(share[~tied], expected[~tied], atol=1e-6)
    np.testing.assert_array_equal(flagged[~tied], (expected > 0.5)[~tied])


def test_ties_at_the_last_place_share_it():
    """100 places: 60 benign nearer, 80 at the last distance, half of those adversarial."""
    benign = np.repeat([10, 20], [60, 40])[:, None]
    adversarial = np.repeat([20, 400], [40, 60])[:, None]
    verdict = NeighborsVerdict([500], 0.05)
    verdict.learn(benign, adversarial)
    flagged, share = judge(verdict, [[9]])
    assert share[0] == pytest.approx(40 * 0.5 / 100)
    assert not flagged[0]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_votes_do_not_depend_on_the_order_of_rows(seed):
    rng = np.random.default_rng(seed)
    benign, adversarial = rng.integers(1, 12, size=(2, 150, 1))
    queries = np.arange(1, 15)[:, None]
    verdict = NeighborsVerdict([15], 0.05)
    verdict.learn(benign, adversarial)
    first = judge(verdict, queries)
    verdict.learn(rng.permutation(benign), rng.permutation(adversarial))
    np.testing.assert_array_equal(first, judge(verdict, queries))


def test_an_even_vote_is_benign():
    verdict = NeighborsVerdict([500], 0.05)
    verdict.learn(np.full((50, 1), 10), np.full((50, 1), 12))
    assert judge(verdict, [[11], [500]])[0].tolist() == [False, False]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_one_attack_stops_where_no_vote_changes(seed):
    rng = np.random.default_rng(seed)
    benign = benign_costs(rng, 120, 1)
    adversarial = np.maximum(benign_costs(rng, 120, 1) // 3, 1)
    verdict = NeighborsVerdict([200], 0.05)
    verdict.learn(benign, adversarial)
    every_cost = np.arange(1, 201)[:, None]
    flagged, _ = judge(verdict, every_cost)
    stopped, _ = judge(verdict, np.minimum(every_cost, verdict.budgets.numpy()))
    np.testing.assert_array_equal(stopped, flagged)


def test_keeps_only_so_many_references():
    with pytest.raises(ValueError, match="at most 10000 fingerprints.*Received: 10001"):
        NeighborsVerdict([5], 0.05).learn(np.ones((10_000, 1)), np.ones((1, 1)))


def test_learns_again_from_fewer_or_more():
    verdict = NeighborsVerdict([500], 0.05)
    for rows in (300, 150, 400):
        verdict.learn(np.full((rows, 1), rows), np.full((rows, 1), 10))
        assert judge(verdict, [[rows - 9], [rows // 4]])[0].tolist() == [False, True]
