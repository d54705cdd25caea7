"""The red team: what an attacker faces, what each attack does, and what is reported."""

import html
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import auc

import a2d_keras as a2d
from a2d_keras import statistics
from a2d_keras.attacks.engine.margins import margin
from a2d_keras.attacks.engine.shapes import flat
from a2d_keras.redteam import (
    ADVERSARIES,
    JPEG,
    PGD,
    DecisionBased,
    EightBits,
    Interpolation,
    KappaSweep,
    LogitMatching,
    Noise,
    OrthogonalPGD,
    SelectivePGD,
    evaluation,
    report,
)
from a2d_keras.redteam import checks as checking
from a2d_keras.redteam.adversary import Case
from a2d_keras.redteam.checkpoints import Checkpoints
from a2d_keras.redteam.checks import check
from a2d_keras.redteam.defence import STRICT
from a2d_keras.redteam.guard_defence import GuardDefence
from a2d_keras.redteam.pgd import likely_targets
from a2d_keras.redteam.standard import STANDARD, VERSION, choose
from a2d_keras.statistics.view import View
from tests.tiny import Counter

LONG = pytest.mark.slow
EPS = 0.3
COUNT = 16


@pytest.fixture(scope="module", autouse=True)
def _short_checks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checking, "_INPUTS", 8)
        patch.setattr(checking, "_STEPS", 10)
        yield


@pytest.fixture(scope="module")
def right(digits, model):
    """Correctly classified test digits that the guard has not seen, and their classes."""
    x, y = digits.x_test[:60], digits.y_test[:60].astype("int64")
    right = model.predict(x, verbose=0).argmax(-1) == y
    return x[right][:COUNT], y[right][:COUNT]


@pytest.fixture(scope="module")
def case(guarded, right):
    return Case(GuardDefence(guarded, right[0]), *right, right[0])


def got_through(case, crafted):
    labels, flagged, _ = crafted.verdicts
    return (labels != case.y) & ~flagged


def look(defence, x):
    return tf.function(defence.unit.look, autograph=False)(tf.constant(x))


