import dataclasses
import gc
import os
import pathlib

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers

import a2d_keras as a2d
from baselines.comparison import Options, protocols
from baselines.comparison.core import evaluate
from baselines.comparison.measurements import Measurements, Split
from baselines.env1.settings import FIGURE_3
from baselines.kernel_density import KernelDensityUncertainty
from baselines.local_dimension import LocalDimension
from models import datasets, registry, zoo

# TensorFlow keeps millions of objects, and traces graphs by making many more: looked through as
# often as Python does by default, they take a fifth of the run.
gc.freeze()
gc.set_threshold(100_000, 20, 100)

# Processes side by side share the cores. Threads beyond that wait for work by spinning, which took
# a sixth of the run.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    threads = max(1, (os.cpu_count() or 1) // workers)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


@pytest.fixture(scope="session")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="session")
def model():
    """The trained digits classifier."""
    return zoo.load("digits")


@pytest.fixture(scope="session")
def classifier(model):
    return a2d.Classifier(model)


@pytest.fixture(scope="session")
def benign(digits, model):
    """40 correctly classified test digits."""
    predicted = model.predict(digits.x_test, verbose=0).argmax(-1)
    return digits.x_test[predicted == digits.y_test][:40]


@pytest.fixture(scope="session")
def held_out(digits):
    """Benign digits to adapt on."""
    return digits.x_test[300:]


@pytest.fixture(scope="session")
def adversarial(classifier, benign):
    return a2d.BIM(eps_iter=0.01, max_iterations=50)(classifier, benign).adversarial


@pytest.fixture(scope="session")
def guard_digits(classifier, held_out, adversarial):
    """Guard digits as `guard` does, adapted; what is learned is learned once a session.

    `guard_digits(**options)` is a fresh guarded model, for a test to change as it likes. It takes
    the options of `guard`, `count`, the number of inputs to adapt on (by default all of
    `held_out`), and in the place of the shared `Classifier` another model, such as a copy of it.
    """
    learned = {}
    run_options = {field.name for field in dataclasses.fields(a2d.GuardOptions)}  # not learned

    def guard_digits(classifier=classifier, *, count=None, **options):
        guarded = a2d.guard(classifier, **options)
        detector = guarded.detector
        matter = sorted((name, repr(options[name])) for name in {*options} - run_options)
        key = (detector.classifier.weights_hash(), count, *matter)
        if key in learned:
            guarded.set_weights(learned[key])
        else:
            crafted = adversarial if detector.rule.needs_adversarial else None
            guarded.adapt(held_out[:count], crafted, verbose=0)
            learned[key] = guarded.get_weights()
        return guarded

    return guard_digits


@pytest.fixture(scope="session")
def guarded(guard_digits):
    """A guarded model that tests must not change, so that its graphs are traced once."""
    return guard_digits()


@pytest.fixture(scope="session")
def guarded_by_costs(guard_digits):
    """Like `guarded`, but it judges the cost of an attack, as the paper does."""
    return guard_digits(rule="zscore")


@pytest.fixture(
    scope="session",
    params=["statistics", pytest.param("costs", marks=pytest.mark.slow)],
)
def each_guarded(request):
    """The default guard, and the one by costs: for what every guard does."""
    return request.getfixturevalue(
        {"statistics": "guarded", "costs": "guarded_by_costs"}[request.param]
    )


@pytest.fixture
def small_images():
    return np.random.default_rng(1).uniform(size=(12, 6, 6, 2)).astype("float32")


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def reference():
    """The counts of the authors' own code on its classifier: see `tests/data/README.md`."""
    arrays = np.load(pathlib.Path(__file__).parent / "data" / "digits_reference.npz")
    model = zoo.build("digits")
    model.set_weights([arrays[f"weight_{i}"] for i in range(8)])
    x = np.concatenate([arrays["benign"], arrays["adversarial"]])
    kinds = ("benign", "adversarial")
    names = ("bim", "bim2", "jsma", "dba")
    counts = {name: np.concatenate([arrays[f"{name}_{kind}"] for kind in kinds]) for name in names}
    return model, x, counts


@pytest.fixture(scope="session")
def labels_only(model):
    """A classifier that returns labels only and has no gradient."""
    inputs = keras.Input((8, 8, 1))
    label = keras.layers.Lambda(lambda p: keras.ops.one_hot(keras.ops.argmax(p, -1), 10))
    return a2d.Classifier(keras.Model(inputs, label(model(inputs))), from_logits=True)


@pytest.fixture(scope="session")
def measurements():
    """Made-up measurements of Env1 on 60 inputs, with the real baselines."""
    generator, settings = np.random.default_rng(0), registry.find("digits").settings

    def split(count, each):
        steps = {"benign": generator.integers(60, 400, (count, 4))}
        for attack in settings.attacks:
            steps[attack] = generator.integers(1, 160, (each, 4))
        fooled = {attack: generator.random(each) < 0.8 for attack in settings.attacks}
        inputs = {kind: generator.random((len(rows), 8, 8, 1)) for kind, rows in steps.items()}
        frames = {k: pd.DataFrame(v, columns=settings.defences) for k, v in steps.items()}
        return Split(inputs, fooled, frames, {kind: 18 * frame for kind, frame in frames.items()})

    test = split(60, 60)
    dense = keras.Sequential([keras.Input((2,)), layers.Dropout(0.5), layers.Dense(2, "softmax")])
    x = generator.random((40, 2), "float32")
    baselines = {
        "BL1": KernelDensityUncertainty(dense, x, np.arange(40) % 2),
        "BL2": LocalDimension(dense),
    }
    kinds = [*test.inputs, *(f"noisy {attack}" for attack in test.fooled)]
    characteristics = {
        name: {kind: generator.normal(kind in test.fooled, 1, (60, 2)) for kind in kinds}
        for name in baselines
    }
    deepfool = generator.integers(1, 30, 60)
    extra = {"DeepFool": deepfool}
    return Measurements(test, split(80, 20), extra, baselines, characteristics)


@pytest.fixture(scope="session")
def evaluated(measurements):
    """The scores and tables of the measurements, with few resamples and so rough intervals."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocols, "RESAMPLES", 30)
        return evaluate(measurements, Options(halves=FIGURE_3))
