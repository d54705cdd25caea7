import dataclasses
import glob
import json
import threading
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import a2d_keras as a2d

pytestmark = pytest.mark.keras

QUICK = a2d.BIM(eps_iter=0.01, max_iterations=30)


def scalars(folder):
    """Read the scalars of event files: tag -> [(step, value)]."""
    found = {}
    for path in sorted(glob.glob(f"{folder}/**/*.tfevents*", recursive=True)):
        for record in tf.data.TFRecordDataset(path):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    number = float(tf.make_ndarray(value.tensor))
                    found.setdefault(value.tag, []).append((event.step, number))
    return found


def dense(*first):
    layers = [keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    return compiled(keras.Sequential([*first, *layers]))


def compiled(model):
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = dense()

    def call(self, x):
        return self.inner(x)


@pytest.fixture(scope="module")
def fit(digits):
    """Train a model on a few digits."""

    def fit(model, *callbacks, epochs=1):
        x, y = digits.x_train[:256], digits.y_train[:256]
        return model.fit(x, y, epochs=epochs, verbose=0, callbacks=[*callbacks]).history

    return fit


@pytest.fixture(scope="module")
def learned(fit):
    keras.utils.set_random_seed(0)  # since module fixtures run before those of a test
    model = dense(keras.Input((8, 8, 1)))
    model.optimizer.learning_rate = 0.01
    fit(model, epochs=10)
    return model.get_weights()


@pytest.fixture
def trainable(learned):
    """A small classifier of digits, which could learn more."""
    model = dense(keras.Input((8, 8, 1)))
    model.set_weights(learned)
    return model


class TestAttackCostMonitor:
    def test_callbacks_that_need_it_are_listed_after_it(self, benign):
        monitor = a2d.AttackCostMonitor(benign[:2], attack=QUICK)
        stop = keras.callbacks.EarlyStopping("val_attack_cost", mode="max")
        model = Subclassed()  # not built, so that nothing is attacked
        with pytest.warns(UserWarning, match="List AttackCostMonitor before EarlyStopping, which"):
            keras.callbacks.CallbackList([stop, monitor], model=model).on_train_begin()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            monitor.on_train_begin()
            keras.callbacks.CallbackList([monitor, stop], model=model).on_train_begin()

    @pytest.mark.slow
    def test_measures_the_weights_of_each_epoch(self, trainable, fit, benign):
        costs = a2d.AttackCosts(trainable, attacks=[QUICK])

        class Expected(keras.callbacks.Callback):
            medians = ()

            def on_epoch_end(self, epoch, logs=None):
                self.medians += (np.median(costs.transform(benign)),)
                assert logs["val_attack_cost"] == self.medians[-1]  # seen by those after it

        expected = Expected()
        trainable.optimizer.learning_rate = 0.01
        history = fit(trainable, a2d.AttackCostMonitor(benign, attack=QUICK), expected, epochs=3)
        assert history["val_attack_cost"] == list(expected.medians)
        assert len(set(expected.medians)) > 1

    @pytest.mark.slow
    def test_tensorboard_stopping_and_checkpoints_see_it(self, trainable, fit, benign, tmp_path):
        """The first epoch stays the best, since a wild step ruins the next ones."""
        wild = keras.callbacks.LearningRateScheduler(lambda epoch: 1e-4 if epoch == 0 else 3.0)
        path, options = str(tmp_path / "best.keras"), {"monitor": "val_attack_cost", "mode": "max"}
        history = fit(
            trainable,
            wild,
            a2d.AttackCostMonitor(benign, attack=QUICK),
            keras.callbacks.TensorBoard(tmp_path / "logs"),
            keras.callbacks.EarlyStopping(patience=2, baseline=1e9, **options),
            keras.callbacks.ModelCheckpoint(path, save_best_only=True, **options),
            epochs=9,
        )
        medians = history["val_attack_cost"]
        assert len(medians) < 9
        # Keras removes "val_" and writes to the validation curves.
        logged = scalars(tmp_path / "logs" / "validation")["epoch_attack_cost"]
        assert logged == list(enumerate(medians))
        best = a2d.AttackCosts(keras.models.load_model(path), attacks=[QUICK]).transform(benign)
        assert np.median(best) == max(medians)

    @pytest.mark.slow
    def test_traces_the_attack_once(self, trainable, fit, benign):
        traced = []

        @dataclasses.dataclass(frozen=True, kw_only=True)
        class Counting(a2d.BIM):
            def step(self, classifier, slots):
                traced.append(1)
                return super().step(classifier, slots)

        class Traces(keras.callbacks.Callback):
            at_epochs = ()

            def on_epoch_begin(self, epoch, logs=None):
                self.at_epochs += (len(traced),)

        traces = Traces()
        attack = Counting(eps_iter=0.01, max_iterations=30)
        fit(trainable, a2d.AttackCostMonitor(benign, attack=attack), traces, epochs=3)
        assert set(traces.at_epochs) == {len(traced)} != {0}

    @pytest.mark.slow
    def test_datasets(self, trainable, fit, benign):
        dataset = tf.data.Dataset.from_tensor_slices(benign).batch(7)
        history = fit(
            trainable,
            a2d.AttackCostMonitor(benign, attack=QUICK),
            a2d.AttackCostMonitor(dataset, attack=QUICK, name="of_a_dataset"),
        )
        assert history["of_a_dataset"] == history["val_attack_cost"]

    @pytest.mark.parametrize("make", [dense, Subclassed])
    def test_models_that_training_builds(self, fit, benign, make):
        history = fit(compiled(make()), a2d.AttackCostMonitor(benign, attack=QUICK))
        assert 1 <= history["val_attack_cost"][0] <= 30

    def test_the_default_attack_is_the_papers(self, benign):
        assert a2d.AttackCostMonitor(benign).attack == a2d.BIM()

    def test_a_diverged_model_is_not_robust(self, trainable, fit, benign):
        trainable.optimizer.learning_rate = np.nan
        history = fit(trainable, a2d.AttackCostMonitor(benign, attack=QUICK))
        assert np.isnan(history["val_attack_cost"][0])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"attack": "bim"}, "`attack` must be an untargeted attack. Received: bim"),
            ({"attack": a2d.BIM(targeted=True)}, "`attack` must be an untargeted.* Received: BIM"),
            ({"name": ""}, "`name` must be a non-empty string. Received: ''"),
            ({"slots": 0}, '`slots` must be a whole number, at least 1, or "auto". Received: 0'),
            ({"x": []}, "`x` must hold at least one input. Received: 0 inputs"),
        ],
    )
    def test_arguments(self, benign, options, message):
        with pytest.raises(ValueError, match=message):
            a2d.AttackCostMonitor(**{"x": benign, **options})

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"bounds": (1, 0)}, r"`bounds` must be two increasing.* Received: \(1, 0\)"),
            ({"bounds": (0, 0.5)}, "must be finite numbers within the bounds .* Received: "),
            ({"x": np.zeros((3, 8, 8))}, r"shape \(None, 8, 8, 1\). Received: \(3, 8, 8\)"),
        ],
    )
    def test_arguments_that_do_not_fit_stop_training_before_it_begins(
        self, trainable, fit, benign, options, message
    ):
        before = trainable.get_weights()
        with pytest.raises(ValueError, match=message):
            fit(trainable, a2d.AttackCostMonitor(**{"x": benign, **options}))
        np.testing.assert_array_equal(before[0], trainable.get_weights()[0])

    def test_options_that_no_classifier_takes(self, benign):
        with pytest.raises(TypeError, match="unexpected keyword argument 'bound'"):
            a2d.AttackCostMonitor(benign, bound=(0.0, 9.0))

    def test_two_of_one_name(self, benign):
        with pytest.raises(ValueError, match="new in the logs. Received: 'loss'"):
            a2d.AttackCostMonitor(benign, name="loss").on_epoch_end(0, {"loss": 1.0})


