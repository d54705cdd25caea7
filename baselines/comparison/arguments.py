"""The command line that the suites share: a data set, a number of inputs, folders."""

import argparse

from baselines.digests import digest
from models import registry

LIMIT = 1000


def parser(suite, description, *, min_inputs, limit=LIMIT):
    """Make the parser of a suite, `python -m baselines.<suite>`.

    Args:
        suite: The name of its package.
        description: What it does.
        min_inputs: The smallest `--limit`.
        limit: The default `--limit`; None leaves it to the suite. Defaults to 1000.

    Returns:
        An `argparse.ArgumentParser`.
    """
    made = argparse.ArgumentParser(prog=f"python -m baselines.{suite}", description=description)
    made.add_argument("--dataset", choices=registry.RECORDS, default="digits")
    default = limit or "depends on the data set"
    made.add_argument(
        "--limit", type=at_least(min_inputs), default=limit, help=f"maximum test inputs ({default})"
    )
    made.add_argument("--data-dir", help="folder that holds <dataset>.npz")
    made.add_argument("--out", help=f"folder for results (results/{suite}/<dataset>)")
    return made


def at_least(min_inputs):
    """Make the type of `--limit`.

    Args:
        min_inputs: The smallest number of inputs.

    Returns:
        A function from a word to an int, which raises `argparse.ArgumentTypeError`.

    Examples:
        >>> at_least(40)("50")
        50
    """

    def inputs(text):
        value = int(text)
        if value < min_inputs:
            raise argparse.ArgumentTypeError(
                f"there must be at least {min_inputs} test inputs. Received: {value}"
            )
        return value

    return inputs


def about(suite, words, name, data):
    """Say what a report is about.

    Args:
        suite: The name of the suite, as in `python -m baselines.<suite>`.
        words: The words of the command line.
        name: The data set.
        data: The `models.record.Dataset`.

    Returns:
        A dict that JSON can hold.
    """
    record = registry.find(name)
    return {
        "suite": suite.capitalize(),
        "data set": name,
        "title": record.copies.get(digest(*data), record.title),
        "command": f"python -m baselines.{suite} {' '.join(words)}",
    }
