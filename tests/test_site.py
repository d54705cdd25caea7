"""The built documentation has a place for every registered name.

Run by `tox run -e docs`, without TensorFlow: `pytest --noconftest tests/test_site.py`.
"""

import pathlib
import re
import subprocess
import sys

import pytest

pytest.importorskip("mkdocs", reason="MkDocs is not installed: tox run -e docs")
pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed: tox run -e docs")

from docs import pages

pytestmark = pytest.mark.checkout

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {
    "attacks": ("attacks.html", "reference/attacks.html"),
    "statistics": ("statistics.html", "reference/statistics.html"),
    "rules": ("detectors.html", "reference/rules.html"),
    "redteam": ("redteam.html", "reference/redteam.html"),
    "baselines": ("reference/comparisons.html",),
    "datasets": ("reference/comparisons.html",),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return folder


@pytest.mark.parametrize("registry", ["attacks", "statistics", "rules", "redteam", "baselines"])
def test_every_registered_name_is_on_its_pages(site, registry):
    names = set(re.findall(r"^from \S+ import (\w+)", _text(registry), re.MULTILINE)) - pages.BASES
    _require_shown(names, site, PAGES[registry])


def test_every_data_set_is_on_its_page(site):
    (names,) = re.findall(r"^NAMES = \(([^)]*)\)", _text("datasets"), re.MULTILINE)
    _require_shown(set(re.findall(r'"(\w+)"', names)), site, PAGES["datasets"])


def test_every_notebook_is_a_page_with_its_outputs(site):
    notebooks = list((ROOT / "examples").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        page = site / "tutorials" / f"{path.stem}.html"
        assert (page.parent / path.name).read_bytes() == path.read_bytes()
        pictures = re.findall(rf'src="({path.stem}_\w+\.png)"', page.read_text())
        assert pictures or path.stem == "extend"  # which prints only
        assert all((page.parent / picture).is_file() for picture in pictures)


def test_no_mark_of_markdown_is_left_in_the_text(site):
    """Such as of a list that goes on after code without a blank line."""
    for path in site.rglob("*.html"):
        text = re.sub(r"<(pre|code|script)\b.*?</\1>", "", path.read_text(), flags=re.DOTALL)
        left = re.findall(r"(?:```|^(?:<p>)?(?:[-*] |\d+\. |#+ |\|)).*", text, re.MULTILINE)
        assert not left, path.name


def test_nothing_is_loaded_from_the_network(site):
    loaded = r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="https?://[^"]+"'
    for path in site.rglob("*.html"):
        found = re.findall(loaded, path.read_text())
        assert not [tag for tag in found if 'rel="canonical"' not in tag], path.name


def _text(registry):
    path = ROOT.joinpath(*pages.REGISTRIES[registry].split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


def _require_shown(names, site, paths):
    assert names
    for path in paths:
        shown = (site / path).read_text()
        assert not {name for name in names if not re.search(rf"\b{name}\b", shown)}
