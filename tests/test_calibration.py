"""`slots="auto"` is calibrated once for everything that is measured with it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import a2d_keras as a2d
from a2d_keras.attacks.engine import calibration
from models import zoo

COUNTS = (32, 64, 128, 256, 512)


@pytest.fixture(scope="module", autouse=True)
def _not_for_long():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "_SECONDS", 0.3)
        yield


def small(shape=(6, 6, 1)):
    layers = keras.layers
    return keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(4)])


@pytest.fixture(scope="module")
def fresh():
    """A classifier that was not timed yet."""
    return a2d.Classifier(small())


@pytest.fixture
def timed(monkeypatch):
    """The attacks that are timed."""
    attacks, measure = [], calibration._fastest

    def record(attack, classifier):
        attacks.append(attack)
        return measure(attack, classifier)

    monkeypatch.setattr(calibration, "_fastest", record)
    return attacks


@pytest.mark.parametrize(
    "attack",
    [a2d.BIM(), a2d.JSMA(targeted=True), a2d.DBA(), a2d.CarliniWagner(), a2d.LSA()],
    ids=lambda attack: type(attack).__name__,
)
def test_is_one_of_the_counts(fresh, attack):
    assert attack.best_slots(fresh) in COUNTS


@pytest.mark.slow
def test_is_found_once_for_each_kind_of_attack(timed):
    classifier = a2d.Classifier(small())
    for eps_iter in (0.001, 0.002):
        attack = a2d.BIM(eps_iter=eps_iter)
        assert attack.best_slots(classifier) == a2d.BIM().best_slots(classifier)
    a2d.JSMA().best_slots(classifier)
    assert [type(attack) for attack in timed] == [a2d.BIM, a2d.JSMA]


@pytest.mark.slow
def test_costs_do_not_depend_on_it(classifier, benign):
    attack = a2d.BIM()
    auto, fixed = attack(classifier, benign, slots="auto"), attack(classifier, benign)
    assert np.mean(auto.cost == fixed.cost) >= 0.95
    np.testing.assert_array_equal(auto.success, fixed.success)


@pytest.mark.slow
def test_inputs_to_start_from_lie_in_their_own_ranges():
    classifier = a2d.Classifier(small((2,)), bounds=([0, 0], [90, 1e6]))
    attack = a2d.DBA(starts=[[18, 1e5]], max_iterations=2)
    assert attack(classifier, [[40, 2e5]], slots="auto").cost.shape == (1,)


@pytest.mark.parametrize(
    ("times", "best"),
    [((3, 1, 2, 2, 2), 64), ((1.2, 1.02, 1, 1.01, 1.1), 64), ((1, 1, 1, 1, 1), 32)],
    ids=["one is fastest", "three are as fast", "all are"],
)
def test_the_smallest_of_the_fast_counts_is_taken(monkeypatch, fresh, times, best):
    """A clock of a machine with a given time per input for each count."""
    per_input = dict(zip(COUNTS, times, strict=True))
    monkeypatch.setattr(calibration, "_SECONDS", 1e9)
    monkeypatch.setattr(calibration, "_seconds", lambda step, x, _=1: len(x) * per_input[len(x)])
    assert calibration._fastest(a2d.BIM(), fresh) == best


def test_one_slow_moment_misleads_nobody(monkeypatch, fresh):
    """Each count is timed several times, in turn, each time on the same number of inputs."""
    inputs, times = [], iter([1, 1, 1, 1, 1] + [1, 2, 4, 8, 99] + 3 * [1, 2, 4, 8, 9])
    monkeypatch.setattr(calibration, "_SECONDS", 1e9)
    monkeypatch.setattr(
        calibration, "_seconds", lambda _, x, n=1: inputs.append(len(x) * n) or next(times)
    )
    assert calibration._fastest(a2d.BIM(), fresh) == 512
    assert inputs == [*COUNTS] + 4 * 5 * [512]


def test_a_slow_model_is_not_timed_for_long(monkeypatch, fresh):
    steps = []
    monkeypatch.setattr(calibration, "_SECONDS", 0.0)
    monkeypatch.setattr(calibration, "_seconds", lambda step, x, _=1: steps.append(len(x)) or 60.0)
    assert calibration._fastest(a2d.BIM(), fresh) == 32
    assert steps == [32]


def test_a_slow_compilation_is_not_a_slow_step(monkeypatch, fresh):
    """Each first call compiles, and only later ones are timed."""
    called, clock = [], iter(range(10**6))
    monkeypatch.setattr(calibration, "_compiled_step", lambda *_: lambda x: called.append(len(x)))
    monkeypatch.setattr(calibration, "_seconds", lambda *_: 0.001)
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: 60 * next(clock))
    assert calibration._fastest(a2d.BIM(), fresh) == 512
    assert called == list(COUNTS)


def test_without_a_step_it_is_the_default(fresh, timed):
    assert a2d.LBFGS().best_slots(fresh) == 128
    assert not timed
    substitute = a2d.Classifier(small())
    a2d.Transfer(substitute=substitute).best_slots(fresh)
    assert [type(attack) for attack in timed] == [a2d.FGSM]


@pytest.mark.slow
def test_sides_left_open(timed):
    stack = [keras.layers.Conv2D(4, 3), keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((None, None, 1)), *stack])
    options = a2d.RunOptions(slots="auto")
    costs = a2d.AttackCosts(model, options=options).transform(np.full((3, 9, 9, 1), 0.5))
    assert costs.shape == (3, 1)
    assert len(timed) == 1


class TestGuarded:
    @pytest.fixture(scope="class", autouse=True)
    def _few_counts(self):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(calibration, "_COUNTS", (32, 64))
            yield

    @pytest.fixture(scope="class")
    def guarded(self, guard_digits):
        return guard_digits(zoo.load("digits"), slots="auto", rule="zscore")

    @pytest.mark.slow
    def test_verdicts_do_not_depend_on_it(self, guarded, guard_digits, benign, adversarial):
        fixed = guard_digits(rule="zscore")
        x = np.concatenate([benign, adversarial])
        verdicts = [g.predict(x, verbose=0)["is_adversarial"] for g in (guarded, fixed)]
        np.testing.assert_array_equal(*verdicts)

    @pytest.mark.slow
    def test_batches_follow(self, guarded, digits):
        (count,) = guarded.detector.slot_counts
        batches = []

        class Count(keras.callbacks.Callback):
            def on_predict_batch_end(self, batch, logs=None):
                batches.append(batch)

        x = np.repeat(digits.x_test[:1], 8 * count + 1, axis=0)
        for inputs, expected in ((x[1:], [0]), (x, [0, 1])):
            batches.clear()
            guarded.predict(inputs, verbose=0, callbacks=[Count()])
            assert batches == expected

    @pytest.mark.slow
    def test_saved_loaded_and_exported(self, guarded, benign, tmp_path, timed):
        """The machine that loads a model calibrates again; an exported model keeps its count."""
        expected = guarded.predict(benign, verbose=0)
        guarded.save(tmp_path / "guarded.keras")
        loaded = keras.models.load_model(tmp_path / "guarded.keras")
        assert loaded.detector.options.slots == "auto"
        loaded.export(tmp_path / "serving")
        assert len(timed) == 1
        exported = tf.saved_model.load(tmp_path / "serving")
        served = exported.serve(tf.constant(benign))
        np.testing.assert_array_equal(served["is_adversarial"], expected["is_adversarial"])

    @pytest.mark.slow
    def test_inside_another_model(self, guarded, benign, timed):
        layer = a2d.DetectorLayer(guarded.detector.model, slots="auto", rule="zscore")
        layer.set_weights(guarded.detector.get_weights())
        inputs = keras.Input((8, 8, 1))
        flagged = keras.Model(inputs, layer(inputs)["is_adversarial"])
        expected = guarded.predict(benign, verbose=0)["is_adversarial"]
        np.testing.assert_array_equal(flagged.predict(benign, verbose=0), expected)
        assert len(timed) == 1  # while the graph of `predict` was traced


@pytest.mark.slow
def test_a_monitor_takes_it(benign):
    model = zoo.load("digits")
    model.compile("sgd", "sparse_categorical_crossentropy")
    monitor = a2d.AttackCostMonitor(benign, attack=a2d.BIM(max_iterations=3), slots="auto")
    logs = model.fit(benign, np.zeros(len(benign)), verbose=0, callbacks=[monitor]).history
    assert logs["val_attack_cost"][0] <= 3


@pytest.mark.parametrize("slots", ["Auto", "", None, 0, 2.0])
def test_anything_else_is_refused(fresh, benign, slots):
    with pytest.raises(ValueError, match='at least 1, or "auto". Received: '):
        a2d.BIM()(fresh, benign, slots=slots)
    with pytest.raises(ValueError, match='at least 1, or "auto". Received: '):
        a2d.guard(fresh.model, slots=slots)
