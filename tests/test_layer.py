import threading
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

import a2d_keras as a2d
from models import zoo
from tests import tiny

pytestmark = pytest.mark.keras

EVERY = {"predictions", "is_adversarial", "score", "cost"}  # the outputs of every guard
OUTPUTS = {"statistics": EVERY | {"p_value", "statistics"}, "costs": EVERY | {"exact"}}
GUARDS = {"statistics": {}, "costs": {"rule": "zscore"}}
SEVERAL = (a2d.BIM(), a2d.BIM2(), a2d.BIM(eps_iter=0.002, max_iterations=200))
QUICK = (a2d.BIM(eps_iter=0.004, max_iterations=100), a2d.BIM2(eps_iter=0.001, max_iterations=150))


def adapted(model, benign, adversarial=None, **options):
    guarded = a2d.guard(model, **options)
    guarded.adapt(benign, adversarial, verbose=0)
    return guarded


def exactly(guarded):
    """A copy with the same weights that runs every attack to its end."""
    layer = guarded.detector
    statistics = [a2d.AttackCost(s.attack, exact=True) for s in layer.statistics]
    exact = a2d.guard(layer.classifier, statistics=statistics, rule=layer.rule)
    exact.set_weights(guarded.get_weights())
    return exact


def predict(guarded, x, **options):
    return guarded.predict(x, verbose=0, **options)


def assert_equal(left, right):
    assert set(left) == set(right)
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def assert_close(left, right, rows=slice(None)):
    """Equal verdicts, and numbers that differ by a rounding."""
    assert set(left) == set(right)
    for name in left:
        if left[name].dtype == np.float32:
            np.testing.assert_allclose(left[name][rows], right[name][rows], rtol=1e-3, atol=1e-5)
        else:
            np.testing.assert_array_equal(left[name][rows], right[name][rows], err_msg=name)


@pytest.fixture(scope="module")
def out(each_guarded, benign):
    return predict(each_guarded, benign)


@pytest.fixture(scope="module")
def crafted(digits, classifier):
    """Adversarial examples of the digits to test on."""
    return a2d.BIM(eps_iter=0.01, max_iterations=50)(classifier, digits.x_test[:300]).adversarial


def test_main_job(each_guarded, model, digits, crafted):
    benign = digits.x_test[:300]
    out, found = predict(each_guarded, benign), predict(each_guarded, crafted)
    assert out["is_adversarial"].shape == (300,)
    assert out["is_adversarial"].mean() <= 0.1
    assert roc_auc_score(np.arange(600) >= 300, [*out["score"], *found["score"]]) >= 0.9
    expected = model.predict(benign, batch_size=each_guarded.detector.batch_size, verbose=0)
    np.testing.assert_array_equal(out["predictions"], expected)  # bit for bit


@pytest.mark.slow
def test_costs_find_what_lies_just_across_a_boundary(guarded_by_costs, crafted):
    assert predict(guarded_by_costs, crafted)["is_adversarial"].mean() >= 0.95


def test_outputs_of_statistics(guarded, benign):
    out, count = predict(guarded, benign), len(guarded.detector.statistics)
    assert set(out) == OUTPUTS["statistics"]
    assert out["statistics"].shape == (len(benign), count)
    assert out["is_adversarial"].dtype == bool
    assert {out[name].dtype.name for name in ("score", "p_value", "statistics")} == {"float32"}
    classifier, statistics = guarded.detector.classifier, guarded.detector.statistics
    queries = [statistic.passes(classifier).queries for statistic in statistics]
    np.testing.assert_array_equal(out["cost"], np.tile(queries, (len(benign), 1)))
    assert out["cost"].sum(axis=1).max() + 1 == guarded.max_queries_per_input
    (threshold,) = guarded.detector.thresholds
    np.testing.assert_array_equal(out["is_adversarial"], out["score"] > threshold + 0.0015)
    np.testing.assert_array_equal(out["is_adversarial"], out["p_value"] <= 0.05)
    by_score = np.argsort(out["score"])
    assert (np.diff(out["p_value"][by_score]) <= 0).all()


