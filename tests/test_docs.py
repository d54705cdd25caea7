"""The documentation's examples and commands, run as they are printed."""

import doctest
import pathlib
import re
import shlex

import keras
import numpy as np
import pytest

import a2d_keras as a2d
from a2d_keras import cli

DOCS = pathlib.Path(__file__).parent.parent / "docs"


PAGES = sorted(path.name for path in DOCS.glob("*.md") if ">>> " in path.read_text())


@pytest.mark.parametrize("page", [page for page in PAGES if page != "attacks.md"])  # test_package
def test_examples_run(page):
    result = doctest.testfile(str(DOCS / page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


def test_commands_print_what_the_page_says(model, digits, tmp_path, monkeypatch, capsys):
    """Numbers aside, which follow the machine: the sentences and the exit status."""
    monkeypatch.chdir(tmp_path)
    model.save("classifier.keras")
    np.savez("benign.npz", x=digits.x_test[300:])
    attack = a2d.BIM(eps_iter=0.01, max_iterations=50)
    crafted = attack(a2d.Classifier(model), digits.x_test[:2]).adversarial
    images = {"benign_0": digits.x_test[0], "benign_1": digits.x_test[1]}
    images |= {"suspect_0": crafted[0], "suspect_1": crafted[1]}
    pathlib.Path("photos").mkdir()
    for name, image in images.items():
        keras.utils.save_img(f"photos/{name}.png", 255 * image, scale=False)

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


def _without_numbers(text):
    return re.sub(r"\d[\d,.]*\b", "N", " ".join(text.split()))
