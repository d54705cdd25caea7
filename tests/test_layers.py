import threading
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from models import zoo

OUTPUTS = {"predictions", "is_adversarial", "score", "cost", "exact"}
SEVERAL = (a2d.BIM(), a2d.BIM2(), a2d.BIM(eps_iter=0.002, max_iterations=200))


def adapted(model, benign, adversarial=None, **options):
    guarded = a2d.guard(model, **options)
    guarded.adapt(benign, adversarial, verbose=0)
    return guarded


@pytest.fixture(scope="module")
def guarded(model, held_out):
    return adapted(model, held_out)


def predict(guarded, x, **options):
    return guarded.predict(x, verbose=0, **options)


def assert_equal(left, right):
    assert set(left) == set(right) == OUTPUTS
    for name in OUTPUTS:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def test_main_job(guarded, model, digits, classifier):
    benign = digits.x_test[:300]
    crafted = a2d.BIM(eps_iter=0.01, max_iterations=50)(classifier, benign)
    out = predict(guarded, benign)
    assert out["is_adversarial"].shape == (300,)
    assert out["is_adversarial"].mean() <= 0.1
    assert predict(guarded, crafted.adversarial)["is_adversarial"].mean() >= 0.95
    expected = model.predict(benign, batch_size=1024, verbose=0)
    np.testing.assert_array_equal(out["predictions"], expected)  # bit for bit


def test_outputs(guarded, benign):
    out = predict(guarded, benign)
    assert set(out) == OUTPUTS
    assert out["cost"].shape == (len(benign), 1)
    assert out["is_adversarial"].dtype == out["exact"].dtype == bool
    threshold = guarded.detector.thresholds[0]
    np.testing.assert_array_equal(out["is_adversarial"], out["cost"][:, 0] < threshold)
    assert out["score"][out["is_adversarial"]].min(initial=9) > out["score"].min()


@pytest.mark.parametrize("attacks", [None, SEVERAL[:2], SEVERAL], ids=["one", "two", "three"])
def test_early_verdicts_are_those_of_a_full_run(model, held_out, benign, adversarial, attacks):
    x = np.concatenate([benign, adversarial])
    early = adapted(model, held_out[:150], attacks=attacks)
    full = adapted(model, held_out[:150], attacks=attacks, exact=True)
    quick, slow = predict(early, x), predict(full, x)
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


class TestOrder:
    """The dearest attacks are named first, and run last."""

    ATTACKS = (
        a2d.DBA(max_iterations=60, distance=0.05),
        a2d.BIM2(eps_iter=0.0004, max_iterations=200),
        a2d.BIM(eps_iter=0.002, max_iterations=120),
        a2d.JSMA(max_iterations=40),
    )

    @pytest.fixture(scope="class")
    def quick(self, model, held_out):
        return adapted(model, held_out[:150], attacks=self.ATTACKS)

    def test_the_cheapest_attack_runs_first(self, quick, benign, adversarial):
        order = quick.detector.verdict.order.numpy()
        assert sorted(order) == [0, 1, 2, 3]
        assert order[-1] == 0
        started = predict(quick, np.concatenate([benign, adversarial]))["cost"] > 0
        shares = started[:, order].mean(axis=0)
        assert shares[0] == 1
        assert (np.diff(shares) <= 0).all()
        assert shares[-1] < 0.5

    def test_verdicts_and_columns_are_those_of_a_full_run(
        self, quick, model, benign, adversarial, tmp_path
    ):
        x = np.concatenate([benign, adversarial])
        exact = a2d.guard(model, attacks=self.ATTACKS, exact=True)
        exact.set_weights(quick.get_weights())
        full, out = predict(exact, x), predict(quick, x)
        costs = a2d.AttackCosts(model, self.ATTACKS).transform(x)
        np.testing.assert_array_equal(full["cost"], costs)
        np.testing.assert_array_equal(out["is_adversarial"], full["is_adversarial"])
        seen = np.minimum(costs, quick.detector.thresholds)
        np.testing.assert_array_equal(out["cost"], np.where(out["cost"] > 0, seen, 0))
        quick.export(tmp_path / "serving")
        exported = tf.saved_model.load(tmp_path / "serving")
        np.testing.assert_array_equal(exported.serve(tf.constant(x))["cost"], out["cost"])

    def test_each_attack_is_traced_once(self, quick, model):
        specs = tf.TensorSpec((None, 8, 8, 1), tf.float32), tf.TensorSpec((None,), tf.bool)
        traced = tf.function(quick.detector._detect).get_concrete_function(*specs)
        functions = traced.graph.as_graph_def().library.function
        convolutions = sum(node.op == "Conv2D" for f in functions for node in f.node_def)
        in_model = sum(isinstance(layer, keras.layers.Conv2D) for layer in model.layers)
        assert convolutions == len(self.ATTACKS) * in_model