class Noting(a2d.DetectorLayer):
    """A detector that learns nothing, but records each call of `adapt` and the weights then."""

    times = 0
    seen = None

    def adapt(self, *args, **kwargs):
        self.times += 1
        self.seen = self.classifier.weights_hash()

    @property
    def up_to_date(self):
        return self.seen == self.classifier.weights_hash()


class TestAdaptDetector:
    def layer(self, model, **options):
        cost = a2d.AttackCost(a2d.BIM(max_iterations=300))
        return a2d.DetectorLayer(model, statistics=[cost], **options)

    @pytest.mark.parametrize(
        ("every", "epochs", "times"), [(None, 2, 1), (2, 3, 2), (1, 2, 2), (9, 1, 1)]
    )
    def test_adapts_every_so_often_and_to_the_last_weights(
        self, trainable, fit, held_out, every, epochs, times
    ):
        layer = Noting(trainable)
        fit(trainable, a2d.AdaptDetector(layer, held_out[:40], every=every), epochs=epochs)
        assert layer.times == times
        assert layer.up_to_date

    def test_adapts_once_more_where_stopping_restores_the_best_weights(
        self, trainable, fit, held_out
    ):
        layer = Noting(trainable)
        stop = keras.callbacks.EarlyStopping("loss", restore_best_weights=True)
        wild = keras.callbacks.LearningRateScheduler(lambda epoch: 1e-4 if epoch == 0 else 3.0)
        adapt = a2d.AdaptDetector(layer, held_out[:40], every=1)
        fit(trainable, wild, stop, adapt, epochs=2)
        assert layer.times == 3
        assert layer.up_to_date

    @pytest.mark.slow
    def test_adapts_the_default_as_adapt_does(self, trainable, fit, held_out, benign):
        """And once it has promised another rate, it keeps that."""
        guarded = a2d.guard(trainable)
        again = a2d.AdaptDetector(guarded.detector, held_out[:60])
        fit(trainable, again)
        after = guarded.detector.rule.get_weights()
        guarded.predict(benign, verbose=0)  # refuses a detector that is not up to date
        guarded.adapt(held_out[:60], verbose=0)
        for left, right in zip(guarded.detector.rule.get_weights(), after, strict=True):
            np.testing.assert_array_equal(left, right)
        guarded.detector.promise(0.2)
        fit(trainable, again)
        p_values = guarded.predict(benign, verbose=0)
        np.testing.assert_array_equal(p_values["is_adversarial"], p_values["p_value"] <= 0.2)

    @pytest.mark.slow
    def test_adapts_as_adapt_does(self, trainable, fit, held_out, benign):
        guarded = a2d.GuardedModel(self.layer(trainable))
        fit(trainable, a2d.AdaptDetector(guarded.detector, held_out[:40]))
        after = guarded.detector.thresholds
        guarded.predict(benign, verbose=0)  # refuses a detector that is not up to date
        guarded.adapt(held_out[:40], verbose=0)
        np.testing.assert_array_equal(guarded.detector.thresholds, after)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:Benign inputs withstand")  # 80 are few for K = 100
    def test_nearest_neighbours(self, trainable, fit, held_out):
        layer = self.layer(trainable, rule="knn")
        crafted = QUICK(a2d.Classifier(trainable), held_out[:40]).adversarial
        fit(trainable, a2d.AdaptDetector(layer, held_out[:40], adversarial=crafted))
        assert layer.up_to_date

    def test_arguments(self, model, benign):
        layer = self.layer(model)
        with pytest.raises(ValueError, match="a DetectorLayer; .*`guarded.detector`. Received: <G"):
            a2d.AdaptDetector(a2d.GuardedModel(layer), benign)
        with pytest.raises(ValueError, match="`every` must be a whole.*, at least 1. Received: 0"):
            a2d.AdaptDetector(layer, benign, every=0)
        with pytest.raises(ValueError, match="benign and adversarial inputs. Received: only ben"):
            a2d.AdaptDetector(self.layer(model, rule="knn"), benign)


