"""The examples and commands of the documentation, run as printed."""

import doctest
import hashlib
import inspect
import json
import pathlib
import re
import shlex
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import a2d_keras as a2d
from a2d_keras import cli
from docs import architecture, pages

pytestmark = pytest.mark.checkout

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md") if ">>> " in path.read_text())


@pytest.fixture(autouse=True)
def _adapted_once(monkeypatch, adapted):
    """Adapt only once; a layer that would learn the same gets the weights of the first."""
    adapt = a2d.DetectorLayer.adapt

    def recalled(layer, benign, adversarial=None, verbose=1):
        config = json.dumps(keras.saving.serialize_keras_object(layer), default=str)
        config = re.sub(r'"name": "[^"]*"', "", config)  # Keras numbers the names of its objects
        arrays = [np.asarray(x).tobytes() for x in (benign, adversarial) if x is not None]
        weights = str(layer.classifier.weights_hash()).encode()
        key = hashlib.sha256(b"".join([config.encode(), weights, *arrays])).digest()
        if key in adapted:
            layer.set_weights(adapted[key])
        else:
            adapt(layer, benign, adversarial=adversarial, verbose=verbose)
            adapted[key] = layer.get_weights()

    monkeypatch.setattr(a2d.DetectorLayer, "adapt", recalled)


@pytest.fixture(scope="module")
def adapted():
    return {}


@pytest.fixture
def _files_of_the_first_tutorial(model, digits, tmp_path, monkeypatch):
    """What `examples/guard_your_classifier.ipynb` writes, with the trained digits classifier."""
    model.save(tmp_path / "classifier.keras")
    np.savez(tmp_path / "benign.npz", x=digits.x_test[:300])
    np.savez(tmp_path / "test.npz", x=digits.x_test[300:], y=digits.y_test[300:])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(DOCS)  # a page reads a file of its own


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.usefixtures("_files_of_the_first_tutorial")
@pytest.mark.slow
def test_examples_run(page):
    result = doctest.testfile(str(DOCS / page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.slow
def test_blocks_of_python_run(model, digits, tmp_path, monkeypatch, capsys):
    """All run in one folder and namespace, since later examples load the README's model."""
    monkeypatch.chdir(tmp_path)
    names = {"model": model, "x_benign": digits.x_test[:300], "x": digits.x_test[300:310]}
    for path in (
        "README.md",
        "docs/quickstart.md",
        "docs/threshold.md",
        "examples/batch/README.md",
    ):
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(), re.DOTALL)
        assert blocks
        for block in blocks:
            exec(compile(block, path, "exec"), {"keras": keras, "tf": _tensorflow()} | names, names)
    assert names["out"]["is_adversarial"].shape == (10,)
    assert "[" in capsys.readouterr().out


@pytest.mark.slow
def test_commands_print_what_the_page_says(model, digits, tmp_path, monkeypatch, capsys):
    """Sentences and exit status match. Numbers may not, since they depend on the machine."""
    monkeypatch.chdir(tmp_path)
    model.save("classifier.keras")
    np.savez("benign.npz", x=digits.x_test[300:])
    np.savez("test.npz", x=digits.x_test[:20], y=digits.y_test[:20])
    suspects = _most_suspicious(model, digits.x_test[:40], digits.x_test[300:])
    images = {"benign_0": digits.x_test[0], "benign_1": digits.x_test[1]}
    images |= {"suspect_0": suspects[0], "suspect_1": suspects[1]}
    pathlib.Path("photos").mkdir()
    for name, image in images.items():
        keras.utils.save_img(f"photos/{name}.png", np.round(255 * image), scale=False)

    page = (DOCS / "command-line.md").read_text()
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        command, *lines = block.strip().split("\n")
        words = shlex.split(command.removeprefix("$ a2d-keras "))
        expected = "\n".join(line for line in lines if not line.startswith("$ "))
        status = cli.main(words)
        printed = capsys.readouterr().out.strip()
        if "$ echo $?" in lines:
            expected, _, told = expected.rpartition("\n")
            assert status == int(told)
        assert _without_numbers(printed) == _without_numbers(expected)


def test_a_line_in_a_registry_is_a_row_and_a_reference(tmp_path, monkeypatch):
    package = tmp_path / "zoo" / "animals"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from zoo.animals.cat import TOM, Cat\nfrom elsewhere import Dog\n"
    )
    (package / "cat.py").write_text(
        '"""One cat."""\n\nclass Cat:\n    """Meows | purrs,\n    and sleeps.\n\n    More."""\n\n'
        "TOM = Cat()\n"
    )
    found = pages.registered("zoo.animals", tmp_path)
    assert found == {"Cat": (r"Meows \| purrs, and sleeps.", True), "TOM": ("One cat.", False)}
    (tmp_path / "zoo" / "registry.py").write_text('NAMES = (\n    "cat",\n    "dog",\n)\n')
    for name in ("cat", "dog"):
        (tmp_path / "zoo" / f"{name}.py").write_text(f'"""One {name}."""\n')
    named = pages.registered("zoo.registry", tmp_path)
    assert named == {"cat": ("One cat.", False), "dog": ("One dog.", False)}
    monkeypatch.setattr(pages, "registered", lambda registry: found)
    monkeypatch.setitem(pages.REGISTRIES, "animals", "zoo.animals")
    page = pages.on_page_markdown("Here:\n\n<!-- table: animals -->\n\n<!-- reference: animals -->")
    assert "| [`Cat`][zoo.animals.Cat] | Meows" in page
    assert "| `TOM` | One cat. |" in page
    assert "::: zoo.animals.Cat\n" in page
    assert "::: zoo.animals.TOM" not in page