def test_exact_costs_are_attack_costs(model, held_out, benign):
    guarded = adapted(model, held_out, attacks=SEVERAL[:2], exact=True)
    costs = a2d.AttackCosts(model, SEVERAL[:2]).transform(benign)
    np.testing.assert_array_equal(predict(guarded, benign)["cost"], costs)


@pytest.mark.parametrize("attacks", [None, SEVERAL[:2]], ids=["one", "two"])
def test_nearest_neighbours(model, held_out, benign, adversarial, classifier, attacks):
    crafted = a2d.BIM(eps_iter=0.01, max_iterations=50)(classifier, held_out[:100]).adversarial
    guarded = adapted(model, held_out[:150], crafted, attacks=attacks, detector="knn")
    assert predict(guarded, adversarial)["is_adversarial"].mean() >= 0.95
    assert predict(guarded, benign)["is_adversarial"].mean() <= 0.2


class TestDefaultStep:
    def test_is_the_papers_where_benign_inputs_withstand_it(self, guarded):
        (attack,) = guarded.detector.attacks
        assert attack.eps_iter == pytest.approx(0.0006)
        assert guarded.detector.thresholds[0] >= 20

    def test_is_halved_until_benign_inputs_withstand_20_steps(self, model, held_out, capsys):
        """A classifier ten times as fragile: the same one, which sees its inputs magnified."""
        inputs = keras.Input((8, 8, 1))
        fragile = keras.Model(inputs, model(keras.layers.Rescaling(10.0, -4.5)(inputs)))
        narrow = 0.1 * held_out + 0.45
        guarded = a2d.guard(fragile)
        guarded.adapt(narrow)
        (attack,) = guarded.detector.attacks
        halvings = np.log2(0.0006 / attack.eps_iter)
        assert halvings == pytest.approx(round(halvings), abs=1e-3)
        assert 1 <= round(halvings) <= 11

        def quantile(eps_iter):
            costs = a2d.AttackCosts(fragile, [a2d.BIM(eps_iter=eps_iter)]).transform(narrow)
            return np.quantile(costs, 0.05, method="lower")

        assert quantile(attack.eps_iter) >= 20 > quantile(2 * attack.eps_iter)
        assert "eps_iter=" in capsys.readouterr().out

    def test_gives_up_with_a_warning(self, model, held_out):
        inputs = keras.Input((8, 8, 1))
        outputs = model(keras.layers.Rescaling(1e6, -0.5e6)(inputs))
        with pytest.warns(UserWarning, match="too fragile to guard well. Received: Functional"):
            adapted(keras.Model(inputs, outputs), 1e-6 * held_out[:40] + 0.5)


def test_explicit_steps_that_are_too_large_warn(model, held_out):
    with pytest.warns(UserWarning, match="nearly nothing can be flagged.*thresholds"):
        adapted(model, held_out, attacks=[a2d.BIM(eps_iter=0.05)])


