"""Call a guarded model with whatever comes: `python -m benchmarks.fuzz --calls 10000 --seed 0`.

Arrays of random types, shapes, layouts and values go to `predict`, to the model itself, to `adapt`
and to attacks, and random parameters to `guard` and to attacks. What is right is told by NumPy:
what must be refused, which rows are invalid, and what the same row gets alone. Anything else than
that answer, or than one sentence that ends in what was received, is printed, and the exit status
is 1. A call that hangs ends the run with a traceback.
"""

import argparse
import collections
import faulthandler
import sys
import warnings

import keras
import numpy as np
import tensorflow as tf

import a2d_keras as a2d

SHAPE = (2, 3, 1)
ATTACKS = (a2d.BIM(eps_iter=1e-3, max_iterations=99), a2d.BIM2(eps_iter=1e-3, max_iterations=99))
DTYPES = (
    *["float32"] * 8,
    *("float64", "float16", ">f4", "longdouble", "uint8", "int8", "int64", "uint64", "bool"),
    *("complex64", "object", "U5", "S5", "datetime64[s]", "V4"),
)
SCALES = (*[1] * 8, 255, 16, -1, 1e-40, 1e30, 1e300)
VALUES = (0, -0.0, 1, 1e-45, 1e-310, 1 + 5e-7, -5e-7, 1.00001, -1, 2, 300, 1e38, np.inf, np.nan)
ROWS = (0, 1, 1, 2, 3, 7, 40, 130)
SHAPES = (*[SHAPE] * 12, (6,), (2, 3), (2, 3, 2), (3, 2, 1), (2, 3, 1, 1), (0, 3, 1), ())
PARAMETERS = (0, 1, -1, 0.01, 0.5, 3, 1e-300, 1e300, np.inf, np.nan, True, None, "a", [], 10**6)
_HANGS = 300  # seconds; a busy machine may well leave a call waiting for one minute
_REPORT = 1000  # calls


class WrongAnswerError(Exception):
    """An answer that is not the right one."""