class TestDefence:
    def test_judges_as_the_guard_predicts(self, guarded, case):
        out = guarded.predict(case.x, verbose=0)
        labels, flagged, score = case.defence.judge(case.x)
        np.testing.assert_array_equal(labels, out["predictions"].argmax(-1))
        np.testing.assert_array_equal(flagged, out["is_adversarial"])
        np.testing.assert_array_equal(score, out["score"])

    def test_flags_at_its_own_rate_what_it_flags(self, case, adversarial):
        x = np.concatenate([case.x, adversarial])
        _, flagged, score = case.defence.judge(x)
        assert 0 < flagged.sum() < len(x)
        np.testing.assert_array_equal(case.defence.flags(score, 0.05), flagged)
        assert case.defence.flags(score, STRICT).sum() > flagged.sum()

    @pytest.mark.parametrize("statistic", ["low", "high", "both"])
    def test_loss_is_not_zero_wherever_an_input_is_flagged(self, statistic, guard_digits):
        chosen = [a2d.Margin(tail=statistic), a2d.FeatureDistance(tail=statistic)]
        guarded = guard_digits(statistics=chosen)
        rng = np.random.default_rng(0)
        x = rng.uniform(size=(300, 8, 8, 1)) ** rng.uniform(0.2, 9, size=(300, 1, 1, 1))
        x = x.astype("float32")
        defence = GuardDefence(guarded, x[:10])
        flagged, found = defence.judge(x).flagged, look(defence, x)
        assert flagged.any()
        assert (found.loss.numpy()[flagged] > 0).all()
        np.testing.assert_array_equal(found.accepted, ~flagged)

    @pytest.mark.slow
    def test_accepts_what_lies_in_all_intervals(self, guarded, held_out):
        defence = GuardDefence(guarded, held_out[:10])
        loss = look(defence, held_out).loss.numpy()
        assert (loss == 0).any()
        assert not defence.judge(held_out).flagged[loss == 0].any()

    def test_costs_have_a_surrogate(self, guard_digits, right, adversarial):
        quick = a2d.BIM(eps_iter=0.004, max_iterations=100)
        defence = GuardDefence(guard_digits(attacks=[quick], count=80), right[0])
        flagged = defence.judge(adversarial).flagged
        assert flagged.mean() > 0.5
        found = look(defence, adversarial)
        assert (found.loss.numpy()[flagged] > 0).mean() > 0.95
        assert np.isfinite(defence.benign_scores).all()
        benign = defence.judge(right[0])
        np.testing.assert_array_equal(benign.score, defence.benign_scores)
        assert (benign.score[benign.flagged].min(initial=np.inf) > np.median(benign.score)).all()

    def test_a_cost_among_statistics_has_one_too(self, guard_digits, right):
        chosen = [
            a2d.AttackCost(a2d.BIM(eps_iter=0.01, max_iterations=30), exact=True),
            a2d.Margin(),
        ]
        defence = GuardDefence(guard_digits(statistics=chosen), right[0])
        with tf.GradientTape() as tape:
            x = tf.constant(right[0])
            tape.watch(x)
            loss = tf.reduce_sum(look(defence, x).loss)
        assert np.isfinite(tape.gradient(loss, x)).all()

    @LONG
    def test_counts_the_passes_of_a_look(self, model, digits):
        counter = Counter()
        counted = keras.Sequential([keras.Input((8, 8, 1)), counter, *model.layers])
        guarded = a2d.guard(counted)
        guarded.adapt(digits.x_test[300:400], verbose=0)
        defence = GuardDefence(guarded, digits.x_test[:10])

        x = tf.constant(digits.x_test[:7])
        kept = guarded.detector.learned[1].state["kept"]
        compiled = tf.function(defence.look, autograph=False)
        forward, backward = counter.count(lambda: compiled(x))
        assert forward == 7 * (1 + np.count_nonzero(kept)) <= 7 * defence.passes.queries
        assert backward == 7

    def test_takes_any_scorer(self, classifier, held_out):
        x, mean = held_out, lambda x: x.mean(axis=(1, 2, 3))
        scored = a2d.ScoredDefence(classifier, mean, x)
        assert not scored.differentiable
        assert 0.03 < scored.judge(x).flagged.mean() <= 0.05
        assert scored.judge(np.ones_like(x)).flagged.all()
        graph = tf.function(scored.flagged, autograph=False)(tf.ones((3, 8, 8, 1)))
        assert graph.numpy().all()
        with pytest.raises(ValueError, match="give a `surrogate`. Received: "):
            scored.look(tf.constant(x))
        with pytest.raises(ValueError, match="at least 19 benign inputs. Received: 18"):
            a2d.ScoredDefence(classifier, mean, x[:18])

    @LONG
    def test_works_on_a_range_per_feature(self):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
        bounds = ([0.0, -5.0, 10.0], [1.0, 5.0, 30.0])
        rng = np.random.default_rng(0)
        x = rng.uniform(*bounds, size=(150, 3)).astype("float32")
        guarded = a2d.guard(a2d.Classifier(model, bounds=bounds))
        guarded.adapt(x[:120], verbose=0)
        y = model.predict(x[120:], verbose=0).argmax(-1)
        attacks = [SelectivePGD(max_iterations=20)]
        result = a2d.redteam(guarded, x[120:], y, attacks=attacks, eps=0.2, verbose=0)
        assert result.fools("selective_pgd").any()
        assert result.distances("selective_pgd")[1].max() <= 0.2 + 1e-5
        moved = result.crafted["selective_pgd"].x
        assert (moved >= bounds[0]).all()
        assert (moved <= bounds[1]).all()


