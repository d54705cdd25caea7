import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from a2d_keras import KNN, Fisher, ZScore, ZScoreDetector
from a2d_keras.detection import rules
from a2d_keras.detection.rules import Column, CostRule


def benign_costs(rng, rows, attacks, largest=200):
    return np.clip(rng.gamma(4.0, 25.0, size=(rows, attacks)), 1, largest).astype("int64")


def prepared(rule, max_iterations, rate=0.05):
    rule.prepare([Column("low", limit) for limit in max_iterations], rate)
    return rule


def learn(rule, benign):
    """Learn from benign costs, and from much smaller ones if the rule needs them."""
    if not isinstance(rule, CostRule):
        rule.learn(benign[::2], benign[1::2])
    else:
        rule.learn(benign, np.maximum(benign // 9, 1) if rule.needs_adversarial else None)


def judge(rule, costs):
    dtype = tf.int64 if isinstance(rule, CostRule) else tf.float32
    flagged, score, *_ = rule(tf.constant(np.asarray(costs), dtype))
    return flagged.numpy(), score.numpy()


@pytest.mark.parametrize("attacks", [1, 2, 4])
def test_zscore_verdicts_are_the_detectors(attacks):
    rng = np.random.default_rng(attacks)
    learned, fresh = benign_costs(rng, 150, attacks), benign_costs(rng, 500, attacks)
    rule = prepared(ZScore(), [200] * attacks, 0.1)
    rule.learn(learned, None)
    detector = ZScoreDetector(false_positive_rate=0.1).fit(learned)
    flagged, score = judge(rule, fresh)
    np.testing.assert_array_equal(flagged, detector.predict(fresh) == -1)
    np.testing.assert_allclose(score, -detector.score_samples(fresh), rtol=1e-6)


def run_lazily(rule, full, order):
    """Stop at budgets, and start no attack that cannot change a verdict."""
    costs = np.zeros_like(full)
    for attack in order:
        going = rule.undecided(tf.constant(costs)).numpy()
        seen = np.minimum(full[:, attack], rule.budgets.numpy()[attack])
        costs[:, attack] = np.where(going, seen, 0)
    return costs


@st.composite
def ensembles(draw):
    """A rule for n attacks with k votes, and the costs of benign and other inputs."""
    attacks, seed = draw(st.integers(1, 4)), draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    largest = rng.integers(20, 200, attacks)
    rule = ZScore(k=draw(st.integers(1, attacks)))
    prepared(rule, largest.tolist(), draw(st.floats(0.03, 0.6)))
    benign = np.minimum(benign_costs(rng, 100, attacks), largest)
    passes = benign * rng.integers(1, 20, attacks) + rng.integers(0, 300, attacks)
    rule.learn(benign, None, passes)
    everything = np.concatenate([benign, rng.integers(1, largest + 1, size=(200, attacks))])
    return rule, everything, passes, rng


@settings(max_examples=50, deadline=None)
@given(ensemble=ensembles())
@pytest.mark.slow
def test_a_settled_verdict_is_the_full_one(ensemble):
    """For any order of the attacks, and so for the one that is learned."""
    rule, full, _, rng = ensemble
    full_flagged, full_score = judge(rule, full)
    for order in (rule.order.numpy(), rng.permutation(full.shape[1])):
        costs = run_lazily(rule, full, order)
        flagged, score = judge(rule, costs)
        np.testing.assert_array_equal(flagged, full_flagged)
        assert not rule.undecided(tf.constant(costs)).numpy().any()
        assert (score >= full_score)[~flagged].all()  # bounds, on the side of the rule's doubt
        assert (score <= full_score)[flagged].all()


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(ensemble=ensembles())
def test_no_other_order_takes_fewer_passes(ensemble):
    rule, full, passes, _ = ensemble
    benign = full[: len(passes)]
    spent = passes * np.minimum(benign, rule.budgets.numpy()) // benign

    def price(order):
        return spent[run_lazily(rule, benign, order) > 0].sum()

    prices = [price(order) for order in itertools.permutations(range(benign.shape[1]))]
    assert price(rule.order.numpy()) == min(prices)


def test_attacks_of_equal_price_keep_their_order():
    rule = prepared(ZScore(), [500] * 4)
    rule.learn(np.repeat(np.arange(30, 130)[:, None], 4, axis=1))
    assert rule.order.numpy().tolist() == [0, 1, 2, 3]


def test_budget_is_the_smallest_benign_cost():
    rule = prepared(ZScore(), [500])
    rule.learn(np.arange(30, 130)[:, None])
    budget = int(rule.budgets.numpy()[0])
    flagged, _ = judge(rule, [[budget - 1], [budget]])
    assert flagged.tolist() == [True, False]


def test_too_few_inputs_are_refused():
    with pytest.raises(ValueError, match="needs at least 19 benign inputs. Received: 18"):
        prepared(ZScore(), [500]).learn(np.arange(1, 19)[:, None])


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(attacks=st.integers(1, 3), rows=st.integers(3, 150), seed=st.integers(0, 2**16))
def test_neighbours_are_scikit_learns_without_ties(attacks, rows, seed):
    rng = np.random.default_rng(seed)
    references = rng.integers(1, 500, size=(2 * rows, attacks))
    labels = np.arange(2 * rows) >= rows
    k = min(100, 2 * rows)
    rule = prepared(KNN(), [500] * attacks)
    rule.learn(references[:rows], references[rows:])
    queries = rng.integers(1, 500, size=(100, attacks))
    distances = np.sort(((queries[:, None] - references) ** 2).sum(-1), axis=1)
    tied = (distances[:, k - 1] == distances[:, k]) if k < 2 * rows else np.zeros(100, bool)
    flagged, share = judge(rule, queries)
    knn = KNeighborsClassifier(k, algorithm="brute").fit(references, labels)
    expected = knn.predict_proba(queries)[:, 1]
    np.testing.assert_allclose(share[~tied], expected[~tied], atol=1e-6)
    np.testing.assert_array_equal(flagged[~tied], (expected > 0.5)[~tied])


def test_ties_at_the_last_place_share_it():
    """100 places: 60 benign nearer, 80 at the last distance, half of those adversarial."""
    benign = np.repeat([10, 20], [60, 40])[:, None]
    adversarial = np.repeat([20, 400], [40, 60])[:, None]
    rule = prepared(KNN(), [500])
    rule.learn(benign, adversarial)
    flagged, share = judge(rule, [[9]])
    assert share[0] == pytest.approx(40 * 0.5 / 100)
    assert not flagged[0]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_votes_do_not_depend_on_the_order_of_rows(seed):
    rng = np.random.default_rng(seed)
    benign, adversarial = rng.integers(1, 12, size=(2, 150, 1))
    queries = np.arange(1, 15)[:, None]
    rule = prepared(KNN(), [15])
    rule.learn(benign, adversarial)
    first = judge(rule, queries)
    rule.learn(rng.permutation(benign), rng.permutation(adversarial))
    np.testing.assert_array_equal(first, judge(rule, queries))


def test_an_even_vote_is_benign():
    rule = prepared(KNN(), [500])
    rule.learn(np.full((50, 1), 10), np.full((50, 1), 12))
    assert judge(rule, [[11], [500]])[0].tolist() == [False, False]


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_one_attack_stops_where_no_vote_changes(seed):
    rng = np.random.default_rng(seed)
    benign = benign_costs(rng, 120, 1)
    adversarial = np.maximum(benign_costs(rng, 120, 1) // 3, 1)
    rule = prepared(KNN(), [200])
    rule.learn(benign, adversarial)
    every_cost = np.arange(1, 201)[:, None]
    flagged, _ = judge(rule, every_cost)
    stopped, _ = judge(rule, np.minimum(every_cost, rule.budgets.numpy()))
    np.testing.assert_array_equal(stopped, flagged)


def test_keeps_only_so_many_references():
    with pytest.raises(ValueError, match="at most 10000 fingerprints.*Received: 10001"):
        prepared(KNN(), [5]).learn(np.ones((10_000, 1)), np.ones((1, 1)))


def test_learns_again_from_fewer_or_more():
    rule = prepared(KNN(), [500])
    for rows in (300, 150, 400):
        rule.learn(np.full((rows, 1), rows), np.full((rows, 1), 10))
        assert judge(rule, [[rows - 9], [rows // 4]])[0].tolist() == [False, True]


@pytest.mark.parametrize("word", rules.RULES)
class TestContract:
    """The requirements for every rule in the registry."""

    @pytest.fixture(params=[1, 3])
    def learned(self, request, word):
        rule, rng = prepared(rules.get(word), [200] * request.param), np.random.default_rng(0)
        benign = benign_costs(rng, 60, request.param)
        learn(rule, benign)
        return rule, benign

    def test_is_a_layer_whose_weights_hold_what_it_learned(self, learned, word):
        rule, benign = learned
        again = prepared(rule.fresh(), [200] * benign.shape[1])
        again.set_weights(rule.get_weights())
        for left, right in zip(judge(again, benign), judge(rule, benign), strict=True):
            np.testing.assert_array_equal(left, right)
        assert not rule.trainable_weights
        serialized = keras.saving.serialize_keras_object(rule)
        assert keras.saving.deserialize_keras_object(serialized).get_config() == rule.get_config()

    def test_cheap_inputs_are_more_adversarial(self, learned, word):
        rule, benign = learned
        attacks = benign.shape[1]
        flagged, score = judge(rule, [[1] * attacks, [200] * attacks])
        assert flagged[0] >= flagged[1]
        assert score[0] >= score[1]
        assert score.dtype == "float32"
        assert judge(rule, benign)[0].mean() < 0.5


@pytest.mark.parametrize("attacks", [1, 3])
@pytest.mark.parametrize(
    "word", [w for w, kind in rules.RULES.items() if issubclass(kind, CostRule)]
)
def test_attacks_stop_where_nothing_more_is_to_be_learned(word, attacks):
    rule = prepared(rules.get(word), [200] * attacks)
    benign = benign_costs(np.random.default_rng(0), 60, attacks)
    learn(rule, benign)
    budgets, order = rule.budgets.numpy(), rule.order.numpy()
    assert ((budgets >= 1) & (budgets <= rule.max_iterations)).all()
    assert sorted(order) == list(range(attacks))
    stopped = run_lazily(rule, benign, order)
    assert not rule.undecided(tf.constant(stopped)).numpy().any()
    np.testing.assert_array_equal(judge(rule, stopped)[0], judge(rule, benign)[0])


def test_are_found_by_name():
    assert rules.RULES.items() >= {"fisher": Fisher, "zscore": ZScore, "knn": KNN}.items()
    for word, kind in rules.RULES.items():
        rule = rules.get(word)
        assert (type(rule), rule.name, rule.word) == (kind, word, word)


@pytest.mark.parametrize("rule", ["lof", "", [], None, ZScore], ids=str)
def test_nothing_else_is_a_rule(rule):
    with pytest.raises(ValueError, match="`rule` must be .*, or a Rule. Received"):
        rules.get(rule)


@pytest.mark.parametrize("rule", [ZScore(), ZScore(-1.5, k=2), KNN(), KNN(7), Fisher()], ids=repr)
def test_parameters_are_saved(rule):
    config = keras.saving.serialize_keras_object(rule)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(rule)
    assert again.get_config() == rule.get_config()


def test_a_given_threshold_is_taken():
    rule = prepared(ZScore(h=-1.0), [500])
    with pytest.warns(UserWarning, match="fewer than 20 benign inputs"):
        rule.learn(np.arange(191, 210)[:, None])  # too few to choose one
    flagged, score = judge(rule, [[194], [195]])
    assert flagged.tolist() == [True, False]
    assert -score[0] < -1 < -score[1]


def test_few_neighbours_may_vote():
    rule = prepared(KNN(k=1), [500])
    rule.learn(np.array([[100], [101]]), np.array([[5]]))
    assert judge(rule, [[5], [60]])[0].tolist() == [True, False]
    assert rule.budgets.numpy().tolist() == [53]


@pytest.mark.parametrize("k", [0, -1, 1.5, "a"])
def test_refuses_other_numbers_of_neighbours(k):
    with pytest.raises(ValueError, match=f"`k` must be a whole number.* Received: {k}"):
        KNN(k=k)


@pytest.mark.parametrize("rate", [0, 1, np.nan, "a"])
def test_refuses_other_rates(rate):
    with pytest.raises(ValueError, match="between 0 and 1. Received: "):
        prepared(ZScore(), [500], rate)


@pytest.mark.parametrize("word", ["zscore", "knn"])
class TestRulesOfCosts:
    def test_judge_no_other_statistics(self, word):
        with pytest.raises(ValueError, match='judges the costs of attacks only; use `rule="fisher'):
            rules.get(word).prepare([Column("low", 500), Column("high")], 0.05)

    def test_keep_the_rate_that_they_learned_for(self, word):
        rule = prepared(rules.get(word), [500])
        with pytest.raises(ValueError, match=f'"{word}" learns for one .* Received: 0.1'):
            rule.promise(0.1)


def test_weights_are_where_version_0_1_had_them():
    """Files of 0.1 are read by these positions."""
    names = {
        rule: [w.name for w in prepared(rules.get(rule), [9, 9]).weights]
        for rule in ("zscore", "knn")
    }
    shared = ["budgets", "order", "benign_costs"]
    assert names["zscore"] == [*shared, "z_scores", "h"]
    assert names["knn"] == [*shared, "references", "adversarial", "count"]