@pytest.mark.slow
def test_outputs_of_costs(guarded_by_costs, benign):
    out = predict(guarded_by_costs, benign)
    assert set(out) == OUTPUTS["costs"]
    assert out["cost"].shape == (len(benign), 1)
    assert out["is_adversarial"].dtype == out["exact"].dtype == bool
    threshold = guarded_by_costs.detector.thresholds[0]
    np.testing.assert_array_equal(out["is_adversarial"], out["cost"][:, 0] < threshold)
    assert out["score"][out["is_adversarial"]].min(initial=9) > out["score"].min()


@pytest.mark.slow
@pytest.mark.parametrize(
    "attacks",
    [
        pytest.param([None], id="one"),
        pytest.param(SEVERAL[:2], id="two", marks=pytest.mark.slow),
        pytest.param(SEVERAL, id="three", marks=pytest.mark.slow),
    ],
)
def test_early_verdicts_are_those_of_a_full_run(guard_digits, benign, adversarial, attacks):
    x = np.concatenate([benign[:20], adversarial[:20]])
    statistics = [a2d.AttackCost(attack) for attack in attacks]
    early = guard_digits(statistics=statistics, count=80)
    quick, slow = predict(early, x), predict(exactly(early), x)
    np.testing.assert_array_equal(quick["is_adversarial"], slow["is_adversarial"])
    assert slow["exact"].all()
    assert not quick["exact"].all()
    assert quick["cost"].sum() < 0.7 * slow["cost"].sum()
    started = quick["cost"] > 0
    assert (quick["cost"] <= slow["cost"]).all()
    np.testing.assert_array_equal(started[:, 0], True)
    np.testing.assert_array_equal(quick["score"][quick["exact"]], slow["score"][quick["exact"]])
    if attacks == SEVERAL:
        assert not started.all()  # what two of three have settled, the third does not see
        costs = a2d.AttackCosts(early.detector.classifier, attacks=SEVERAL).transform(x)
        np.testing.assert_array_equal(slow["cost"], costs)


@pytest.mark.slow
class TestOrder:
    """The most expensive attacks are named first, and run last."""

    ATTACKS = (
        a2d.DBA(max_iterations=60, distance=0.05),
        a2d.BIM2(eps_iter=0.0004, max_iterations=200),
        a2d.BIM(eps_iter=0.002, max_iterations=120),
        a2d.JSMA(max_iterations=40),
    )

    @pytest.fixture(scope="class")
    def x(self, benign, adversarial):
        return np.concatenate([benign[:20], adversarial[:20]])

    @pytest.fixture(scope="class")
    def quick(self, guard_digits):
        return guard_digits(count=60, attacks=self.ATTACKS, false_positive_rate=0.1)

    @pytest.fixture(scope="class")
    def out(self, quick, x):
        return predict(quick, x)

    def test_the_cheapest_attack_runs_first(self, quick, out):
        order = quick.detector.rule.order.numpy()
        assert sorted(order) == [0, 1, 2, 3]
        assert order[-1] == 0
        shares = (out["cost"] > 0)[:, order].mean(axis=0)
        assert shares[0] == 1
        assert (np.diff(shares) <= 0).all()
        assert shares[-1] < 0.5

    def test_verdicts_and_columns_are_those_of_a_full_run(self, quick, out, x):
        costs = a2d.AttackCosts(quick.detector.classifier, attacks=self.ATTACKS).transform(x)
        flagged, _ = quick.detector.rule(tf.constant(costs))
        np.testing.assert_array_equal(out["is_adversarial"], flagged)
        seen = np.minimum(costs, quick.detector.thresholds)
        np.testing.assert_array_equal(out["cost"], np.where(out["cost"] > 0, seen, 0))

    @pytest.mark.slow
    def test_is_exported(self, quick, out, x, tmp_path):
        quick.export(tmp_path / "serving")
        exported = tf.saved_model.load(tmp_path / "serving")
        np.testing.assert_array_equal(exported.serve(tf.constant(x))["cost"], out["cost"])

    def test_each_attack_is_traced_once(self, quick, model):
        specs = tf.TensorSpec((None, 8, 8, 1), tf.float32), tf.TensorSpec((None,), tf.bool)
        traced = tf.function(quick.detector.judge, autograph=False).get_concrete_function(*specs)
        functions = traced.graph.as_graph_def().library.function
        convolutions = sum(node.op == "Conv2D" for f in functions for node in f.node_def)
        in_model = sum(isinstance(layer, keras.layers.Conv2D) for layer in model.layers)
        assert convolutions == len(self.ATTACKS) * in_model