def gradient_of(statistic, classifier, state):
    """Compile a function from inputs to the statistic and its gradient."""

    @tf.function(autograph=False)
    def measure(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = statistic.measure(View(classifier, x), state)
        return value, tape.gradient(value, x)

    return lambda x: measure(tf.constant(x))


DIFFERENTIABLE = [
    each() for each in vars(statistics).values() if isinstance(each, type) and each.differentiable
]


class TestGradients:
    @pytest.mark.parametrize("statistic", DIFFERENTIABLE, ids=repr)
    def test_a_step_along_it_moves_the_statistic(self, statistic, classifier, digits):
        benign = digits.x_test[300:400]
        state = statistic.fit(classifier, benign, 0.05, 128)
        state = {name: tf.constant(value) for name, value in state.items()}
        x = np.clip(digits.x_test[:20] + 0.03, 0, 1).astype("float32")
        measure = gradient_of(statistic, classifier, state)
        value, gradient = measure(x)
        size = np.abs(gradient).max(axis=(1, 2, 3))
        assert np.isfinite(gradient).all()
        assert (size > 0).mean() >= 0.9
        step = 0.02 * np.sign(gradient)
        up, _ = measure(np.clip(x + step, 0, 1))
        down, _ = measure(np.clip(x - step, 0, 1))
        assert (up > value).numpy().mean() >= 0.6
        assert (up > down).numpy().mean() >= 0.8

    def test_rounding_lets_it_pass(self, classifier, right):
        statistic = a2d.Consistency(views=("bits",))
        state = {"kept": tf.constant([1], tf.int64), "bits": tf.constant(2, tf.int64)}
        _, gradient = gradient_of(statistic, classifier, state)(right[0])
        own = gradient_of(a2d.Margin(), classifier, {})(right[0])[1]
        assert np.abs(gradient - own).max() > 0

    def test_random_views_are_averaged(self, guard_digits, right):
        guarded = guard_digits(statistics=[a2d.Consistency(views=("noise",))])
        defence = GuardDefence(guarded, right[0])
        assert defence.passes.queries == 1 + 4  # the draws share the pass over the input
        views = [View(defence.classifier, tf.constant(right[0]), seed=seed) for seed in (0, 1, 0)]
        statistic, state = (
            guarded.detector.learned[0].statistic,
            guarded.detector.learned[0].tensors(),
        )
        first, other, again = (statistic.measure(view, state).numpy() for view in views)
        np.testing.assert_array_equal(first, again)
        assert (first != other).all()


class TestDescents:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "kind",
        [PGD, *(pytest.param(k, marks=LONG) for k in (SelectivePGD, OrthogonalPGD, LogitMatching))],
    )
    def test_stays_within_its_distance_and_says_what_it_did(self, kind, case):
        attack = kind(eps=EPS, max_iterations=20)
        crafted = attack.craft(case)
        _, linf = case.defence.distances(case.x, crafted.x)
        assert linf.max() <= EPS + 1e-6
        assert crafted.x.min() >= 0
        assert crafted.x.max() <= 1
        honest = case.defence.judge(crafted.x)
        for kept, found in zip(crafted.verdicts, honest, strict=True):
            np.testing.assert_allclose(kept, found, rtol=1e-4, atol=2e-3)
        looks = attack.looks(case.defence)
        assert (crafted.queries % looks.queries == 0).all()
        assert crafted.queries.max() <= 2 * 21 * looks.queries
        assert crafted.queries.min() > 0

    def test_orthogonal_leaves_the_other_loss_as_it_is(self, case, adversarial):
        unit, x = case.defence.unit, tf.constant(adversarial)
        labels = case.defence.judge(adversarial).labels  # each target leads already
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            look = unit.look(x)
            lead = margin(look.logits, labels)
        of_loss, of_lead = (flat(tape.gradient(each, x)).numpy() for each in (look.loss, lead))
        aim = OrthogonalPGD(eps=EPS).aim(unit, x, labels)
        assert aim.fools.numpy().all()
        far = lead.numpy() > 0.05  # a target that leads by less is not yet left alone
        step = flat(aim.step).numpy()
        sizes = np.sqrt((step**2).mean(axis=1))
        whole = far & np.isclose(sizes, 1)  # of parallel gradients hardly a step remains
        assert whole.mean() > 0.5
        assert sizes.max() < 1.001
        step, of_loss, of_lead = (each[whole] for each in (step, of_loss, of_lead))
        assert ((step * of_loss).sum(axis=1) < 0).all()
        kept = (step * of_lead).sum(axis=1)
        lengths = np.linalg.norm(step, axis=1) * np.linalg.norm(of_lead, axis=1)
        assert np.abs(kept / lengths).max() < 1e-3

    @pytest.mark.slow
    def test_selective_beats_pgd_and_noise(self, case):
        rates = [
            got_through(case, attack.craft(case)).mean()
            for attack in (Noise(eps=EPS), PGD(eps=EPS), SelectivePGD(eps=EPS))
        ]
        assert rates[0] < rates[1] <= rates[2]
        assert rates[2] >= 0.6

    @LONG
    def test_orthogonal_fools_the_detector_as_well(self, case):
        assert got_through(case, OrthogonalPGD(eps=EPS).craft(case)).mean() >= 0.5

    @LONG
    def test_nothing_succeeds_at_a_tenth_of_the_smallest_distance(self, case):
        crafted = SelectivePGD(eps=EPS).craft(case)
        through = got_through(case, crafted)
        distances = case.defence.distances(case.x, crafted.x)[1]
        smallest = distances[through].min() / 10
        assert not got_through(case, SelectivePGD(eps=smallest).craft(case)).any()

    def test_targets_are_the_likeliest_other_classes(self, case):
        logits = case.defence.predict(case.x)
        first, second = likely_targets(case, 2)
        for row, y in enumerate(case.y):
            others = np.delete(
                np.argsort(-logits[row]), np.flatnonzero(np.argsort(-logits[row]) == y)
            )
            assert (first[row], second[row]) == tuple(others[:2])

    def test_other_starts_are_random_and_seeded(self, case):
        x = tf.constant(case.x)
        starts = [
            SelectivePGD(eps=0.1, seed=seed).start(case.defence, x).x.numpy()
            for seed in (0, 1, 1, 2)
        ]
        np.testing.assert_array_equal(starts[0], case.x)
        np.testing.assert_array_equal(starts[1], starts[2])
        assert np.abs(starts[1] - starts[3]).max() > 0.05
        assert np.abs(starts[1] - case.x).max() <= 0.1 + 1e-6

    @LONG
    def test_logit_matching_approaches_its_guides(self, case):
        attack, plain = LogitMatching(eps=1.0, targets=1), PGD(eps=1.0, targets=1)
        guided, far = (case.defence.predict(a.craft(case).x) for a in (attack, plain))
        sizes = np.abs(case.defence.predict(case.x)).max()
        assert np.abs(guided).max() < 1.5 * sizes
        assert np.abs(far).max() > np.abs(guided).max()


