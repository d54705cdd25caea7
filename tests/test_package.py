import abc
import doctest
import importlib
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import keras
import pytest

import a2d_keras

ROOT = pathlib.Path(__file__).parent.parent


def with_examples(package):
    """List the package's modules that have examples."""
    paths = [path for path in (ROOT / package).rglob("*.py") if ">>> " in path.read_text()]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(paths)]
    return [name.removesuffix(".__init__") for name in names]


def test_import_brings_nothing_besides_keras():
    heavy = {"apache_beam", "h5py", "matplotlib", "pandas", "PIL", "tensorboard", "tf_keras"}
    checkout = {"baselines", "benchmarks", "examples", "models"}
    code = (
        "import sys, tensorflow, keras; before = set(sys.modules); import a2d_keras;"
        "brought = {name.split('.')[0] for name in set(sys.modules) - before};"
        f"assert not {heavy | checkout} & brought, brought"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_another_backend_is_refused(monkeypatch):
    # Keras itself fails if the other backend is not installed, so the test only names one.
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ImportError, match=r"^a2d-keras runs on TensorFlow.* Received: torch$"):
        importlib.reload(a2d_keras)


def test_beam_is_asked_for_where_it_is_missing(monkeypatch):
    for name in {"apache_beam", *(name for name in sys.modules if name.startswith("apache_beam"))}:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "a2d_keras.beam", raising=False)
    with pytest.raises(ImportError, match=r"^a2d_keras.beam runs on .*: install.* Received: "):
        importlib.import_module("a2d_keras.beam")


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
    version = a2d_keras.__version__
    assert tops == {"a2d_keras", f"a2d_keras-{version}.dist-info"}
    assert "a2d_keras/py.typed" in names
    assert f"Name: a2d-keras\nVersion: {version}\n" in metadata
    first_sentence = (ROOT / "README.md").read_text().split("\n")[2]
    assert f"\nSummary: {first_sentence}\n" in metadata
    links = re.findall(r"\]\(([^)]+)\)", metadata)  # of the README, which an index shows
    assert len(links) > 20
    assert all(link.startswith("https://") for link in links)


@pytest.mark.slow  # `tox run -e examples` runs them on every change
@pytest.mark.parametrize("name", with_examples("a2d_keras"))
def test_examples_run(name):
    if name == "a2d_keras.beam":
        pytest.importorskip("apache_beam", reason="Apache Beam is not installed: a2d-keras[beam]")
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.slow
@pytest.mark.checkout
@pytest.mark.parametrize("name", [*with_examples("models"), *with_examples("baselines")])
def test_examples_of_the_checkout_run(name):
    test_examples_run(name)


def test_every_public_class_and_function_shows_an_example():
    public = [
        thing for name, thing in vars(a2d_keras).items() if name[0] != "_" and callable(thing)
    ]
    assert a2d_keras.guard in public
    made_by_us = ("AttackResult", "RedTeamResult", "Slots")  # nobody makes one by hand
    records = {getattr(a2d_keras, name) for name in made_by_us}
    bases = {thing for thing in public if abc.ABC in getattr(thing, "__bases__", ())}
    missing = [t for t in set(public) - records - bases if "Examples:" not in t.__doc__]
    assert not missing
