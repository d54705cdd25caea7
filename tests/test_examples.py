"""The notebooks, run as a user would: one after another, in one folder."""

import os
import pathlib
import re

import pytest

pytest.importorskip("nbclient", reason="nbclient is not installed: tox run -e examples")
pytest.importorskip("ipykernel", reason="ipykernel is not installed: tox run -e examples")

import nbformat

from examples import notebooks

pytestmark = [pytest.mark.checkout, pytest.mark.slow]

NUMBERS = re.compile(r"-?\d[\d,.]*(?:[eE]-?\d+)?|\bnan\b|\s+")  # they depend on the machine


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The first notebook, executed, and the folder in which it has run."""
    path = tmp_path_factory.mktemp("notebooks")
    return notebooks.executed(notebooks.FIRST, path), path


def _require_as_stored(name, found):
    """Compare what is printed with what the page says, but for numbers."""
    stored = nbformat.read(notebooks.FOLDER / f"{name}.ipynb", as_version=4)
    for ours, theirs in zip(notebooks.printed(found), notebooks.printed(stored), strict=True):
        assert NUMBERS.sub("", ours) == NUMBERS.sub("", theirs)


@pytest.mark.parametrize("name", notebooks.NAMES)
def test_a_notebook_prints_what_it_has_stored(name, first):
    if name in notebooks.NEED_DATA and "A2D_DATA_DIR" not in os.environ:
        pytest.skip("A2D_DATA_DIR names no data folder")
    executed, folder = first
    if name != notebooks.FIRST:
        executed = notebooks.executed(name, folder)
    _require_as_stored(name, executed)


def test_the_first_notebook_tells_adversarial_from_benign(first):
    printed = "".join(notebooks.printed(first[0]))
    benign, adversarial = (
        float(re.search(rf"^{kind} images flagged: ([\d.]+)%", printed, re.MULTILINE)[1])
        for kind in ("benign", "adversarial")
    )
    assert benign < 12
    assert adversarial > 3 * benign


def test_every_notebook_is_run_and_has_its_outputs():
    files = {path.stem for path in pathlib.Path(notebooks.FOLDER).glob("*.ipynb")}
    assert files == {*notebooks.NAMES}
    for name in files:
        notebook = nbformat.read(notebooks.FOLDER / f"{name}.ipynb", as_version=4)
        assert any(notebooks.printed(notebook)), f"`python -m examples.notebooks {name}` keeps them"
