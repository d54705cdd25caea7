"""Any input is answered, flagged or refused in one sentence, as a check in NumPy expects."""

import warnings
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

import a2d_keras as a2d

pytestmark = pytest.mark.slow

SHAPE = (2, 3, 1)
ATTACKS = (a2d.BIM(eps_iter=1e-3, max_iterations=99), a2d.BIM2(eps_iter=1e-3, max_iterations=99))
GUARDS = ("statistics", "flag", "raise")
MIN_BENIGN = 17  # enough to adapt two attacks at a false positive rate of 0.1
DTYPES = (
    *("float32", "float64", "float16", ">f4", "longdouble"),
    *("uint8", "int8", "int64", "uint64", "bool", "complex64"),
    *("object", "U5", "S5", "datetime64[s]", "V4"),
)
SCALES = (1, 255, 16, -1, 1e-40, 1e30, 1e300)
VALUES = (0, -0.0, 1, 1e-45, 1e-310, 1 + 5e-7, -5e-7, 1.00001, -1, 2, 300, 1e38, np.inf, np.nan)
ROWS = (1, 0, 2, 3, 7, 40, 130)
OTHER_SHAPES = ((6,), (2, 3), (2, 3, 2), (3, 2, 1), (2, 3, 1, 1), (0, 3, 1), ())
PARAMETERS = (0, 1, -1, 0.01, 0.5, 3, 1e-300, 1e300, np.inf, np.nan, True, None, "a", [], 10**6)
LAYOUTS = (
    lambda x: x,
    lambda x: np.repeat(x, 2, axis=0)[::2],
    lambda x: x[::-1],
    np.asfortranarray,
    lambda x: (x.setflags(write=False), x)[1],
)


def mostly(usual, *others):
    """Draw the usual value in half of the cases; shrinking ends at it too."""
    return st.just(usual) | st.sampled_from((usual, *others))


@st.composite
def arrays(draw):
    """Arrays of any type, shape, layout and values; the model takes half of them."""
    shape = draw(mostly(SHAPE, *OTHER_SHAPES))
    shape = (draw(st.sampled_from(ROWS)), *shape) if shape else ()
    generator = np.random.default_rng(draw(st.integers(0, 999)))
    x = np.asarray(generator.uniform(size=shape) * draw(mostly(*SCALES)))
    values = st.sampled_from(VALUES) | st.floats()
    changes = st.tuples(st.integers(0, x.size - 1), values)
    for place, value in draw(st.lists(changes, max_size=3)) if x.size else []:
        x.reshape(-1)[place] = value
    dtype = draw(mostly(*DTYPES))
    with np.errstate(all="ignore"):
        x = np.zeros(shape, dtype) if dtype == "V4" else x.astype(dtype)
    return draw(st.sampled_from(LAYOUTS))(x) if x.ndim else x


@st.composite
def anything(draw):
    """An array, or a list or a tensor of it, or no array at all."""
    x, form = draw(arrays()), draw(mostly("array", "list", "tensor", "ragged", "none"))
    if form == "list" and x.ndim:
        return x.tolist()
    if form == "tensor":
        return tensor_or_none(x) if tensor_or_none(x) is not None else x
    return {"ragged": [[1, 2], [3]], "none": None}.get(form, x)


def tensor_or_none(x):
    try:
        return tf.constant(x)
    except (TypeError, ValueError):
        return None


def find_invalid(x):
    """Return which rows are invalid, bool, (n,), or None if everything must be refused."""
    try:
        x = np.asarray(x)
    except ValueError:
        return None
    if x.dtype.kind not in "buif" or x.dtype == np.longdouble or x.shape[1:] != SHAPE:
        return None
    with np.errstate(over="ignore"):
        x = x.astype("float32").astype("float64")
    valid = np.isfinite(x) & (x >= -1e-6) & (x <= 1 + 1e-6)
    return ~valid.reshape(len(x), 6).all(axis=1)


def outcome(run):
    """Run a call; return its result, or the sentence of its refusal."""
    try:
        return run()
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        refusal = str(error)
    assert "Received: " in refusal, f"no sentence: {refusal}"
    return refusal


