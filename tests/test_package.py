import doctest
import importlib
import pathlib
import pkgutil
import shutil
import subprocess
import sys
import zipfile

import pytest

import a2d_keras
import baselines
import models

ROOT = pathlib.Path(__file__).parent.parent


def modules(package):
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [package.__name__, *(module.name for module in found)]


def test_import_brings_nothing_heavy_beside_keras():
    heavy = {"apache_beam", "h5py", "matplotlib", "pandas", "PIL", "tensorboard", "tf_keras"}
    code = (
        "import sys, tensorflow, keras; before = set(sys.modules); import a2d_keras;"
        f"assert not {heavy} & {{name.split('.')[0] for name in set(sys.modules) - before}}"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_another_backend_is_refused():
    # Keras itself fails where the other backend is not installed, so it is only told of one.
    code = "import keras; keras.backend.backend = lambda: 'torch'; import a2d_keras"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: a2d-keras runs on TensorFlow")
    assert last.endswith("Received: torch")


def test_beam_is_asked_for_where_it_is_missing():
    code = "import sys; sys.modules['apache_beam'] = None; import a2d_keras.beam"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: a2d_keras.beam runs on Apache Beam: install it with")
    assert " Received: " in last


def test_the_wheel_holds_the_package_alone(tmp_path):
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns(".*", "build", "*.egg-info", "*.npz", "*.h5")
    shutil.copytree(ROOT, source, ignore=ignore)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    run = subprocess.run(
        [sys.executable, "-c", build], cwd=source, check=True, capture_output=True, text=True
    )
    with zipfile.ZipFile(source / run.stdout.split()[-1]) as wheel:
        names = wheel.namelist()
        metadata = next(n for n in names if n.endswith("METADATA"))
        metadata = wheel.read(metadata).decode()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"a2d_keras", "a2d_keras-0.1.0.dist-info"}
    assert "a2d_keras/py.typed" in names
    assert "Name: a2d-keras\nVersion: 0.1.0\n" in metadata


@pytest.mark.parametrize("name", modules(a2d_keras) + modules(models) + modules(baselines))
def test_examples_run(name):
    if name == "a2d_keras.beam":
        pytest.importorskip("apache_beam", reason="Apache Beam is not installed: a2d-keras[beam]")
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_the_document_of_the_attacks_is_right_and_whole():
    path = ROOT / "docs" / "attacks.md"
    assert doctest.testfile(str(path), module_relative=False).failed == 0
    named = {name for name in a2d_keras.__all__ if f"`{name}`" in path.read_text()}
    attacks = {n for n in a2d_keras.attacks.__all__ if n not in ("Attack", "StepAttack")}
    assert attacks <= named


def test_every_public_class_and_function_shows_an_example():
    public = [getattr(a2d_keras, name) for name in a2d_keras.__all__ if name[0] != "_"]
    documented_elsewhere = {a2d_keras.Attack, a2d_keras.AttackResult}  # abstract; a record
    missing = [
        thing
        for thing in public
        if thing not in documented_elsewhere and "Examples:" not in thing.__doc__
    ]
    assert not missing


def test_the_plugin_needs_neither_baselines_nor_models():
    code = (
        "import sys, a2d_keras;"
        "assert not {'models', 'baselines'} & {name.split('.')[0] for name in sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