class TestData:
    @pytest.mark.parametrize("size", [1, 16, 40])
    def test_datasets_in_any_batches(self, guarded, benign, size):
        dataset = tf.data.Dataset.from_tensor_slices(benign).batch(size)
        assert_equal(predict(guarded, dataset), predict(guarded, benign, batch_size=size))

    def test_verdicts_do_not_depend_on_the_batch(self, guarded, benign, adversarial):
        x = np.concatenate([benign, adversarial])
        verdicts = [
            predict(guarded, x, batch_size=size)["is_adversarial"] for size in (1, 7, 32, None)
        ]
        for other in verdicts[1:]:
            np.testing.assert_array_equal(verdicts[0], other)

    def test_adapts_on_a_dataset(self, model, held_out):
        dataset = tf.data.Dataset.from_tensor_slices((held_out, np.zeros(len(held_out)))).batch(32)
        left, right = adapted(model, dataset), adapted(model, held_out)
        np.testing.assert_array_equal(left.detector.thresholds, right.detector.thresholds)

    def test_no_inputs_no_outputs(self, guarded, benign):
        out = predict(guarded, benign[:0])
        assert {name: len(values) for name, values in out.items()} == dict.fromkeys(OUTPUTS, 0)
        assert out["predictions"].shape == (0, 10)

    def test_default_batch_is_eight_times_the_slots(self, model, held_out, digits):
        guarded = adapted(model, held_out[:50], slots=4)
        batches = []

        class Count(keras.callbacks.Callback):
            def on_predict_batch_end(self, batch, logs=None):
                batches.append(batch)

        predict(guarded, digits.x_test[:70], callbacks=[Count()])
        assert len(batches) == 3  # 32, 32 and 6

    def test_integers(self, model, digits):
        inputs = keras.Input((8, 8, 1))
        scaled = keras.Model(inputs, model(keras.layers.Rescaling(1 / 16)(inputs)))
        integers = np.round(16 * digits.x_test).astype("uint8")
        guarded = adapted(scaled, integers[:200], bounds=(0, 16))
        assert predict(guarded, integers[200:400])["is_adversarial"].mean() < 0.15

    def test_called_directly(self, guarded, benign):
        called = {name: np.asarray(values) for name, values in guarded(benign).items()}
        np.testing.assert_array_equal(called["cost"], predict(guarded, benign)["cost"])

    def test_threads(self, guarded, benign):
        expected, outs = predict(guarded, benign), [None] * 6

        def work(i):
            outs[i] = predict(guarded, benign)

        threads = [threading.Thread(target=work, args=[i]) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for out in outs:
            assert_equal(out, expected)


class TestErrors:
    def test_before_adapt(self, model, benign):
        guarded = a2d.guard(model)
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

    def test_datasets(self, guarded, benign):
        for message, x in self.bad(benign).items():
            dataset = tf.data.Dataset.from_tensor_slices(x).batch(len(x))
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                predict(guarded, dataset)

    def test_within_a_rounding_of_the_bounds_is_clipped(self, guarded, benign):
        out = predict(guarded, np.where(benign == 0, -5e-7, benign))
        np.testing.assert_array_equal(out["cost"], predict(guarded, benign)["cost"])

    def test_flagging_invalid_rows(self, model, held_out, benign):
        guarded = adapted(model, held_out, on_invalid="flag")
        clean, x = predict(guarded, benign), benign.copy()
        x[3, 0], x[5, 0] = np.nan, 7
        for out in (
            predict(guarded, x),
            predict(guarded, tf.data.Dataset.from_tensor_slices(x).batch(40)),
        ):
            assert out["is_adversarial"][[3, 5]].all()
            assert np.isnan(out["score"][[3, 5]]).all()
            assert (out["cost"][[3, 5]] == 0).all()
            assert not out["exact"][[3, 5]].any()
            others = np.delete(np.arange(40), [3, 5])
            for name in OUTPUTS - {"predictions"}:
                np.testing.assert_array_equal(out[name][others], clean[name][others])

    def test_adapting_on_what_cannot_be_learned_from(self, model, benign, adversarial):
        guarded = a2d.guard(model)
        with pytest.raises(ValueError, match="needs at least 19 benign inputs. Received: 18"):
            guarded.adapt(benign[:18], verbose=0)
        with pytest.raises(ValueError, match="only benign inputs. Received: benign and adver"):
            guarded.adapt(benign, adversarial, verbose=0)
        with pytest.raises(ValueError, match="benign and adversarial inputs. Received: only benig"):
            a2d.guard(model, detector="knn").adapt(benign, verbose=0)
        with pytest.raises(ValueError, match="outside the bounds"):
            guarded.adapt(benign + 1, verbose=0)
        with pytest.raises(ValueError, match="call `adapt`"):  # and nothing was half learned
            predict(guarded, benign)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"detector": "lof"}, "`detector` must be .* Received: 'lof'"),
            ({"on_invalid": "drop"}, "`on_invalid` must be .* Received: 'drop'"),
            ({"attacks": []}, r"`attacks` must hold one attack or more.* Received: \[\]"),
            ({"attacks": [a2d.BIM(targeted=True)]}, "none of them targeted.* Received: "),
            ({"bounds": (1, 0)}, r"two increasing finite numbers. Received: \(1, 0\)"),
            ({"false_positive_rate": 0}, "between 0 and 1. Received: 0"),
        ],
    )
    def test_arguments(self, model, options, message):
        with pytest.raises(ValueError, match=message):
            a2d.guard(model, **options)

    @pytest.mark.parametrize("method", ["fit", "evaluate"])
    def test_is_not_trained(self, guarded, benign, method):
        with pytest.raises(TypeError, match=f"cannot `{method}`: use the classifier.*Received: "):
            getattr(guarded, method)(benign, np.zeros(len(benign)))