class TestOthers:
    @LONG
    def test_interpolation_is_no_worse_than_its_far_end(self, case):
        far = PGD(eps=EPS, max_iterations=200).craft(case)
        found = Interpolation(eps=EPS).craft(case)
        assert (found.verdicts.score <= far.verdicts.score + 2e-3).all()
        assert (found.verdicts.score < far.verdicts.score - 0.1).any()
        assert case.defence.distances(case.x, found.x)[1].max() <= EPS + 1e-6

    def test_decisions_come_nearer_and_are_never_flagged(self, case):
        short, long = (DecisionBased(eps=0.01, max_iterations=n).craft(case) for n in (10, 80))
        assert got_through(case, long).all()
        distances = [case.defence.distances(case.x, c.x)[1] for c in (short, long)]
        assert np.median(distances[1]) < 0.8 * np.median(distances[0])
        assert (long.gradient_evaluations == 0).all()

    @LONG
    def test_kappa_sweep_goes_beyond_the_boundary(self, case):
        sweep = KappaSweep(confidences=(0, 5), search_iterations=300)
        crafted = sweep.craft(case)
        fooled = crafted.verdicts.labels != case.y
        assert fooled.mean() > 0.9
        alone = KappaSweep(confidences=(0,), search_iterations=300).craft(case)
        assert crafted.verdicts.score.mean() < alone.verdicts.score.mean()

    def test_kappa_sweep_goes_on_while_an_input_resists(self, classifier, right, held_out):
        x, y = (each[:8] for each in right)
        defence = a2d.ScoredDefence(classifier, lambda x: x.mean(axis=(1, 2, 3)), held_out)
        sweep = KappaSweep(confidences=(0, 5), search_iterations=40)
        assert sweep.effort == 2 * 4 * 40
        first = sweep.attack(0)(classifier, x)
        labels, _, score = defence.judge(first.adversarial)
        resists = (labels == y) | defence.flags(score, STRICT)
        assert 0 < resists.sum() < len(x)
        crafted = sweep.craft(Case(defence, x, y, x))
        np.testing.assert_array_equal(crafted.queries > first.queries, resists)
        np.testing.assert_array_equal(crafted.x[~resists], first.adversarial[~resists])
        assert (crafted.verdicts.score <= score + 1e-6)[labels != y].all()

    @pytest.mark.slow
    def test_eight_bits_are_whole_levels_within_reach(self, case):
        best = PGD(eps=0.1, max_iterations=20).craft(case).x
        crafted = EightBits(eps=0.1).craft(case._replace(best=best))
        levels = crafted.x * 255
        np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
        assert case.defence.distances(case.x, crafted.x)[1].max() <= 0.1 + 1e-6
        assert np.abs(crafted.x - best).max() <= 1 / 255 + 1e-6

    def test_jpeg_changes_images_and_refuses_what_is_none(self, case):
        crafted = JPEG(quality=30).craft(case)
        change = np.abs(crafted.x - case.x)
        assert 0.01 < change.max() < 0.6
        assert crafted.x.shape == case.x.shape
        assert JPEG().suits(case)


