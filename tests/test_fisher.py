"""`Fisher`: p-values that hold whatever the statistics are."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import a2d_keras as a2d
from a2d_keras.detection.rules import Column, Fisher
from a2d_keras.statistics.base import TAILS

SIZES = (12, 32, 94, 342)  # of a first half, so that the ranks are those of its own values
MAX_SURPRISE = 500


def learned(fitting, calibrating=None, tails=("low",), rate=0.05):
    rule = Fisher()
    rule.prepare([Column(tail) for tail in tails], rate)
    rule.learn(rows(fitting), rows(fitting if calibrating is None else calibrating))
    return rule


def rows(values):
    values = np.asarray(values, "float32")
    return values[:, None] if values.ndim == 1 else values


def judge(rule, values):
    return [each.numpy() for each in rule(tf.constant(rows(values)))]


def p_values(rule, values):
    return rule.p_values(tf.constant(rows(values))).numpy()


class TestPromise:
    """On average over calibrations, at most a share of α of benign inputs is flagged."""

    ALPHAS = (0.02, 0.05, 0.1, 0.25, 0.5)
    HALF, FRESH = 60, 200

    def draw(self, kind, rng, count):
        noise = rng.normal(size=(count, 2))
        noise[:, 1] += noise[:, 0]  # statistics depend on each other
        return {
            "continuous": noise,
            "ties": np.round(noise),
            "constant": np.ones((count, 2)),
            "mixed": np.stack([np.round(2 * noise[:, 0]), noise[:, 1]], axis=1),
        }[kind].astype("float32")

    @pytest.fixture(scope="class")
    def rule(self):
        rule = Fisher()
        rule.prepare([Column("low"), Column("both")], 0.1)
        return rule

    @pytest.mark.parametrize(
        ("kind", "calibrations"),
        [
            ("mixed", 200),
            pytest.param("mixed", 1000, marks=pytest.mark.slow),
            ("constant", 20),
            pytest.param("continuous", 3000, marks=pytest.mark.slow),
            pytest.param("ties", 3000, marks=pytest.mark.slow),
        ],
    )
    def test_is_kept(self, rule, kind, calibrations):
        rng = np.random.default_rng(0)
        judge = tf.function(rule, autograph=False)
        found = []
        for _ in range(calibrations):
            rule.learn(*(self.draw(kind, rng, self.HALF) for _ in range(2)))
            found.append(judge(tf.constant(self.draw(kind, rng, self.FRESH)))[2].numpy())
        p = np.stack(found)
        for alpha in self.ALPHAS:
            rates = (p <= np.float32(alpha)).mean(axis=1)
            error = 3 * rates.std() / np.sqrt(len(rates))
            assert rates.mean() <= alpha + error, alpha
            if kind in ("continuous", "mixed"):  # no rate is lost but that of a whole rank
                assert rates.mean() >= alpha - 1 / (self.HALF + 1) - error, alpha


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    size=st.integers(20, 120),
    rate=st.floats(0.05, 0.9),
    ties=st.booleans(),
)
def test_the_p_value_is_the_rank_among_calibration_scores(seed, size, rate, ties):
    rng = np.random.default_rng(seed)
    fitting, calibrating, fresh = rng.normal(size=(3, size, 2))
    if ties:
        fitting, calibrating, fresh = np.round([fitting, calibrating, fresh])
    rule = learned(fitting, calibrating, ("low", "both"), rate)
    assert rule.count == size
    flagged, score, p = judge(rule, fresh)
    of_calibration = judge(rule, calibrating)[1]
    least = score * np.float32(1 - 1e-5) - np.float32(0.0015)  # equal but for rounding
    reached = (of_calibration[None] >= least[:, None]).sum(axis=1)
    np.testing.assert_allclose(p, (1 + reached) / (size + 1), rtol=1e-6)
    np.testing.assert_array_equal(flagged, 1 + reached <= np.floor(rate * (size + 1) + 1e-9))
    each = p_values(rule, fresh).astype("float64")
    near = (each > 0).all(axis=1)  # in float32, the others underflow
    expected = -np.log(each[near]).sum(axis=1)
    np.testing.assert_allclose(score[near], expected, rtol=1e-4, atol=6e-4)


def test_a_rounding_breaks_no_tie(monkeypatch):
    """Else inputs as benign as half of the others might get the smallest p-value."""
    values = np.stack([np.arange(40) % 2, np.arange(40) % 2], axis=1)
    rule = learned(values, tails=["high", "high"])
    high = judge(rule, values)[1].max()
    nearly = np.nextafter(np.float32([high, high]), np.float32([0, 9]))
    monkeypatch.setattr(rule, "_score", lambda _: tf.constant(nearly))
    np.testing.assert_allclose(judge(rule, values[:2])[2], 21 / 41, rtol=1e-6)


def test_the_threshold_is_the_largest_score_that_is_not_flagged():
    rule = Fisher()
    rule.prepare([Column("low")], 0.2)
    assert rule.thresholds == [np.inf]
    rule = learned(np.arange(40), rate=0.2)
    flagged, score, _ = judge(rule, np.arange(40))
    assert rule.thresholds.dtype == "float32"
    assert rule.thresholds == [score[~flagged].max()]


def test_a_rate_is_met_exactly():
    """In floats, 0.29 * 100 < 29."""
    rule = learned(np.arange(99), rate=0.29)
    flagged, _, p = judge(rule, np.arange(99))
    assert flagged.sum() == 28  # 1 + 28 of 100
    np.testing.assert_array_equal(flagged, p <= np.float32(0.29))


def plain_p(fitting, values, tail):
    """The same p-values in NumPy: interpolated ranks, continued exponentially."""
    ordered, least = np.sort(fitting), 1 / (len(fitting) + 1)
    share = np.interp(values, ordered, np.linspace(0, 1, len(ordered)))
    low_tenth, high_tenth = np.quantile(ordered, [0.1, 0.9])
    fall = np.maximum(low_tenth - ordered, 0).mean() / 0.1
    rise = np.maximum(ordered - high_tenth, 0).mean() / 0.1
    low = np.maximum(share, least) * np.exp(-np.maximum(ordered[0] - values, 0) / fall)
    high = np.maximum(1 - share, least) * np.exp(-np.maximum(values - ordered[-1], 0) / rise)
    return {"low": low, "high": high, "both": np.minimum(1, 2 * np.minimum(low, high))}[tail]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tail", TAILS)
def test_tails(tail, size):
    rng = np.random.default_rng(size)
    fitting = rng.normal(3, 2, size)
    values = np.concatenate([fitting, rng.normal(3, 4, 200)])
    found = p_values(learned(fitting, tails=[tail], rate=0.5), values)[:, 0]
    np.testing.assert_allclose(found, plain_p(fitting, values, tail), rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("tail", TAILS)
def test_ties_count_as_often_as_they_are(tail):
    fitting = np.repeat([0, 1, 2, 3], [100, 50, 200, 50])
    low, high = np.array([0.25, 0.375, 0.875, 1]), np.array([1, 0.75, 0.625, 0.125])
    expected = {"low": low, "high": high, "both": np.minimum(1, 2 * np.minimum(low, high))}
    found = p_values(learned(fitting, tails=[tail]), np.arange(4))[:, 0]
    np.testing.assert_allclose(found, expected[tail], atol=0.007)  # 1024 points, 400 values


@pytest.mark.parametrize("value", [0, 5, -3e-20, 7e20])
@pytest.mark.parametrize("tail", TAILS)
def test_a_constant_statistic_says_nothing_until_it_differs(tail, value):
    rule = learned(np.full(40, value), tails=[tail])
    assert p_values(rule, [value])[0, 0] == 1
    away = {"low": [-1e30], "high": [1e30], "both": [-1e30, 1e30]}[tail]
    assert (p_values(rule, away) < 1 / 41).all()


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.sampled_from((1e-6, 1, 1e6)), ties=st.booleans())
def test_tails_go_on_without_a_jump(seed, scale, ties):
    """Beyond the most extreme benign value too, where ranks would all tie."""
    fitting = np.random.default_rng(seed).normal(size=94)
    fitting = (scale * (np.round(fitting) if ties else fitting)).astype("float32")
    rule = learned(np.stack([fitting, fitting], axis=1), tails=["low", "high"])
    least, most, spread = fitting.min(), fitting.max(), np.ptp(fitting)
    values = np.linspace(least - spread, most + spread, 400, dtype="float32")
    low, high = p_values(rule, np.stack([values, values], axis=1)).T
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) <= 0).all()
    if not ties:
        assert (np.diff(low[values < least]) > 0).all()
        assert (np.diff(high[values > most]) < 0).all()
        ends = p_values(rule, [[least, most]])[0]
        just_beyond = np.nextafter([least, most], [-np.inf, np.inf], dtype="float32")
        np.testing.assert_allclose(ends, 1 / 95, rtol=1e-5)
        np.testing.assert_allclose(p_values(rule, [just_beyond])[0], ends, rtol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tail", TAILS)
def test_what_is_not_finite_is_flagged_at_any_rate(tail, value):
    values = np.random.default_rng(0).normal(size=(40, 2))
    rule = learned(values, tails=["low", tail], rate=1 / 41)
    flagged, score, p = judge(rule, [[5, value], [5, 0]])  # the other statistic is as benign
    assert flagged[0]
    assert np.isfinite(score).all()
    assert score[0] >= MAX_SURPRISE
    assert p[0] == np.float32(1 / 41)
    assert not flagged[1]


def test_the_second_half_has_no_part_in_the_ranks():
    rng = np.random.default_rng(0)
    fitting, calibrating, fresh = rng.normal(size=(3, 60, 1))
    before, after = (learned(fitting, each) for each in (calibrating, 100 + 9 * calibrating))
    np.testing.assert_array_equal(p_values(before, fresh), p_values(after, fresh))
    assert (judge(before, fresh)[2] != judge(after, fresh)[2]).any()


def test_too_few_are_refused():
    values = np.arange(18)
    with pytest.raises(ValueError, match="0.05 needs at least 38 benign.*Received: 18 to calibr"):
        learned(values)
    rule = learned(np.arange(40))
    with pytest.raises(ValueError, match="0.01 needs at least 198 benign.*Received: 40 to calib"):
        rule.promise(0.01)
    assert rule.false_positive_rate == 0.05
    for rate in (0, 1, np.nan, "a"):
        with pytest.raises(ValueError, match="between 0 and 1. Received: "):
            rule.promise(rate)


def test_a_promise_before_anything_is_learned_is_kept():
    rule = Fisher()
    rule.prepare([Column()], 0.05)
    rule.promise(0.5)
    rule.learn(rows(np.arange(40)), rows(np.arange(40)))
    assert judge(rule, np.arange(40))[0].sum() == 19


@keras.saving.register_keras_serializable(package="tests")
class First(a2d.Statistic):
    """The first value of an input; notes what it is fitted on."""

    seen = None

    def fit(self, classifier, benign, false_positive_rate, slots):
        First.seen = np.asarray(benign)
        return {}

    def measure(self, view, state):
        return view.x[:, 0]


class TestGuard:
    @pytest.fixture(scope="class")
    def x(self):
        return np.random.default_rng(0).uniform(size=(401, 4)).astype("float32")

    @pytest.fixture(scope="class")
    def classifier(self):
        keras.utils.set_random_seed(0)
        return a2d.Classifier(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))

    def adapted(self, classifier, x, **options):
        guarded = a2d.guard(classifier, statistics=[First(), a2d.Margin()], **options)
        guarded.adapt(x, verbose=0)
        return guarded

    @pytest.fixture(scope="class")
    def guarded(self, classifier, x):
        return self.adapted(classifier, x)

    @pytest.mark.parametrize(
        "size", [None, 7, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 200))]
    )
    def test_every_other_input_fits_and_the_others_calibrate(self, classifier, x, size):
        given = x if size is None else tf.data.Dataset.from_tensor_slices(x).batch(size)
        rule = self.adapted(classifier, given).detector.rule
        np.testing.assert_array_equal(First.seen, x[::2])
        assert rule.count == 200
        margins = a2d.statistics.view.margin(logits := classifier.logits(x), tf.argmax(logits, -1))
        values = np.stack([x[:, 0], margins], axis=1)
        expected = learned(values[::2], values[1::2], ["low", "low"])
        for left, right in zip(rule.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)

    @pytest.mark.slow
    def test_another_rate_needs_no_adapt(self, classifier, guarded, x, tmp_path):
        fresh = self.adapted(classifier, x, false_positive_rate=0.01)
        moved = self.adapted(classifier, x)
        before = moved.predict(x, verbose=0)
        moved.detector.promise(0.01)
        out, expected = (each.predict(x, verbose=0) for each in (moved, fresh))
        for name in expected:
            np.testing.assert_array_equal(out[name], expected[name])
        assert out["is_adversarial"].sum() < before["is_adversarial"].sum()
        moved.save(tmp_path / "guarded.keras")
        loaded = keras.models.load_model(tmp_path / "guarded.keras")
        assert loaded.detector.false_positive_rate == 0.01
        np.testing.assert_array_equal(
            loaded.predict(x, verbose=0)["is_adversarial"], expected["is_adversarial"]
        )

    @pytest.mark.parametrize("form", ["array", "dataset"])
    def test_too_few_are_refused_before_anything_is_measured(self, classifier, x, form):
        guarded = a2d.guard(classifier, statistics=[First()])
        few = x[:37] if form == "array" else tf.data.Dataset.from_tensor_slices(x[:37]).batch(9)
        First.seen = None
        with pytest.raises(ValueError, match="at least 38 benign inputs.* Received: 18 to calibr"):
            guarded.adapt(few, verbose=0)
        assert First.seen is None
        assert not guarded.detector.is_adapted
        guarded.adapt(x[:38], verbose=0)

    def test_the_verdict_is_the_rules_on_the_statistics(self, guarded, x):
        out = guarded.predict(x, verbose=0)
        rule = guarded.detector.rule
        flagged, score, p = judge(rule, out["statistics"])
        np.testing.assert_array_equal(out["is_adversarial"], flagged)
        np.testing.assert_array_equal(out["p_value"], p)
        np.testing.assert_allclose(out["score"], score, rtol=1e-6)
