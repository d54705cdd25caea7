"""The documentation as it is built: every registered name has its place.

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

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {
    "attacks": ("attacks.html", "reference/attacks.html"),
    "statistics": ("detectors.html", "reference/statistics.html"),
    "rules": ("detectors.html", "reference/rules.html"),
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


@pytest.mark.parametrize("registry", pages.REGISTRIES)
def test_every_registered_name_is_on_its_pages(site, registry):
    package = pages.REGISTRIES[registry]
    text = ROOT.joinpath(*package.split("."), "__init__.py").read_text()
    lines = re.findall(rf"^from {re.escape(package)}\.\S+ import \(?([\w\s,]+)", text, re.MULTILINE)
    names = {name for line in lines for name in re.split(r"[\s,]+", line) if name} - pages.BASES
    assert names
    for page in PAGES[registry]:
        shown = (site / page).read_text()
        assert not {name for name in names if not re.search(rf"\b{name}\b", shown)}


def test_nothing_is_loaded_from_the_network(site):
    loaded = r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="https?://[^"]+"'
    for path in site.rglob("*.html"):
        found = re.findall(loaded, path.read_text())
        assert not [tag for tag in found if 'rel="canonical"' not in tag], path.name