class TestRedteam:
    ATTACKS = (Noise(draws=2), SelectivePGD(max_iterations=30), EightBits())

    @pytest.fixture(scope="class")
    def guarded(self, guard_digits):
        """A guard by two statistics, whose gradient is traced sooner than that of the default."""
        return guard_digits(statistics=[a2d.Margin(), a2d.FeatureDistance()])

    @pytest.fixture(scope="class")
    def result(self, guarded, digits):
        return a2d.redteam(
            guarded,
            digits.x_test[:20],
            digits.y_test[:20],
            attacks=self.ATTACKS,
            eps=EPS,
            verbose=0,
        )

    @pytest.mark.slow
    def test_success_is_misclassified_and_not_flagged_by_the_guard(self, guarded, result):
        for name in ("noise", "selective_pgd", "eight_bits"):
            out = guarded.predict(result.crafted[name].x, verbose=0)
            wrong = out["predictions"].argmax(-1) != result.y
            np.testing.assert_array_equal(result.fools(name), wrong)
            np.testing.assert_array_equal(result.succeeds(name), wrong & ~out["is_adversarial"])

    def test_rows(self, result):
        rows = {row["attack"]: row for row in result.rows()}
        assert list(rows) == ["noise", "selective_pgd", "eight_bits", "any of these"]
        for row in rows.values():
            assert row["fooled"] >= row["success"] >= row["SR@50"]
            assert row["success"] == row["SR@5"]
        assert rows["selective_pgd"]["success"] > rows["noise"]["success"]
        assert rows["any of these"]["success"] >= rows["selective_pgd"]["success"]
        assert 0 <= rows["selective_pgd"]["AUROC"] <= 1
        assert rows["selective_pgd"]["Linf"] <= EPS + 1e-6
        assert "selective_pgd" in str(result)

    def test_the_roc_curve_has_the_area_of_the_table(self, result):
        false, true = result.roc("selective_pgd")
        area = next(r["AUROC"] for r in result.rows() if r["attack"] == "selective_pgd")
        assert auc(false, true) == pytest.approx(area)

    def test_is_saved_as_one_page_and_json(self, result, tmp_path):
        pytest.importorskip("jinja2", reason="a2d-keras[redteam] is not installed")
        pytest.importorskip("matplotlib", reason="a2d-keras[redteam] is not installed")
        result.save(tmp_path)
        page = (tmp_path / "report.html").read_text()
        through = result.succeeds("selective_pgd").sum()
        any_of_these = np.any([result.succeeds(name) for name in result.crafted], axis=0).sum()
        assert f"It does not stop {any_of_these} of {len(result.y)} inputs" in page
        assert page.count("data:image/png;base64,") == 2
        assert "http" not in page
        assert all(each.name in html.unescape(page) for each in result.checks)
        kept = json.loads((tmp_path / "results.json").read_text())
        assert kept["rows"] == result.rows()
        inputs = kept["attacks"]["selective_pgd"]["inputs"]
        assert sum(inputs["got_through"]) == through

    @pytest.mark.slow
    def test_counts_only_what_the_classifier_gets_right(self, guarded, digits):
        y = digits.y_test[:12].copy()
        y[:5] = (y[:5] + 1) % 10
        result = a2d.redteam(guarded, digits.x_test[:12], y, attacks=["Noise"], verbose=0)
        assert result.about["misclassified inputs left out"] == 5
        assert len(result.y) == 7

    @pytest.mark.slow
    def test_continues_where_it_stopped(self, guarded, digits, tmp_path, monkeypatch):
        def run(**changes):
            options = {"attacks": self.ATTACKS[:2], "eps": EPS, "folder": tmp_path, "verbose": 0}
            return a2d.redteam(guarded, digits.x_test[:8], digits.y_test[:8], **(options | changes))

        first = run()
        crafts = []
        craft = Noise.craft
        monkeypatch.setattr(
            Noise, "craft", lambda self, case: crafts.append(1) or craft(self, case)
        )
        again = run()
        assert not crafts
        assert again.rows() == first.rows()
        assert again.checks == first.checks
        (tmp_path / "noise.npz").write_bytes(b"damaged")
        assert run().rows() == first.rows()
        assert len(crafts) == 1
        run(eps=0.1)
        assert len(crafts) > 1

    def test_says_how_long_the_rest_may_take(self, classifier, right, held_out, capsys):
        scored = a2d.ScoredDefence(classifier, lambda x: x.var(axis=(1, 2, 3)), held_out)
        run = evaluation._Run(Case(scored, *right, right[0]), EPS, Checkpoints(None), verbose=1)
        run.all([Noise(draws=2), EightBits()])
        first, second = capsys.readouterr().out.splitlines()
        assert re.fullmatch(
            r"redteam: noise: .* \(1 of 2 attacks, .* at most about \d+ s left\)", first
        )
        assert re.fullmatch(r"redteam: eight_bits: .* \(2 of 2 attacks, \d+ s\)", second)
        run._seconds, run._effort = 10.0, 100
        assert run._left([SelectivePGD(targets=2, max_iterations=600)]) == (
            ", at most about 2 min left"
        )

    def test_a_scorer_without_gradient_meets_the_attacks_that_need_none(
        self, classifier, right, held_out
    ):
        x, y = right
        scored = a2d.ScoredDefence(classifier, lambda x: x.var(axis=(1, 2, 3)), held_out)
        names = ["SelectivePGD", "LogitMatching", Interpolation(max_iterations=20)]
        result = a2d.redteam(scored, x, y, attacks=names, eps=EPS, verbose=0)
        assert result.about["attacks left out"] == ["selective_pgd"]
        assert result.succeeds("interpolation").any()

    @LONG
    def test_a_surrogate_makes_it_differentiable(self, classifier, right, held_out):
        x, y = right
        limit = float(np.quantile(held_out.mean(axis=(1, 2, 3)), 0.9))
        scored = a2d.ScoredDefence(
            classifier,
            lambda x: x.mean(axis=(1, 2, 3)),
            held_out,
            surrogate=lambda u: tf.maximum(tf.reduce_mean(u, axis=(1, 2, 3)) - limit, 0.0),
        )
        result = a2d.redteam(
            scored, x, y, attacks=[SelectivePGD(max_iterations=50)], eps=EPS, verbose=0
        )
        assert result.succeeds("selective_pgd").mean() > 0.8

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"attacks": "strong"}, '"standard", or hold adversaries'),
            ({"attacks": ["Nobody"]}, "Received: "),
            ({"attacks": [Noise(), Noise(draws=2)]}, "different names"),
            ({"eps": 0}, "`eps` must be a positive number"),
            ({"y": np.zeros(3)}, "`y` must hold the true class"),
            ({"y": np.full(12, 77)}, "none of them right"),
        ],
    )
    def test_refuses(self, guarded, digits, changes, message):
        options = {"x": digits.x_test[:12], "y": digits.y_test[:12], "attacks": ["Noise"]} | changes
        with pytest.raises(ValueError, match=message):
            a2d.redteam(guarded, options.pop("x"), options.pop("y"), **options)

    def test_refuses_a_model_without_guard(self, model, digits):
        with pytest.raises(ValueError, match="takes a guarded model, .* Received: "):
            a2d.redteam(model, digits.x_test[:3], digits.y_test[:3])


