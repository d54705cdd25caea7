import ast
import dataclasses
import json

import keras
import numpy as np
import pytest
from tensorflow.python.framework.config import disable_op_determinism

from models import datasets, registry, train, zoo
from models.record import Adversary, Dataset, Denoising

pytestmark = pytest.mark.checkout


def test_digits_are_split_once_and_for_all(digits):
    assert digits.x_train.shape == (1197, 8, 8, 1)
    assert digits.x_test.shape == (600, 8, 8, 1)
    assert digits.x_train.dtype == np.float32
    assert digits.y_train.dtype == np.int64
    assert digits.x_train.min() == 0
    assert digits.x_train.max() == 1
    for left, right in zip(digits, datasets.load("digits"), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.fixture
def data_dir(tmp_path):
    """A folder like the Keras cache, with a few made-up images."""
    rng = np.random.default_rng(0)
    for name, shape in (("mnist", (28, 28)), ("cifar10", (32, 32, 3))):
        x = rng.integers(0, 256, size=(5, *shape), dtype="uint8")
        y = np.arange(5, dtype="uint8")[:, None] if name == "cifar10" else np.arange(5)
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    return tmp_path


@pytest.mark.parametrize(("name", "shape"), [("mnist", (28, 28, 1)), ("cifar10", (32, 32, 3))])
def test_reads_a_data_folder(name, shape, data_dir, monkeypatch):
    named = datasets.load(name, data_dir)
    monkeypatch.setenv("A2D_DATA_DIR", str(data_dir))
    from_environment = datasets.load(name)
    for data in (named, from_environment):
        assert data.x_train.shape == (5, *shape)
        assert data.x_test.shape == (2, *shape)
        assert 0 <= data.x_train.min() < data.x_train.max() <= 1
        np.testing.assert_array_equal(data.y_train, np.arange(5))


def test_says_where_it_looked(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no mnist.npz.*Received: {tmp_path}"):
        datasets.load("mnist", tmp_path)


def test_offline_and_absent(monkeypatch):
    def unreachable():
        raise Exception("URL fetch failure on https://example.org: no route")

    monkeypatch.delenv("A2D_DATA_DIR", raising=False)
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", unreachable)
    with pytest.raises(FileNotFoundError, match="not in the Keras cache.*--data-dir.*no route"):
        datasets.load("cifar10")


def test_refuses_other_names():
    for function in (datasets.load, zoo.build):
        with pytest.raises(ValueError, match="digits, mnist, .*, magnet_ii. Received: 'svhn'"):
            function("svhn")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        *(("digits", 38_282), ("mnist", 1_218_634), ("cifar10", 2_915_114)),
        *(("lenet5", 61_706), ("resnet20", 274_042)),
        *(("mnist_robust", 1_218_634), ("cifar10_robust", 2_915_114)),
    ],
)
def test_architectures(name, parameters):
    model = zoo.build(name)
    assert model.output_shape == (None, 10)
    assert model.count_params() == parameters


@pytest.mark.parametrize(("name", "parameters"), [("magnet_i", 310), ("magnet_ii", 142)])
def test_autoencoders_are_those_of_magnet(name, parameters):
    model = zoo.build(name)
    assert model.input_shape == model.output_shape == (None, 28, 28, 1)
    assert model.count_params() == parameters


def test_an_autoencoder_learns_to_take_noise_away(digits, own_weights, monkeypatch):
    toy = dataclasses.replace(
        registry.RECORDS["digits"],
        layers=lambda: [keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 3, padding="same")],
        optimizer=lambda steps: keras.optimizers.Adam(0.05),
        epochs=5,
        denoising=Denoising(noise=0.5, held_out=100),
    )
    monkeypatch.setitem(registry.RECORDS, "digits", toy)
    x = digits.x_train.copy()
    x[:100] = np.nan  # which it must not see
    data = digits._replace(x_train=x)
    model = zoo.train("digits", data)
    entry = zoo.save("digits", model, data)
    assert set(entry) == {"sha256", "epochs", "test_error"}
    found = zoo.load("digits").predict(digits.x_test, verbose=0)
    assert entry["test_error"] == pytest.approx(((found - digits.x_test) ** 2).mean(), abs=1e-5)
    before = zoo.build("digits").predict(digits.x_test, verbose=0)
    assert entry["test_error"] < ((before - digits.x_test) ** 2).mean() / 2


def test_digits_classifier_is_as_good_as_recorded(model, digits):
    accuracy = np.mean(model.predict(digits.x_test, verbose=0).argmax(-1) == digits.y_test)
    recorded = json.loads(zoo.MANIFEST.read_text())["digits"]["test_accuracy"]
    assert accuracy == pytest.approx(recorded, abs=2e-3)
    assert accuracy >= 0.975


