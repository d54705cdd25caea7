import os
import pathlib

import keras
import numpy as np
import pytest

import a2d_keras as a2d
from baselines import nearness, photographs
from baselines.comparison import protocols
from models import efficientnet_lite0, imagenet

pytestmark = pytest.mark.checkout

LITE0, MOBILENET = "efficientnet_lite0_imagenet.npz", "mobilenet_075_224.weights.h5"


@pytest.fixture(scope="module")
def lite0():
    return imagenet.build("efficientnet_lite0", 32)


@pytest.fixture(scope="module")
def arrays(lite0):
    """Made-up weights, as in the file."""
    rng = np.random.default_rng(0)
    shapes = {name: v.shape for name, v in efficientnet_lite0.parameters(lite0).items()}
    return {name: rng.uniform(0.1, 1, shape).astype("float32") for name, shape in shapes.items()}


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """A folder with three made-up photographs, smaller than real ones."""
    monkeypatch.delenv("A2D_DATA_DIR", raising=False)
    x = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), "uint8")
    np.savez(tmp_path / "imagenet1000.npz", x=x, y=np.arange(3, dtype="int32"))
    return tmp_path


def test_lite0_has_the_published_size(lite0):
    assert lite0.output_shape == (None, 1000)
    trainable = sum(variable.value.shape.num_elements() for variable in lite0.trainable_variables)
    assert trainable == 4_652_008
    strides = [layer.strides for layer in lite0.layers if "depthwise" in layer.name]
    assert len(strides) == 16
    assert strides.count((2, 2)) == 4
    assert sum(isinstance(layer, keras.layers.Add) for layer in lite0.layers) == 9


def test_lite0_names_its_parameters_as_the_file_does(lite0):
    parameters = efficientnet_lite0.parameters(lite0)
    assert (
        len(parameters) == 2 + 5 * 49
    )  # a dense layer, and 49 convolutions with batch normalization
    assert parameters["conv_stem/kernel"].shape == (3, 3, 3, 32)
    assert parameters["blocks/3/depthwise_conv/kernel"].shape == (5, 5, 144, 1)
    assert parameters["blocks/15/bn2/variance"].shape == (320,)
    assert parameters["fc/kernel"].shape == (1280, 1000)
    assert "blocks/0/expand_conv/kernel" not in parameters


def test_lite0_reads_plain_arrays(lite0, arrays, tmp_path):
    np.savez(tmp_path / LITE0, **arrays)
    efficientnet_lite0.load_weights(lite0, tmp_path / LITE0)
    for name, variable in efficientnet_lite0.parameters(lite0).items():
        np.testing.assert_array_equal(variable, arrays[name])


def test_lite0_refuses_other_arrays(lite0, arrays, tmp_path):
    path = tmp_path / LITE0
    np.savez(path, **{name: values for name, values in arrays.items() if name != "bn0/mean"})
    with pytest.raises(ValueError, match=r"hold the 247 parameters.*Received: 246, and bn0/mean"):
        efficientnet_lite0.load_weights(lite0, path)
    np.savez(path, **{**arrays, "bn0/mean": np.zeros(31)})
    with pytest.raises(ValueError, match=r"bn0/mean in .* shape \(32,\). Received: \(31,\)"):
        efficientnet_lite0.load_weights(lite0, path)


def test_lite0_scales_its_inputs(lite0):
    scaled = lite0.get_layer("scale")(np.full((1, 1, 1, 3), [0, 127 / 255, 1], "float32"))
    np.testing.assert_allclose(np.ravel(scaled), [-127 / 128, 0, 1], atol=1e-6)


@pytest.mark.slow
def test_mobilenet_takes_the_weights_of_keras(data_dir):
    network = keras.applications.MobileNet((32, 32, 3), alpha=0.75, weights=None)
    network.save_weights(data_dir / MOBILENET)
    model = imagenet.load("mobilenet", data_dir, 32)
    x = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype("float32")
    expected = network(2 * x - 1)
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-7)