@pytest.mark.slow
@pytest.mark.parametrize(
    "attacks",
    [[None], pytest.param(SEVERAL[:2], marks=pytest.mark.slow)],
    ids=["one", "two"],
)
def test_nearest_neighbours(guard_digits, benign, adversarial, attacks):
    statistics = [a2d.AttackCost(attack) for attack in attacks]
    guarded = guard_digits(count=60, statistics=statistics, rule=a2d.KNN(k=40))
    flagged = predict(guarded, np.concatenate([adversarial, benign]))["is_adversarial"]
    assert flagged[: len(adversarial)].mean() >= 0.95
    assert flagged[len(adversarial) :].mean() <= 0.2


def test_the_default_step_is_the_papers_where_benign_inputs_withstand_it(
    classifier, held_out, capsys
):
    guarded = a2d.guard(classifier, rule="zscore")
    guarded.adapt(held_out[:60])
    (attack,) = guarded.detector.attacks
    assert attack.eps_iter == 0.0006
    assert guarded.detector.thresholds[0] >= 20
    assert "steps settle a verdict of BIM(" in capsys.readouterr().out


@pytest.mark.slow
def test_what_was_learned_is_told(classifier, held_out, capsys):
    a2d.guard(classifier).adapt(held_out[:60])
    told = capsys.readouterr().out
    assert "30 benign inputs calibrate p-values" in told
    for statistic in a2d.guard(classifier).detector.statistics:
        assert repr(statistic) in told


def test_explicit_steps_that_are_too_large_warn(classifier, held_out):
    with pytest.warns(UserWarning, match="nearly nothing can be flagged.*thresholds") as caught:
        adapted(classifier, held_out[:60], attacks=[a2d.BIM(eps_iter=0.05)])
    told = [warning for warning in caught if warning.category is UserWarning]
    assert [warning.filename for warning in told] == [__file__]  # the caller's line