def test_a_data_set_is_one_record(digits, monkeypatch):
    toy = dataclasses.replace(
        registry.RECORDS["digits"],
        load=lambda data_dir: digits,
        layers=lambda: [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)],
    )
    monkeypatch.setitem(registry.RECORDS, "toy", toy)
    assert datasets.load("toy") is digits
    assert zoo.build("toy").count_params() == 650
    with pytest.raises(FileNotFoundError, match="models.train toy"):
        zoo.load("toy")


@pytest.mark.parametrize("name", json.loads(zoo.MANIFEST.read_text()))
def test_every_record_is_complete(name):
    record = registry.find(name)
    assert record.settings.attacks
    assert record.settings.defences
    assert 0 < record.settings.benign_accuracy < 1
    assert record.epochs == json.loads(zoo.MANIFEST.read_text())[name]["epochs"]
    model = zoo.build(name)
    assert model.output_shape[1:] == (model.input_shape[1:] if record.denoising else (10,))
    trained = keras.Sequential([keras.Input(model.input_shape[1:]), *record.augmentation(), model])
    assert trained.output_shape == model.output_shape


@pytest.mark.parametrize(("name", "accuracy"), [("mnist", 0.99), ("lenet5", 0.983)])
def test_mnist_weights_load(name, accuracy):
    model = zoo.load(name)
    assert model.input_shape == (None, 28, 28, 1)
    assert json.loads(zoo.MANIFEST.read_text())[name]["test_accuracy"] >= accuracy


@pytest.fixture
def own_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    monkeypatch.setattr(zoo, "MANIFEST", tmp_path / "manifest.json")
    record = dataclasses.replace(registry.RECORDS["digits"], epochs=2)
    monkeypatch.setitem(registry.RECORDS, "digits", record)
    return tmp_path


@pytest.mark.slow
def test_trains_where_nothing_was_trained(own_weights, digits):
    with pytest.raises(FileNotFoundError, match="models.train digits.*Received: digits"):
        zoo.load("digits")
    first = zoo.load_or_train("digits", digits)
    entry = json.loads((own_weights / "manifest.json").read_text())["digits"]
    assert entry["epochs"] == 2
    assert entry["train_accuracy"] > 0.3
    (own_weights / "digits.weights.h5").unlink()
    again = zoo.load_or_train("digits", digits)  # seeded
    for left, right in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-4)


def test_a_classifier_is_trained_adversarially(own_weights, digits, monkeypatch):
    adversary = Adversary(
        training={"eps": 0.1, "max_iterations": 2}, warmup_epochs=1, test={"eps": 0.1}
    )
    record = dataclasses.replace(registry.RECORDS["digits"], epochs=12, adversary=adversary)
    monkeypatch.setitem(registry.RECORDS, "digits", record)
    few = Dataset(*(array[:400] for array in digits))
    entry = zoo.save("digits", zoo.train("digits", few), few)
    assert 0.1 < entry["robust_accuracy"] < entry["test_accuracy"]


@pytest.fixture
def _determinism():
    """Let a command make TensorFlow deterministic, but not the tests that follow."""
    yield
    disable_op_determinism()


@pytest.mark.usefixtures("_determinism")
def test_the_command_trains_saves_and_reports(own_weights, digits, monkeypatch, capsys):
    few = digits._replace(x_train=digits.x_train[:256], y_train=digits.y_train[:256])
    record = dataclasses.replace(registry.RECORDS["digits"], load=lambda data_dir: few)
    monkeypatch.setitem(registry.RECORDS, "digits", record)
    train.main(["digits"])
    entry = json.loads((own_weights / "manifest.json").read_text())["digits"]
    versions, _, printed = capsys.readouterr().out.splitlines()[-1].partition(": ")
    assert versions.startswith(f"Keras {keras.__version__}, TensorFlow ")
    assert ast.literal_eval(printed) == entry
    trained = zoo.load_or_train("digits", few)  # not again
    accuracy = (trained.predict(few.x_train, verbose=0).argmax(-1) == few.y_train).mean()
    assert accuracy == pytest.approx(entry["train_accuracy"], abs=1e-4)
    assert (entry["epochs"], accuracy > 0.15) == (2, True)


def test_weights_that_were_changed_are_refused(own_weights, digits):
    zoo.save("digits", zoo.build("digits"), digits)
    path = own_weights / "digits.weights.h5"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="not the file that manifest.json records.*SHA-256"):
        zoo.load("digits")
