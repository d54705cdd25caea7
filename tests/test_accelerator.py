"""What the accelerator is to run, on JAX's CPU: a small program gives TensorFlow's results."""

import json

import keras
import numpy as np
import pytest

import a2d_keras as a2d

pytestmark = [pytest.mark.checkout, pytest.mark.slow]
pytest.importorskip("jax", reason="the extra `accelerator` is not installed")

from benchmarks.accelerator import export, run  # noqa: E402
from benchmarks.accelerator.programs import Folder  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((6, 6, 1)),
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(3, "softmax"),
    ]
    images = np.random.default_rng(0).integers(0, 256, (90, 6, 6, 1)).astype("uint8")
    source = export.Source(
        name="small",
        model=keras.Sequential(layers),
        benign=images[:80] / np.float32(255),
        images=images[80:],
        attack=a2d.BIM(eps_iter=1e-3, max_iterations=99),
        slots=(4,),
    )
    path = tmp_path_factory.mktemp("export")
    export.export(Folder(path), source)
    return path


def test_jax_finds_what_tensorflow_found(folder, capsys):
    assert run.main([str(folder)]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"small-float32-verdict-4", "small-float32-loop-4"} <= {each["name"] for each in found}
    for each in found:
        assert each["equal"] == 1 if "float32" in each["name"] else each["equal"] >= 0.95
        assert each["gradients_per_second"] >= each["inputs_per_second"] > 0
        assert each["share_of_peak"] is None  # of a CPU, nothing is known


def test_other_results_are_refused(folder, capsys):
    programs = json.loads((folder / "programs.json").read_text())
    loop = next(each for each in programs if each["name"] == "small-float32-loop-4")
    found = run.measure(folder, {**loop, "expected": {"cost": loop["expected"]["gradients"]}})
    assert not found["ok"]


def test_equal_arrays_are_stored_once(folder):
    programs = json.loads((folder / "programs.json").read_text())
    used = {name for each in programs for name in (each["images"], *each["weights"])}
    used |= {name for each in programs for name in each["expected"].values()}
    assert {path.stem for path in folder.glob("*.npz")} == used
    assert len({each["images"] for each in programs}) == 1