@pytest.fixture(scope="module")
def guarded(guard_digits):
    """Judged by costs, which flag nearly all of the adversarial digits."""
    return guard_digits(rule="zscore")


@pytest.fixture(scope="module", params=["zscore", "fisher"])
def either(request, guard_digits):
    """A guarded model of each kind: one with costs, one with p-values."""
    return guard_digits(rule=request.param)


def predict(guarded, x, log, **options):
    return guarded.predict(x, verbose=0, callbacks=[log], **options)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def watch(guarded, flags, sizes, **options):
    """Feed verdicts to a log in batches, as `predict` does; return the alarms and the log."""
    alarms = []
    log = a2d.DetectionLog(on_alarm=alarms.append, **options)
    log.set_model(guarded)
    for batch, part in enumerate(np.split(flags, np.cumsum(sizes))):
        log.on_predict_batch_end(batch, {"outputs": {"is_adversarial": tf.constant(part)}})
    return alarms, log


class TestDetectionLog:
    @pytest.mark.slow
    def test_a_line_for_every_batch(self, guarded, benign, adversarial, tmp_path):
        path = tmp_path / "log.jsonl"
        x = np.concatenate([benign, adversarial])
        log = a2d.DetectionLog(path, window=50)
        flagged = predict(guarded, x, log, batch_size=32)["is_adversarial"]
        records = lines(path)
        parts = flagged[:32], flagged[32:64], flagged[64:]
        assert [r["batch"] for r in records] == [0, 1, 2]
        assert [r["inputs"] for r in records] == [32, 32, 16]
        assert [r["flagged"] for r in records] == [part.sum() for part in parts]
        assert [r["window_inputs"] for r in records] == [32, 50, 50]
        assert records[2]["window_flagged"] == flagged[-50:].sum()
        p = stats.binomtest(int(flagged[-50:].sum()), 50, 0.05, alternative="greater").pvalue
        assert records[2]["p_value"] == p
        assert [r["alarms"] for r in records] == [0, 1, 0]
        assert (log.inputs, log.flagged, log.alarms) == (80, flagged.sum(), 1)
        assert all(r["time"].endswith("+00:00") for r in records)

        predict(guarded, benign, a2d.DetectionLog(path))  # another log continues the file
        assert lines(path)[:3] == records
        assert len(lines(path)) == 4

    @pytest.mark.slow
    def test_lines_hold_the_medians_of_whatever_the_guard_gives(self, either, benign, tmp_path):
        log = a2d.DetectionLog(tmp_path / "log.jsonl")
        out = predict(either, benign, log, batch_size=25)
        first, second = (record["median"] for record in lines(tmp_path / "log.jsonl"))
        numbers = [n for n in either.detector.column_names if n not in ("is_adversarial", "exact")]
        assert list(first) == list(second) == numbers
        for name, values in either.detector.columns(out).items():
            if name in numbers:
                assert first[name] == pytest.approx(np.median(values[:25]), rel=1e-4)
                assert second[name] == pytest.approx(np.median(values[25:]), rel=1e-4)
        if either.detector.rule.word == "fisher":
            assert 0.1 < first["p_value"] < 0.9

    @pytest.mark.slow
    def test_lines_of_inputs_that_cannot_be_judged(self, guard_digits, benign, tmp_path):
        """Their medians are null, since JSON lacks NaN."""
        flagging = guard_digits(on_invalid="flag")
        log = a2d.DetectionLog(tmp_path / "log.jsonl")
        predict(flagging, np.full((2, 8, 8, 1), np.nan), log)
        predict(flagging, np.concatenate([benign[:3], benign[:1] + 9]), log)
        nothing, something = lines(tmp_path / "log.jsonl")
        assert [nothing["flagged"], something["flagged"] >= 1] == [2, True]
        assert nothing["median"].pop("p_value") == 0
        assert set(nothing["median"].values()) == {None}
        assert None not in something["median"].values()

    def test_lines_are_written_at_once(self, guarded, benign, tmp_path):
        path, seen = tmp_path / "log.jsonl", []

        class Reader(keras.callbacks.Callback):
            def on_predict_batch_end(self, batch, logs=None):
                seen.append(len(lines(path)))

        callbacks = [a2d.DetectionLog(path), Reader()]
        guarded.predict(benign, batch_size=10, verbose=0, callbacks=callbacks)
        assert seen == [1, 2, 3, 4]

    def test_alarms_do_not_depend_on_the_batch(self, guarded, benign, adversarial):
        options = {"window": 30, "significance": 1e-4}
        x = np.concatenate([benign, adversarial, benign, adversarial])
        predicted = a2d.DetectionLog(**options)
        flagged = predict(guarded, x, predicted, batch_size=13)["is_adversarial"]
        assert (predicted.inputs, predicted.flagged, predicted.alarms) == (160, flagged.sum(), 2)
        for sizes in ([1] * 160, [13] * 12, [160]):
            alarms, log = watch(guarded, flagged, sizes, **options)
            assert (log.inputs, log.flagged) == (160, flagged.sum())
            assert len(alarms) == log.alarms == 2
            assert {alarm["window_inputs"] for alarm in alarms} == {30}
            assert max(alarm["p_value"] for alarm in alarms) < 1e-4
            assert all(0 < alarm["window_flagged"] < 10 for alarm in alarms)

    def test_single_inputs(self, either, benign, adversarial, tmp_path):
        """As in an API. Some versions of Keras turn the outputs for one input into numbers."""
        log = a2d.DetectionLog(tmp_path / "log.jsonl")
        out = [predict(either, x[None], log) for x in (benign[0], adversarial[0])]
        flagged = [int(o["is_adversarial"][0]) for o in out]
        assert flagged[0] == 0
        single = {n: float(v.item()) if v.size == 1 else v for n, v in out[1].items()}
        log.on_predict_batch_end(0, {**single, "is_adversarial": 1.0})
        records = lines(tmp_path / "log.jsonl")
        assert [r["flagged"] for r in records] == [*flagged, 1]
        assert records[1]["median"] == pytest.approx(records[2]["median"])

    @pytest.mark.slow
    def test_nothing_to_judge_is_nothing_to_log(self, either, benign, tmp_path):
        log = a2d.DetectionLog(tmp_path / "log.jsonl")
        predict(either, benign[:0], log)
        log.set_model(either)
        log.on_predict_batch_end(0, {"is_adversarial": np.zeros(0, bool)})
        assert lines(tmp_path / "log.jsonl") == []
        assert log.inputs == 0

    def test_tensorboard(self, guarded, benign, adversarial, tmp_path):
        log = a2d.DetectionLog(tf.summary.create_file_writer(str(tmp_path)), window=40)
        x = np.concatenate([benign, adversarial])
        flagged = predict(guarded, x, log, batch_size=40)["is_adversarial"]
        shares = [flagged[:40].mean(), flagged[40:].mean()]
        found = scalars(tmp_path)
        assert [step for step, _ in found["flagged_share"]] == [40, 80]
        np.testing.assert_allclose([v for _, v in found["flagged_share"]], shares)
        np.testing.assert_allclose([v for _, v in found["window_flagged_share"]], shares)
        assert found["alarms"] == [(40, 0), (80, 1)]

    def test_prometheus(self, guarded, benign, adversarial):
        prometheus = pytest.importorskip("prometheus_client", reason="prometheus-client is missing")
        registry = prometheus.CollectorRegistry()
        log = a2d.DetectionLog(registry, window=40)
        out = [predict(guarded, x, log) for x in (benign, adversarial)]
        flagged = [o["is_adversarial"] for o in out]
        values = [("inputs_total", 80), ("flagged_total", np.sum(flagged)), ("alarms_total", 1)]
        values += [("window_flagged_share", flagged[1].mean())]
        for name, value in values:
            assert registry.get_sample_value(f"a2d_{name}") == pytest.approx(value)
        median = registry.get_sample_value("a2d_median", {"column": "score"})
        assert median == pytest.approx(np.median(out[1]["score"]))
        with pytest.raises(ValueError, match="Duplicated"):
            a2d.DetectionLog(registry)

    def test_several_places_get_the_same_record(self, guarded, benign, tmp_path):
        records, path = [], tmp_path / "log.jsonl"
        writer = tf.summary.create_file_writer(str(tmp_path))
        log = a2d.DetectionLog([path, writer, records.append])
        predict(guarded, benign, log, batch_size=20)
        assert records == lines(path)
        assert [record["inputs"] for record in records] == [20, 20]
        assert len(scalars(tmp_path)["flagged_share"]) == 2

    def test_threads_share_a_log(self, guarded, benign, tmp_path):
        log = a2d.DetectionLog(tmp_path / "log.jsonl")
        options = {"batch_size": 10}
        threads = [
            threading.Thread(target=predict, args=(guarded, benign, log), kwargs=options)
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        records = lines(tmp_path / "log.jsonl")
        assert log.inputs == sum(r["inputs"] for r in records) == 120
        assert log.flagged == sum(r["flagged"] for r in records)
        assert records[-1]["window_inputs"] == 120

    def test_an_alarm_may_predict_with_the_same_log(self, guarded, benign, adversarial):
        log = a2d.DetectionLog(on_alarm=lambda alarm: predict(guarded, benign[:1], log))
        predict(guarded, adversarial, log)
        assert (log.alarms, log.inputs) == (1, 41)

    def test_an_alarm_that_fails_leaves_the_verdicts(self, guarded, adversarial):
        def fail(alarm):
            raise RuntimeError("nobody answers")

        log = a2d.DetectionLog(on_alarm=fail)
        log.set_model(guarded)
        columns = {name: np.zeros(40) for name in guarded.detector.column_names}
        outputs = {**columns, "is_adversarial": np.ones(40, bool), "cost": np.ones((40, 1))}
        with pytest.warns(UserWarning, match="returned all the same.*RuntimeError: nobody answers"):
            log.on_predict_batch_end(0, outputs)
        assert (log.inputs, log.alarms) == (40, 1)

    def test_other_models_are_refused(self, model, benign):
        with pytest.raises(ValueError, match="guarded model. Received: Sequential 'digits'"):
            model.predict(benign, verbose=0, callbacks=[a2d.DetectionLog()])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"to": 3}, "A log is written to a path, .* or a function. Received: 3"),
            ({"to": [print, None]}, "A log is written to a path, .* Received: None"),
            ({"on_alarm": 1}, "`on_alarm` must be callable. Received: 1"),
            ({"window": 0}, "`window` must be a whole number, at least 1. Received: 0"),
            ({"significance": 0.1}, "`significance` must lie between 0 and 0.05. Received: 0.1"),
            ({"significance": 0}, "`significance` must lie between 0 and 0.05. Received: 0"),
            ({"false_positive_rate": 1}, "must lie between 0 and 1. Received: 1"),
        ],
    )
    def test_arguments(self, options, message):
        with pytest.raises(ValueError, match=message):
            a2d.DetectionLog(**options)

    def test_a_path_that_cannot_be_written(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            a2d.DetectionLog(tmp_path / "nowhere" / "log.jsonl")


class TestAlarms:
    """One alarm for each excursion beyond what the calibrated rate explains."""

    def by_definition(self, flags, window, significance, rate):
        """Go through the inputs, and return after which of them an alarm is due."""
        due, alarmed = [], False
        for end in range(1, len(flags) + 1):
            seen = flags[max(0, end - window) : end]
            test = stats.binomtest(int(seen.sum()), len(seen), rate, alternative="greater")
            if test.pvalue < significance and not alarmed:
                due.append((len(seen), int(seen.sum()), test.pvalue))
                alarmed = True
            elif test.pvalue >= 0.05:
                alarmed = False
        return due

    @pytest.mark.parametrize("rate", [None, 0.2])
    def test_by_definition(self, guarded, rate):
        rng = np.random.default_rng(0)
        shares = np.repeat([0.05, 0.4, 0.1, 0.5, 0.02, 0.25], 150)
        flags = rng.random(900) < shares
        sizes = rng.integers(1, 90, size=12)
        options = {"window": 60, "significance": 1e-3}
        alarms, log = watch(guarded, flags, sizes, false_positive_rate=rate, **options)
        found = [(a["window_inputs"], a["window_flagged"], a["p_value"]) for a in alarms]
        assert found == self.by_definition(flags, rate=rate or 0.05, **options)
        assert len(found) >= 2
        assert log.alarms == len(found)

    def test_a_share_that_hovers_at_the_limit_raises_one(self, guarded):
        """At nine of twenty, alarms would flutter if the next one could follow at once."""
        flags = np.tile(np.arange(20) % 5 < 2, 40)
        flags[::37] ^= True
        alarms, _ = watch(guarded, flags, [100] * 7, window=20, significance=3e-6)
        assert len(alarms) == 1

    def test_benign_inputs_at_the_rate_raise_none(self, guarded):
        flags = np.random.default_rng(1).random(50_000) < 0.05
        alarms, log = watch(guarded, flags, [1000] * 49)
        assert alarms == []
        assert log.inputs == 50_000

    def test_a_burst_is_noticed_before_the_window_is_full(self, guarded):
        alarms, _ = watch(guarded, np.ones(20, bool), [20])
        assert [alarm["window_inputs"] for alarm in alarms] == [5]  # 0.05**5 < 1e-6 < 0.05**4

    def test_the_rate_is_the_detectors(self, model):
        guarded = a2d.guard(model, false_positive_rate=0.5)
        alarms, _ = watch(guarded, np.ones(20, bool), [20])
        assert [alarm["window_inputs"] for alarm in alarms] == [20]  # 0.5**20 < 1e-6 < 0.5**19
        guarded.detector.promise(0.05)
        alarms, _ = watch(guarded, np.ones(20, bool), [20])
        assert [alarm["window_inputs"] for alarm in alarms] == [5]