def main(argv=None):
    """Make the calls, and print how many came to what.

    Args:
        argv: Command line words. Defaults to those of the process.

    Returns:
        The exit status: 1 if anything crashed or was wrong, else 0.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz")
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    tf.get_logger().setLevel("ERROR")
    fuzzer, outcomes, failed = Fuzzer(), collections.Counter(), 0
    for number in range(arguments.calls):
        faulthandler.dump_traceback_later(_HANGS, exit=True, file=sys.__stderr__)
        kind, outcome = fuzzer.call(np.random.default_rng([arguments.seed, number]))
        outcomes[kind, outcome.partition(":")[0]] += 1
        if not outcome.startswith(("answered", "refused")):
            failed += 1
            print(f"call {number}, {kind}: {outcome}", flush=True)
        if (number + 1) % _REPORT == 0:
            print(f"{number + 1} calls, {failed} of them crashed or wrong so far", flush=True)
    faulthandler.cancel_dump_traceback_later()
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{count:6} {kind}, {outcome}")
    print(f"{sum(outcomes.values()):6} calls, {failed} of them crashed or wrong")
    return int(failed > 0)


class Fuzzer:
    """A tiny classifier, guarded in several ways, and what is right to say of its inputs."""

    def __init__(self):
        keras.utils.set_random_seed(0)
        layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)]
        self.model = keras.Sequential(layers)
        benign = np.random.default_rng(0).uniform(size=(100, *SHAPE)).astype("float32")
        self.benign = benign
        self.classifier = a2d.Classifier(self.model)
        crafted = a2d.BIM(eps_iter=0.05)(self.classifier, benign).adversarial
        options = {"attacks": ATTACKS, "slots": 16, "false_positive_rate": 0.1}
        self.guarded = [
            a2d.guard(self.model, on_invalid="raise", **options),
            a2d.guard(self.model, on_invalid="flag", **options),
            a2d.guard(self.model, on_invalid="flag", detector="knn", **options),
        ]
        for guarded in self.guarded:
            knn = guarded.detector.detector == "knn"
            guarded.adapt(benign, crafted if knn else None, verbose=0)
        self.adapted = a2d.guard(self.model, **options)
        self.adapted.adapt(benign, verbose=0)

    def call(self, random):
        """Make one call.

        Args:
            random: A NumPy random generator, which decides everything.

        Returns:
            What was called, and what came of it: `answered`, `refused`, or what went wrong.
        """
        kinds = (self.predict, self.dataset, self.layer, self.attack, self.adapt, self.parameters)
        make = kinds[random.choice(len(kinds), p=(0.45, 0.1, 0.15, 0.15, 0.02, 0.13))]
        try:
            return make.__name__, make(random)
        except WrongAnswerError as error:
            return make.__name__, f"wrong answer: {error}"
        except Exception as error:
            return make.__name__, f"crash: {type(error).__name__}: {error}"

    def predict(self, random):
        """Predict an array, list or tensor."""
        guarded, x = self._any_guarded(random), given(random)
        size = int(random.choice([0, 1, 8, 1000]))
        return self._judge(guarded, x, lambda: guarded.predict(x, batch_size=size, verbose=0))

    def dataset(self, random):
        """Predict a dataset of batches."""
        guarded, x = self._any_guarded(random), array(random)
        try:
            batches = tf.data.Dataset.from_tensor_slices(x).batch(int(random.choice([1, 8, 1000])))
        except (TypeError, ValueError):
            return "refused: no tensor can hold it"
        return self._judge(guarded, x, lambda: guarded.predict(batches, verbose=0))

    def layer(self, random):
        """Call the guarded model on a tensor."""
        guarded, x = self._any_guarded(random), array(random)
        try:
            tensor = tf.constant(x)
        except (TypeError, ValueError):
            return "refused: no tensor can hold it"
        return self._judge(guarded, x, lambda: arrays(guarded(tensor)))

    def attack(self, random):
        """Measure costs, with any budget."""
        attack, x = ATTACKS[random.integers(2)], given(random)
        budget = PARAMETERS[random.integers(len(PARAMETERS))] if random.random() < 0.3 else None
        run = refused_or(lambda: attack(self.classifier, x, budget=budget, slots=16))
        invalid = find_invalid(x)
        whole = isinstance(budget, int) and budget >= 1
        if invalid is None or invalid.any() or not (budget is None or whole):
            require(isinstance(run, str), "what is not to be attacked was attacked")
            return run
        require(not isinstance(run, str), run)
        require(len(run.cost) == len(run.adversarial) == len(invalid), "rows")
        within = (run.adversarial >= 0) & (run.adversarial <= 1)
        require(within.all(), "an adversarial example out of bounds")
        most = min(attack.max_iterations, budget or attack.max_iterations)
        require(((run.cost >= 1) & (run.cost <= most)).all(), "cost")
        if len(invalid):
            row = random.integers(len(invalid))
            alone = attack(self.classifier, np.asarray(x)[row : row + 1], budget=budget, slots=16)
            require(alone.cost[0] == run.cost[row], "another cost alone")
        return "answered"

    def adapt(self, random):
        """Adapt on any array; what is refused leaves the detector as it was."""
        x = given(random)
        before = self.adapted.get_weights()
        refusal = refused_or(lambda: self.adapted.adapt(x, verbose=0))
        invalid = find_invalid(x)
        if invalid is None or invalid.any() or len(invalid) < 17:
            require(refusal is not None, "adapted on what cannot be learned from")
            same = map(np.array_equal, before, self.adapted.get_weights())
            require(all(same), "half adapted")
            return refusal
        require(refusal is None, refusal)
        return self._judge(self.adapted, self.benign, lambda: arrays(self.adapted(self.benign)))

    def parameters(self, random):
        """Make an attack, or guard the model, with any parameters."""
        value = PARAMETERS[random.integers(len(PARAMETERS))]
        number = isinstance(value, (int, float))
        whole = isinstance(value, int) and value >= 1
        options = {
            "eps": number and 1e-37 < value < np.inf,
            "eps_iter": number and 1e-37 < value < np.inf,
            "max_iterations": whole,
            "slots": whole,
            "false_positive_rate": number and 0 < value < 1,
            "detector": False,
            "on_invalid": False,
            "on_changed_weights": False,
            "attacks": value is None,  # which chooses one
            "bounds": False,
            "model": False,
        }
        name = list(options)[random.integers(len(options))]
        if name in ("eps", "eps_iter", "max_iterations"):
            made = refused_or(lambda: a2d.BIM(**{name: value}))
        else:
            arguments = {"model": self.model, "attacks": ATTACKS, name: value}
            made = refused_or(lambda: a2d.guard(**arguments))
        refused = isinstance(made, str)
        require(refused != options[name], f"{name}={value!r}: {made if refused else 'taken'}")
        return made if refused else "answered"

    def _any_guarded(self, random):
        return self.guarded[random.integers(len(self.guarded))]

    def _judge(self, guarded, x, run):
        """Compare an answer to what is right."""
        flags = guarded.detector.on_invalid == "flag"
        out, invalid = refused_or(run), find_invalid(x)
        if invalid is None or (invalid.any() and not flags):
            require(isinstance(out, str), "what is to be refused was answered")
            return out
        require(not isinstance(out, str), out)
        require({len(values) for values in out.values()} == {len(invalid)}, "rows")
        require(out["is_adversarial"][invalid].all(), "an invalid row is not flagged")
        require(np.isnan(out["score"][invalid]).all(), "an invalid row has a score")
        require((out["cost"][invalid] == 0).all(), "an invalid row has a cost")
        valid = ~invalid
        require(np.isfinite(out["score"][valid]).all(), "the score of a valid row is not finite")
        require((out["cost"][valid] >= 1).any(axis=1).all(), "a valid row was not attacked")
        images = np.clip(np.asarray(x)[valid].astype("float32"), 0, 1)
        expected = self.classifier.logits(images).numpy()
        near = np.allclose(out["predictions"][valid], expected, atol=1e-4)
        require(near, "predictions")
        if valid.any():
            row = np.flatnonzero(valid)[len(x) % valid.sum()]
            alone = arrays(guarded(tf.constant(np.asarray(x)[row : row + 1].astype("float32"))))
            for name in ("is_adversarial", "score", "cost", "exact"):
                same = np.array_equal(alone[name][0], out[name][row], equal_nan=True)
                require(same, f"another {name} alone")
        return "answered"


def array(random):
    """Make an array of anything.

    Args:
        random: A NumPy random generator.

    Returns:
        The array.
    """
    shape = SHAPES[random.integers(len(SHAPES))]
    shape = (int(random.choice(ROWS)), *shape) if shape else ()
    x = np.asarray(random.uniform(size=shape) * SCALES[random.integers(len(SCALES))])
    for _ in range(random.integers(4) if random.random() < 0.4 and x.size else 0):
        x.reshape(-1)[random.integers(x.size)] = VALUES[random.integers(len(VALUES))]
    with np.errstate(all="ignore"):
        dtype = DTYPES[random.integers(len(DTYPES))]
        x = np.zeros(shape, dtype) if dtype == "V4" else x.astype(dtype)
    layout = random.integers(6) if x.ndim else 0
    if layout == 1:
        x = np.repeat(x, 2, axis=0)[::2]
    elif layout == 2:
        x = x[::-1]
    elif layout == 3:
        x = np.asfortranarray(x)
    elif layout == 4:
        x.flags.writeable = False
    return x


def given(random):
    """Make an array of anything, or a list or a tensor of it.

    Args:
        random: A NumPy random generator.

    Returns:
        What was made; now and then no array at all.
    """
    x, form = array(random), random.random()
    if form < 0.05 and x.ndim:
        return x.tolist()
    if form < 0.15:
        try:
            return tf.constant(x)
        except (TypeError, ValueError):
            return x
    return [[1, 2], [3]] if form < 0.16 else None if form < 0.17 else x


def find_invalid(x):
    """Tell what is right: which rows are invalid.

    Args:
        x: Whatever was given.

    Returns:
        Which rows are invalid, bool, (n,), or None if all of it must be refused.
    """
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


def refused_or(run):
    """Run a call, which may be refused.

    Args:
        run: The call, a function.

    Returns:
        What it returned, or `refused: ` and the sentence.
    """
    try:
        return run()
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        require("Received: " in str(error), f"no sentence: {error}")
        return f"refused: {error}"


def require(condition, sentence):
    """Tell of a wrong answer.

    Args:
        condition: Whether it is right.
        sentence: What is wrong where it is not.

    Raises:
        WrongAnswerError: If the condition does not hold.
    """
    if not condition:
        raise WrongAnswerError(sentence)


def arrays(outputs):
    """Turn tensors into arrays.

    Args:
        outputs: A dict of tensors.

    Returns:
        A dict of arrays.
    """
    return {name: np.asarray(values) for name, values in outputs.items()}


if __name__ == "__main__":
    sys.exit(main())