class TestData:
    @pytest.mark.slow
    @pytest.mark.parametrize("size", [1, 16, 40])
    def test_datasets_in_any_batches(self, each_guarded, benign, size):
        dataset = tf.data.Dataset.from_tensor_slices(benign).batch(size)
        assert_equal(predict(each_guarded, dataset), predict(each_guarded, benign, batch_size=size))

    def test_verdicts_do_not_depend_on_the_batch(self, each_guarded, benign, adversarial):
        x = np.concatenate([benign[:20], adversarial[:20]])
        first, *others = [predict(each_guarded, x, batch_size=size) for size in (1, 7, 32, None)]
        for other in others:
            assert_close(first, other)

    @pytest.mark.slow
    @pytest.mark.parametrize("options", [{}, {"attacks": QUICK}], ids=list(GUARDS))
    def test_adapts_on_a_dataset(self, classifier, held_out, options):
        some = held_out[:60]
        dataset = tf.data.Dataset.from_tensor_slices((some, np.zeros(len(some)))).batch(32)
        left, right = (adapted(classifier, each, **options) for each in (dataset, some))
        for here, there in zip(left.get_weights(), right.get_weights(), strict=True):
            np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-5)

    @pytest.mark.slow
    def test_no_inputs_no_outputs(self, each_guarded, benign, out):
        empty = predict(each_guarded, benign[:0])
        assert {name: len(values) for name, values in empty.items()} == dict.fromkeys(out, 0)
        assert empty["predictions"].shape == (0, 10)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("kind", "count"), [("statistics", 18), pytest.param("costs", 3, marks=pytest.mark.slow)]
    )
    def test_default_batch_follows_the_slots(self, request, classifier, digits, kind, count):
        """As many inputs as slots, or eight times as many for attacks."""
        names = {"statistics": "guarded", "costs": "guarded_by_costs"}
        few = a2d.guard(classifier, slots=4, **GUARDS[kind])
        few.set_weights(request.getfixturevalue(names[kind]).get_weights())
        batches = []

        class Count(keras.callbacks.Callback):
            def on_predict_batch_end(self, batch, logs=None):
                batches.append(batch)

        predict(few, digits.x_test[:70], callbacks=[Count()])
        assert len(batches) == count

    def test_called_directly(self, each_guarded, benign, out):
        for answer in (each_guarded(benign), each_guarded.predict_on_batch(benign)):
            assert_close({name: np.asarray(values) for name, values in answer.items()}, out)

    def test_threads(self, each_guarded, benign, out):
        outs = [None] * 6

        def work(i):
            outs[i] = predict(each_guarded, benign)

        threads = [threading.Thread(target=work, args=[i]) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for each in outs:
            assert_equal(each, out)


class TestErrors:
    def test_before_adapt(self, classifier, benign):
        guarded = a2d.guard(classifier)
        with pytest.raises(ValueError, match="call `adapt` with benign inputs first. Received: "):
            predict(guarded, benign)
        dataset = tf.data.Dataset.from_tensor_slices(benign).batch(8)
        with pytest.raises(tf.errors.InvalidArgumentError, match="call `adapt` with benign"):
            predict(guarded, dataset)

    def bad(self, benign):
        holes, wide = benign.copy(), benign.copy()
        holes[3, 0, 0], holes[5, 0, 0] = np.nan, np.inf
        wide[7] += 2
        return {
            r"2 values that are not finite, 0 outside the bounds, in 2 of 40": holes,
            r"64 outside the bounds, in 1 of 40 inputs, from 0 to 3": wide,
            r"shape \(None, 8, 8, 1\). Received: \((40|None), 64\)": benign.reshape(40, 64),
            r"real numbers. Received: ": benign.astype(str),
        }

    def test_arrays(self, guarded, benign):
        for message, x in self.bad(benign).items():
            with pytest.raises(ValueError, match=message):
                predict(guarded, x)

    @pytest.mark.slow
    def test_datasets(self, guarded, benign):
        for message, x in self.bad(benign).items():
            dataset = tf.data.Dataset.from_tensor_slices(x).batch(len(x))
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                predict(guarded, dataset)

    def test_within_a_rounding_of_the_bounds_is_clipped(self, each_guarded, benign, out):
        found = predict(each_guarded, np.where(benign == 0, -5e-7, benign))
        assert_close(found, out)

    @pytest.mark.parametrize("kind", ["statistics", pytest.param("costs", marks=pytest.mark.slow)])
    def test_flagging_invalid_rows(self, guard_digits, benign, kind):
        guarded, x = guard_digits(on_invalid="flag", **GUARDS[kind]), benign.copy()
        out = predict(guarded, benign)
        x[3, 0], x[5, 0] = np.nan, 7
        for found in (
            predict(guarded, x),
            predict(guarded, tf.data.Dataset.from_tensor_slices(x).batch(40)),
        ):
            assert found["is_adversarial"][[3, 5]].all()
            assert np.isnan(found["score"][[3, 5]]).all()
            if kind == "costs":
                assert (found["cost"][[3, 5]] == 0).all()
                assert not found["exact"][[3, 5]].any()
            else:
                assert (found["p_value"][[3, 5]] == 0).all()
                assert np.isnan(found["statistics"][[3, 5]]).all()
            assert_close(found, out, rows=np.delete(np.arange(40), [3, 5]))

    def test_adapting_on_what_cannot_be_learned_from(self, classifier, benign, adversarial):
        guarded = a2d.guard(classifier)
        with pytest.raises(ValueError, match="at least 38 benign .* Received: 18 to calibrate"):
            guarded.adapt(benign[:37], verbose=0)
        with pytest.raises(ValueError, match="needs at least 19 benign inputs. Received: 18"):
            a2d.guard(classifier, rule="zscore").adapt(benign[:18], verbose=0)
        with pytest.raises(ValueError, match="only benign inputs. Received: benign and adver"):
            guarded.adapt(benign, adversarial, verbose=0)
        with pytest.raises(ValueError, match="benign and adversarial inputs. Received: only benig"):
            a2d.guard(classifier, rule="knn").adapt(benign, verbose=0)
        with pytest.raises(ValueError, match="outside the bounds"):
            guarded.adapt(benign + 1, verbose=0)
        with pytest.raises(ValueError, match="call `adapt`"):  # and nothing was half learned
            predict(guarded, benign)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"rule": "lof"}, "`rule` must be \"fisher\" or .*, or a Rule. Received: 'lof'"),
            ({"rule": a2d.ZScore(k=2)}, "`k` must lie between 1 and .*, 1. Received: 2"),
            ({"on_invalid": "drop"}, "`on_invalid` must be .* Received: 'drop'"),
            ({"attacks": []}, r"`attacks` must hold one attack or more.* Received: \[\]"),
            ({"attacks": [None]}, r"None chooses one. Received: \[None\]"),
            ({"attacks": [a2d.BIM(targeted=True)]}, "an untargeted StepAttack.* Received: BIM"),
            ({"attacks": [a2d.LBFGS()]}, "an untargeted StepAttack.* Received: LBFGS"),
            ({"statistics": []}, r"one Statistic or more. Received: \[\]"),
            (
                {"statistics": [a2d.Margin()], "rule": "zscore"},
                'judges the costs of attacks only; use `rule="fisher"` .* Received: ',
            ),
            ({"statistics": [a2d.BIM()]}, r"one Statistic or more. Received: \[BIM"),
            (
                {"attacks": [a2d.BIM()], "statistics": [a2d.AttackCost()]},
                "give only one of them. Received: ",
            ),
            ({"bounds": (0, 1)}, r"leave `bounds` out. Received: bounds=\(0, 1\)"),
            ({"false_positive_rate": 0}, "between 0 and 1. Received: 0"),
        ],
    )
    def test_arguments(self, classifier, options, message):
        with pytest.raises(ValueError, match=message):
            a2d.guard(classifier, **options)

    def test_bounds(self, model):
        with pytest.raises(ValueError, match=r"increasing finite numbers. Received: \(1, 0\)"):
            a2d.guard(model, bounds=(1, 0))

    @pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
    def test_is_not_trained(self, guarded, benign, method):
        with pytest.raises(TypeError, match=f"cannot `{method}`: use the classifier.*Received: "):
            getattr(guarded, method)(benign, np.zeros(len(benign)))


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["zscore", "knn"])
def test_keeps_what_benign_inputs_cost(classifier, held_out, adversarial, rule):
    others = adversarial[:20] if rule == "knn" else None
    guarded = adapted(classifier, held_out[:40], others, attacks=QUICK, rule=rule)
    costs = a2d.AttackCosts(classifier, attacks=QUICK).transform(held_out[:40])
    expected = [np.bincount(column, minlength=151) for column in costs.T]
    np.testing.assert_array_equal(guarded.detector.benign_costs, expected)