def as_arrays(outputs):
    return {name: np.asarray(values) for name, values in outputs.items()}


@pytest.fixture(scope="module")
def fuzzed():
    """A tiny classifier, guarded by each rule; one guard flags invalid inputs, one refuses them."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    benign = np.random.default_rng(0).uniform(size=(100, *SHAPE)).astype("float32")
    classifier = a2d.Classifier(model)
    crafted = a2d.BIM(eps_iter=0.05)(classifier, benign).adversarial
    options = {"attacks": ATTACKS, "slots": 16, "false_positive_rate": 0.1}
    guards = {
        "flag": a2d.guard(model, on_invalid="flag", **options),
        "raise": a2d.guard(model, on_invalid="raise", rule="knn", **options),
        "statistics": a2d.guard(model, on_invalid="flag", false_positive_rate=0.1),  # the default
    }
    guards["flag"].adapt(benign, verbose=0)
    guards["raise"].adapt(benign, crafted, verbose=0)
    guards["statistics"].adapt(benign, verbose=0)
    return SimpleNamespace(model=model, classifier=classifier, benign=benign, guards=guards)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def judge(fuzzed, guarded, x, run):
    """Check an answer: refused, or right for every row, and the same for one row alone."""
    out, invalid = outcome(run), find_invalid(x)
    flags = guarded is not fuzzed.guards["raise"]
    if invalid is None or (invalid.any() and not flags):
        assert isinstance(out, str), "what is to be refused was answered"
        return
    assert not isinstance(out, str), out
    assert {len(values) for values in out.values()} == {len(invalid)}
    assert out["is_adversarial"][invalid].all()
    assert np.isnan(out["score"][invalid]).all()
    valid = ~invalid
    assert np.isfinite(out["score"][valid]).all()
    assert (out["cost"][invalid] == 0).all()
    if "exact" in out:
        assert (out["cost"][valid] >= 1).any(axis=1).all()
    else:
        assert (out["p_value"][invalid] == 0).all()
        assert ((out["p_value"][valid] > 0) & (out["p_value"][valid] <= 1)).all()
    images = np.clip(np.asarray(x)[valid].astype("float32"), 0, 1)
    expected = fuzzed.classifier.logits(images).numpy()
    np.testing.assert_allclose(out["predictions"][valid], expected, atol=1e-4)
    if len(invalid):
        alone = as_arrays(guarded(tf.constant(np.asarray(x)[-1:].astype("float32"))))
        for name in out.keys() - {"predictions"}:
            np.testing.assert_allclose(alone[name], out[name][-1:], rtol=1e-3, atol=1e-5)


def limited(examples):
    return settings(max_examples=examples, derandomize=True, deadline=None, database=None)


ROW = np.full((1, *SHAPE), 0.5, "float32")


def test_predict(fuzzed):
    @limited(1000)
    @given(name=st.sampled_from(GUARDS), x=anything(), size=st.sampled_from((None, 8)))
    @example(name="flag", x=np.where(np.arange(7)[:, None, None, None] % 2, 2.0, ROW), size=8)
    @example(name="flag", x=np.full((3, *SHAPE), np.nan), size=None)
    @example(name="raise", x=np.repeat(ROW, 3, axis=0), size=None)
    def check(name, x, size):
        guarded = fuzzed.guards[name]
        judge(fuzzed, guarded, x, lambda: guarded.predict(x, batch_size=size, verbose=0))

    check()


def test_predict_on_datasets(fuzzed):
    @limited(200)
    @given(name=st.sampled_from(GUARDS), x=arrays(), size=st.sampled_from((8, 1000)))
    @example(name="flag", x=np.repeat(ROW, 9, axis=0), size=8)
    def check(name, x, size):
        guarded, tensor = fuzzed.guards[name], tensor_or_none(x)
        if tensor is not None and tensor.shape.rank:
            batches = tf.data.Dataset.from_tensor_slices(x).batch(size)
            judge(fuzzed, guarded, x, lambda: guarded.predict(batches, verbose=0))

    check()


def test_call(fuzzed):
    @limited(500)
    @given(name=st.sampled_from(GUARDS), x=arrays())
    def check(name, x):
        guarded, tensor = fuzzed.guards[name], tensor_or_none(x)
        if tensor is not None:
            judge(fuzzed, guarded, x, lambda: as_arrays(guarded(tensor)))

    check()


def test_attack(fuzzed):
    @limited(500)
    @given(
        attack=st.sampled_from(ATTACKS),
        x=anything(),
        budget=mostly(None, *PARAMETERS),
    )
    @example(attack=ATTACKS[0], x=np.repeat(ROW, 3, axis=0), budget=3)
    def check(attack, x, budget):
        run = outcome(lambda: attack(fuzzed.classifier, x, budget=budget, slots=16))
        invalid = find_invalid(x)
        whole = isinstance(budget, int) and budget >= 1
        if invalid is None or invalid.any() or not (budget is None or whole):
            assert isinstance(run, str), "what is not to be attacked was attacked"
            return
        assert not isinstance(run, str), run
        assert len(run.cost) == len(run.adversarial) == len(invalid)
        assert ((run.adversarial >= 0) & (run.adversarial <= 1)).all()
        limit = min(attack.max_iterations, budget or attack.max_iterations)
        assert ((run.cost >= 1) & (run.cost <= limit)).all()
        if len(invalid):
            alone = attack(fuzzed.classifier, np.asarray(x)[-1:], budget=budget, slots=16)
            assert alone.cost[0] == run.cost[-1]

    check()


def test_adapt(fuzzed):
    @limited(100)
    @given(name=st.sampled_from(("statistics", "flag")), x=anything())
    @example(name="statistics", x=np.random.default_rng(1).uniform(size=(40, *SHAPE)))
    @example(name="flag", x=np.random.default_rng(1).uniform(size=(40, *SHAPE)))
    def check(name, x):
        guarded = fuzzed.guards[name]
        before = guarded.get_weights()
        refusal = outcome(lambda: guarded.adapt(x, verbose=0))
        invalid = find_invalid(x)
        if invalid is None or invalid.any() or len(invalid) < MIN_BENIGN:
            assert isinstance(refusal, str), "adapted on what nothing can be learned from"
            for old, new in zip(before, guarded.get_weights(), strict=True):
                np.testing.assert_array_equal(old, new)  # not half adapted
            return
        assert not isinstance(refusal, str), refusal
        out = guarded.predict(fuzzed.benign[:20], verbose=0)
        assert np.isfinite(out["score"]).all()

    check()


def number(value):
    return isinstance(value, (int, float))


def whole(value):
    return isinstance(value, int) and value >= 1


def length(value):
    return number(value) and 1e-37 < value < np.inf


ATTACK_PARAMETERS = {"eps": length, "eps_iter": length, "max_iterations": whole}
GUARD_PARAMETERS = {
    "slots": whole,
    "false_positive_rate": lambda value: number(value) and 0 < value < 1,
    "rule": lambda value: value is None,  # the default
    "on_invalid": lambda value: False,
    "on_changed_weights": lambda value: False,
    "attacks": lambda value: value is None,  # the default
    "bounds": lambda value: value is None,  # the default
    "model": lambda value: False,
}


@pytest.mark.parametrize("value", PARAMETERS, ids=repr)
def test_parameters(fuzzed, value):
    for name, right in ATTACK_PARAMETERS.items():
        made = outcome(lambda name=name: a2d.BIM(**{name: value}))
        assert isinstance(made, str) != right(value), f"{name}={value!r}: {made}"
    for name, right in GUARD_PARAMETERS.items():
        arguments = {"model": fuzzed.model, "attacks": ATTACKS, name: value}
        model = arguments.pop("model")
        made = outcome(lambda model=model, given=arguments: a2d.guard(model, **given))
        assert isinstance(made, str) != right(value), f"{name}={value!r}: {made}"