class TestChecks:
    @LONG
    def test_a_sound_attack_passes(self, case, monkeypatch):
        monkeypatch.setattr(checking, "_STEPS", 100)
        found = {each.name: each for each in check(case, EPS, smallest=0.05)}
        assert len(found) == 5
        assert all(each.passed for each in found.values()), found

    @LONG
    def test_an_attack_without_gradient_is_found_out(self, classifier, right, held_out):
        x, y = right
        hidden = a2d.ScoredDefence(
            classifier,
            lambda x: x.mean(axis=(1, 2, 3)),
            held_out,
            surrogate=lambda u: tf.stop_gradient(1.0 + tf.reduce_mean(u, axis=(1, 2, 3))),
        )
        found = check(Case(hidden, x[:4], y[:4], x[:4]), 0.1)
        assert not next(c for c in found if "gradient" in c.name).passed
        assert any(str(each).startswith("WEAK") for each in found)


class TestCheckpoints:
    def test_keep_what_has_the_same_origin_and_is_whole(self, tmp_path):
        kept = Checkpoints(tmp_path / "new")

        def get(value, *origin):
            return kept.get("part", list(origin), lambda: {"x": np.full(2, value)})["x"][0]

        assert get(1, np.ones(3), "a") == 1
        assert get(2, np.ones(3), "a") == 1
        assert get(3, np.ones(3), "b") == 3
        assert get(4, np.ones((3, 1)), "b") == 4
        path = tmp_path / "new" / "part.npz"
        path.write_bytes(path.read_bytes()[:-9])
        assert get(5, np.ones((3, 1)), "b") == 5
        assert get(6, np.ones((3, 1)), "b") == 5

    def test_without_a_folder_nothing_is_kept(self):
        kept = Checkpoints(None)
        assert [kept.get("part", [], lambda n=n: {"x": n})["x"] for n in (1, 2)] == [1, 2]