@pytest.mark.parametrize("kind", tiny.EACH)
def test_the_classifier_stays_untouched(kind):
    model = tiny.classifier()
    weights = model.get_weights()
    model.layers[0].trainable = False
    flags = [layer.trainable for layer in model.layers]
    expected = model.predict(tiny.X, verbose=0)
    predict(adapted(model, tiny.X, **tiny.GUARDS[kind]), tiny.X)
    assert [layer.trainable for layer in model.layers] == flags
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(model.predict(tiny.X, verbose=0), expected)


@pytest.mark.slow
def test_adapting_again_reaches_compiled_functions(classifier, held_out, benign):
    guarded = adapted(classifier, held_out[:60], attacks=QUICK[:1])
    before = predict(guarded, benign)
    costs = QUICK[0](classifier, held_out[:60]).cost
    guarded.adapt(held_out[:60][costs > np.median(costs)], verbose=0)
    assert predict(guarded, benign)["is_adversarial"].sum() > before["is_adversarial"].sum()


@pytest.mark.slow
@pytest.mark.parametrize("kind", GUARDS)
def test_layer_in_a_functional_model(guard_digits, classifier, benign, kind):
    layer, guarded = a2d.DetectorLayer(classifier, **GUARDS[kind]), guard_digits(**GUARDS[kind])
    inputs, out = keras.Input((8, 8, 1)), predict(guarded, benign)
    outputs = layer(inputs)
    assert {name: tuple(spec.shape) for name, spec in outputs.items()} == {
        name: (None, *values.shape[1:]) for name, values in out.items()
    }
    pipeline = keras.Model(inputs, [outputs["predictions"], outputs["is_adversarial"]])
    layer.set_weights(guarded.detector.get_weights())
    predictions, flagged = pipeline.predict(benign, verbose=0)
    np.testing.assert_allclose(predictions, out["predictions"], atol=1e-6)
    np.testing.assert_array_equal(flagged, out["is_adversarial"])


