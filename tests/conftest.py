import pathlib

import keras
import numpy as np
import pytest

import a2d_keras as a2d
from models import datasets, zoo


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
    """Correctly classified test digits, 40 to look at."""
    predicted = model.predict(digits.x_test, verbose=0).argmax(-1)
    return digits.x_test[predicted == digits.y_test][:40]


@pytest.fixture(scope="session")
def held_out(digits):
    """Benign digits to adapt on."""
    return digits.x_test[300:]


@pytest.fixture(scope="session")
def adversarial(classifier, benign):
    return a2d.BIM(eps_iter=0.01, max_iterations=50)(classifier, benign).adversarial


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
    """What the authors' own code counted, on its classifier: see `tests/data/README.md`."""
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
    """A classifier that answers with a label and has no gradient."""
    inputs = keras.Input((8, 8, 1))
    label = keras.layers.Lambda(lambda p: keras.ops.one_hot(keras.ops.argmax(p, -1), 10))
    return a2d.Classifier(keras.Model(inputs, label(model(inputs))), from_logits=True)
