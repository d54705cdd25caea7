"""The command that writes `docs/compatibility.md` from the output of runs."""

import pytest

from docs import compatibility

pytestmark = pytest.mark.checkout

LOG = """\
date: 2026-01-31
processor: Some Processor, 2 cores
py311-tf216: install_deps> python -I -m pip install 'tensorflow==2.16.*'
py311-tf216: commands[0]> python -c "import keras, numpy, sys, tensorflow"
Python 3.11.7 TensorFlow 2.16.2 Keras 3.15.1 NumPy 1.26.4
py311-tf216: commands[1]> pytest -n 2 -m 'not slow and not checkout'
=========================== short test summary info ============================
SKIPPED [1] tests/test_beam.py:16: Apache Beam is not installed: a2d-keras[beam]
SKIPPED [2] .tox/py311-tf216/lib/python3.11/site-packages/x.py:521: not here
FAILED tests/test_x.py::test_x - AssertionError: 3 failed in 1.00s
============ 1 failed, 580 passed, 3 skipped, 14 warnings in 171.23s (0:02:51) =============
"""
FIXED = LOG.replace("1 failed, ", "").replace("FAILED", "PASSED")


def test_reads_what_a_run_printed():
    run = compatibility.read(LOG)
    assert run.versions == ("3.11.7", "2.16.2", "3.15.1", "1.26.4")
    assert run.command == "pytest -n 2 -m 'not slow and not checkout'"
    assert (run.outcome, run.seconds) == ("1 failed, 580 passed, 3 skipped", 171.23)
    assert run.skipped == {"Apache Beam is not installed: a2d-keras[beam]": 1, "not here": 2}
    assert not run.passed
    assert compatibility.read(FIXED).passed


def test_a_run_that_did_not_come_to_tests():
    run = compatibility.read("date: 2026-01-31\nprocessor: P\npy310-tf216: no Python 3.10\n")
    assert (run.versions, run.outcome, run.seconds, run.passed) == (None, None, None, False)
    page = compatibility.page(["py310-tf216"], {"py310-tf216": run})
    assert "| `py310-tf216` | | | | | did not finish | |\n" in page


def test_the_page_says_what_was_run():
    cells = ["test", "py311-tf216", "py312-tf221"]
    runs = {"test": compatibility.read(FIXED), "py311-tf216": compatibility.read(LOG)}
    page = compatibility.page(cells, runs)
    row = "| 3.11.7 | 2.16.2 | 3.15.1 | 1.26.4 | 1 failed, 580 passed, 3 skipped | 171 |\n"
    assert f"| `py311-tf216` {row}" in page
    assert "| `py312-tf221` | | | | | not run | |\n" in page
    assert "- Run on 2026-01-31.\n- Processor: Some Processor, 2 cores.\n" in page
    assert "- `pytest -n 2 -m 'not slow and not checkout'` in `test`, `py311-tf216`.\n" in page
    assert "- 2: not here\n" in page


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in which every environment passes without running."""
    monkeypatch.setattr(compatibility, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(compatibility, "PAGE", tmp_path / "compatibility.md")
    monkeypatch.setattr(compatibility, "cells", lambda: ["test", "py311-tf216"])
    monkeypatch.setattr(compatibility, "_command", lambda cell: ["printf", "%s", FIXED])
    return tmp_path


def test_runs_only_what_is_asked_for(folder):
    assert compatibility.main(["--only", "py311-tf216"]) == 0
    assert "| `test` | | | | | not run | |" in (folder / "compatibility.md").read_text()
    assert compatibility.main(["--only", "test"]) == 0  # and keeps what was run before
    assert "not run" not in (folder / "compatibility.md").read_text()


def test_a_dry_run_writes_nothing(folder, capsys):
    assert compatibility.main(["--dry-run"]) == 0
    assert len(capsys.readouterr().out.strip().split("SKIPPED [1]")) == 3
    assert list(folder.iterdir()) == []


def test_unknown_environments_are_refused(folder):
    with pytest.raises(SystemExit, match=r"must be among test, py311-tf216. Received: py39-tf1"):
        compatibility.main(["--only", "py39-tf1"])