def test_pages_name_every_attack_and_rule():
    for page, module, base in (
        ("attacks.md", a2d.attacks, a2d.Attack),
        ("detectors.md", a2d.detection.rules, a2d.Rule),
        ("statistics.md", a2d.statistics, a2d.Statistic),
        ("redteam.md", sys.modules["a2d_keras.redteam"], a2d.Adversary),
    ):
        text = pages.on_page_markdown((DOCS / page).read_text())
        for name, thing in vars(module).items():
            if inspect.isclass(thing) and issubclass(thing, base) and not inspect.isabstract(thing):
                assert thing is base or f"| [`{name}`]" in text


def test_the_picture_of_the_rooms_shows_the_imports_as_they_are():
    drawn = Image.open(architecture.PICTURE).text["Description"]
    now = architecture.described(architecture.reduced(architecture.rooms()))
    assert drawn == now, "`python -m docs.architecture` draws it again"


def test_imports_in_a_circle_are_refused(tmp_path):
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / f"{name}.py").write_text(f"from a2d_keras import {other}\n")
    graph = architecture.rooms(tmp_path)
    assert graph == {"one": {"two"}, "two": {"one"}}
    with pytest.raises(ValueError, match="must not go in a circle"):
        architecture.reduced(graph)


def test_guides_run_from_the_wheel_alone():
    of_the_checkout = re.compile(r"^>>> (?:from|import) (?:models|baselines)", re.MULTILINE)
    of_the_suites = {DOCS / "compare.md"}
    for page in {ROOT / "README.md", *DOCS.glob("*.md")} - of_the_suites:
        assert not of_the_checkout.search(page.read_text()), page.name


def test_links_between_files_lead_somewhere():
    """MkDocs checks the pages; this checks the links in the repository's own files."""
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("examples/*/*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def _most_suspicious(model, x, benign):
    """Attack inputs, and return what an image file keeps of them, the smallest p-value first."""
    guarded = a2d.guard(model)
    guarded.adapt(benign, verbose=0)
    attack = a2d.BIM(eps_iter=0.01, max_iterations=50)
    crafted = attack(guarded.detector.classifier, x).adversarial
    kept = np.floor(255 * crafted) / 255
    return kept[np.argsort(guarded.predict(kept, verbose=0)["p_value"])]


def _tensorflow():
    import tensorflow as tf

    return tf


def _without_numbers(text):
    return re.sub(r"\d[\d,.]*\b", "N", " ".join(text.split()))