@pytest.mark.parametrize("detector", ["zscore", "knn"])
def test_keeps_what_benign_inputs_cost(model, held_out, adversarial, detector):
    others = adversarial if detector == "knn" else None
    guarded = adapted(model, held_out[:60], others, attacks=SEVERAL[:2], detector=detector)
    costs = a2d.AttackCosts(model, SEVERAL[:2]).transform(held_out[:60])
    expected = [np.bincount(column, minlength=501) for column in costs.T]
    np.testing.assert_array_equal(guarded.detector.benign_costs, expected)


def test_the_classifier_stays_untouched(digits, model, held_out, benign):
    model, weights = keras.models.clone_model(model), model.get_weights()
    model.set_weights(weights)
    model.layers[0].trainable = False
    flags = [layer.trainable for layer in model.layers]
    expected = model.predict(benign, verbose=0)
    predict(adapted(model, held_out), benign)
    assert [layer.trainable for layer in model.layers] == flags
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(model.predict(benign, verbose=0), expected)


def test_adapting_again_reaches_compiled_functions(model, held_out, benign):
    guarded = adapted(model, held_out)
    before = predict(guarded, benign)
    guarded.detector.false_positive_rate = guarded.detector.verdict.false_positive_rate = 0.5
    guarded.adapt(held_out, verbose=0)
    assert predict(guarded, benign)["is_adversarial"].sum() > before["is_adversarial"].sum()


def test_layer_in_a_functional_model(model, held_out, benign):
    layer = a2d.DetectorLayer(model)
    inputs = keras.Input((8, 8, 1))
    outputs = layer(inputs)
    assert {name: tuple(spec.shape) for name, spec in outputs.items()} == {
        "predictions": (None, 10),
        "is_adversarial": (None,),
        "score": (None,),
        "cost": (None, 1),
        "exact": (None,),
    }
    pipeline = keras.Model(inputs, [outputs["predictions"], outputs["is_adversarial"]])
    layer.adapt(held_out, verbose=0)
    predictions, flagged = pipeline.predict(benign, verbose=0)
    expected = predict(adapted(model, held_out), benign)
    np.testing.assert_allclose(predictions, expected["predictions"], atol=1e-6)
    np.testing.assert_array_equal(flagged, expected["is_adversarial"])


def test_mixed_precision_classifier(model, held_out, adversarial, benign):
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = zoo.build("digits")
    half.set_weights(model.get_weights())
    guarded = adapted(half, held_out)
    assert predict(guarded, adversarial)["is_adversarial"].mean() >= 0.9
    assert predict(guarded, benign)["is_adversarial"].mean() <= 0.2


def test_learned_state_is_in_the_weights(guarded, model, held_out, benign):
    other = a2d.guard(model)
    other.set_weights(guarded.get_weights())
    assert_equal(predict(other, benign), predict(guarded, benign))
    assert not [w for w in guarded.detector.verdict.weights if w.trainable]


def test_is_not_compiled_with_xla_unasked(guarded):
    assert not guarded.jit_compile


def test_no_warnings_in_everyday_use(model, held_out, benign):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        predict(adapted(model, held_out), benign)