class TestReport:
    def test_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr(report, "_NEEDED", ("jinja2", "no_such_package"))
        with pytest.raises(
            ValueError, match=r"install a2d-keras\[redteam\]`. Received: no no_such"
        ):
            report.require_extras()


def test_the_standard_set_is_fixed():
    """Another set needs another `VERSION`, and new figures wherever this one's are quoted."""
    names = ("max_iterations", "targets", "restarts", "draws", "rounds", "search_iterations")
    found = {
        each.name: {name: getattr(each, name) for name in names if hasattr(each, name)}
        for each in choose("standard")
    }
    assert VERSION == "standard 1"
    assert found == {
        "noise": {"draws": 10},
        "pgd": {"max_iterations": 100, "targets": 2, "restarts": 1},
        "selective_pgd": {"max_iterations": 200, "targets": 2, "restarts": 1},
        "orthogonal_pgd": {"max_iterations": 200, "targets": 2, "restarts": 1},
        "logit_matching": {"max_iterations": 100, "targets": 2, "restarts": 1},
        "interpolation": {"max_iterations": 100, "rounds": 6},
        "decision_based": {"max_iterations": 250},
        "kappa_sweep": {"search_iterations": 400},
        "eight_bits": {},
        "jpeg": {},
    }
    assert {type(each) for each in STANDARD} == set(ADVERSARIES.values())