@pytest.mark.slow
def test_mixed_precision_classifier(model, held_out, adversarial, benign):
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = zoo.build("digits")
    half.set_weights(model.get_weights())
    guarded = adapted(half, held_out[:150], rule="zscore")
    flagged = predict(guarded, np.concatenate([adversarial, benign]))["is_adversarial"]
    assert flagged[: len(adversarial)].mean() >= 0.9
    assert flagged[len(adversarial) :].mean() <= 0.2


@pytest.mark.slow
def test_learned_state_is_in_the_weights(each_guarded, model, benign, out):
    other = a2d.guard(model, rule=each_guarded.detector.rule)
    other.set_weights(each_guarded.get_weights())
    assert_equal(predict(other, benign), out)
    assert not [w for w in each_guarded.detector.rule.weights if w.trainable]


def test_options_are_where_they_are_documented(classifier):
    layer = a2d.guard(classifier, slots=64, rule=a2d.ZScore(k=1), on_invalid="flag").detector
    assert layer.options == a2d.GuardOptions(slots=64, on_invalid="flag")
    assert (layer.rule.name, layer.rule.k, layer.slot_counts) == ("zscore", 1, (64,))
    assert layer.statistics == (a2d.AttackCost(),)
    assert a2d.guard(classifier).detector.rule.name == "fisher"
    assert a2d.guard(classifier, statistics=[a2d.AttackCost()]).detector.rule.name == "zscore"
    assert a2d.guard(classifier, attacks=iter(SEVERAL)).detector.attacks == SEVERAL


def test_a_rule_that_is_given_stays_as_it_is(classifier):
    rule = a2d.KNN(k=3)
    first, second = (a2d.guard(classifier, rule=rule).detector.rule for _ in range(2))
    assert rule is not first is not second
    assert (first.k, second.k, rule.built) == (3, 3, False)


def test_is_not_compiled_with_xla_unasked(guarded):
    assert not guarded.jit_compile


@pytest.mark.slow
def test_no_warnings_in_everyday_use(classifier, held_out, benign):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for options in GUARDS.values():
            predict(adapted(classifier, held_out[:40], **options), benign)