def test_photographs_come_in_a_seeded_order(data_dir, monkeypatch):
    x, y = imagenet.photographs(data_dir)
    assert x.shape == (3, 32, 32, 3)
    assert x.dtype == np.float32
    assert 0 <= x.min() < x.max() <= 1
    assert y.dtype == np.int64
    assert sorted(y) == [0, 1, 2]
    monkeypatch.setenv("A2D_DATA_DIR", str(data_dir))
    first, label = imagenet.photographs(limit=1)
    np.testing.assert_array_equal(first, x[:1])
    assert label == y[0]


def test_says_what_is_missing(data_dir):
    for name, file in {"mobilenet": MOBILENET, "efficientnet_lite0": LITE0}.items():
        with pytest.raises(FileNotFoundError, match=f"no {file} in .* Received: {data_dir}"):
            imagenet.load(name, data_dir)
        with pytest.raises(FileNotFoundError, match=f"{file} must come.*A2D_DATA_DIR.*: None"):
            imagenet.load(name)
    with pytest.raises(FileNotFoundError, match="imagenet1000.npz must come"):
        imagenet.photographs()
    with pytest.raises(ValueError, match="mobilenet, efficientnet_lite0. Received: 'vgg'"):
        imagenet.build("vgg")


@pytest.fixture
def words(data_dir, monkeypatch):
    """Words of a command, for a linear classifier that gets all photographs right."""
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(3))
    monkeypatch.setattr(imagenet, "load", lambda name, data_dir: model)
    monkeypatch.setattr(photographs, "correct", lambda model, x, y: x)
    monkeypatch.setattr(photographs, "_TOGETHER", 2)
    monkeypatch.setattr(photographs, "_FEW", 1)
    monkeypatch.setattr(photographs, "_FEW_TOGETHER", 1)
    monkeypatch.setitem(imagenet.ATTACKS, "JSMA", imagenet.ATTACKS["FGSM"])  # a quick one
    return ["--data-dir", str(data_dir), "--out", str(data_dir / "out"), "--attacks"]


def test_crafting_is_kept_and_resumed(words, capsys):
    photographs.main([*words, "FGSM", "JSMA", "--limit", "2"])
    printed = capsys.readouterr().out
    assert "FGSM 0-1: computing" in printed
    assert "JSMA 0-0: computing" in printed
    photographs.main([*words, "FGSM"])
    printed = capsys.readouterr().out
    assert "FGSM 0-1: kept" in printed
    assert "FGSM 2-2: computing" in printed
    assert "FGSM: fooled " in printed


def test_cheap_statistics_stand_beside_the_exact_cost(words, capsys, monkeypatch):
    monkeypatch.setattr(protocols, "RESAMPLES", 10)
    monkeypatch.setitem(imagenet.ATTACKS, "FGSM", a2d.BIM(eps_iter=1e-4))
    nearness.main([*words, "FGSM", "--limit", "2"])
    *_, head, _, fgsm, gradients = capsys.readouterr().out.strip().splitlines()
    assert head.split("|")[2].strip() == "margin"
    assert [float(cell) for cell in fgsm.split("|")[2:-1]] == [1.0] * 4
    taken = [float(cell) for cell in gradients.split("|")[2:-1]]
    assert taken[:3] == [0, 1, 1]
    assert taken[3] > 2


@pytest.mark.slow
def test_fgsm_is_one_step_of_a_root_mean_square():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(3))
    x = np.full((2, 8, 8, 3), 0.5, "float32")
    result = imagenet.ATTACKS["FGSM"](a2d.Classifier(model), x)
    np.testing.assert_allclose(
        np.sqrt(((result.adversarial - x) ** 2).mean((1, 2, 3))), 0.016, 1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "share"), [("mobilenet", 0.840), ("efficientnet_lite0", 0.881)])
def test_real_weights_classify_photographs(name, share):
    folder = pathlib.Path(os.environ.get("A2D_DATA_DIR", "."))
    needed = {"mobilenet": MOBILENET, "efficientnet_lite0": LITE0}[name]
    for file in (imagenet.PHOTOGRAPHS, needed):
        if not (folder / file).is_file():
            pytest.skip(f"A2D_DATA_DIR names no folder with {file}")
    x, y = imagenet.photographs(folder)
    right = photographs.correct(imagenet.load(name, folder), x, y)
    assert len(right) / len(x) == pytest.approx(share, abs=0.002)
