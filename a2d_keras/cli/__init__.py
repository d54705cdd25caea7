"""The command line: `a2d-keras adapt`, `detect`, `cost`, `explain` and `redteam`."""

import argparse
import contextlib
import importlib
import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import a2d_keras
from a2d_keras.cli import sources
from a2d_keras.cli.parser import make_parser
from a2d_keras.files import require_folder, require_writable

_ERROR, _INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    TensorFlow is imported only after the arguments have been read, so that help and usage errors
    appear at once.

    Args:
        argv: The arguments. Defaults to those of the process.

    Returns:
        The exit status: 0 if no input was flagged, 3 if some were, 2 after an error.

    Examples:
        >>> main(["detect", "missing.keras", "photos", "-o", "verdicts.csv"])
        2
    """
    arguments = make_parser().parse_args(argv)
    try:
        with contextlib.redirect_stdout(sys.stderr), _plain_warnings():  # stdout is for the result
            _require_files(arguments)
            outcome = _run(arguments)
    except (ImportError, OSError, ValueError) as error:
        return _complain(str(error), _ERROR)
    except KeyboardInterrupt:
        state = getattr(arguments, "interrupted", "is unchanged")
        return _complain(f"interrupted; {arguments.out} {state}", _INTERRUPTED)
    print(json.dumps(outcome.summary) if arguments.json else outcome.sentence)
    return int(outcome.status)


def _require_files(arguments: argparse.Namespace) -> None:
    """Refuse missing inputs, and an output that cannot be written, before anything is loaded."""
    (require_folder if arguments.command == "redteam" else require_writable)(arguments.out)
    given = arguments.inputs if isinstance(arguments.inputs, list) else [arguments.inputs]
    for source in (*given, getattr(arguments, "adversarial", None)):
        if source is not None:
            sources.find(source)


def _run(arguments: argparse.Namespace) -> Any:
    """Import the rest of the package, and run the command."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # a log is for what matters
    if a2d_keras._deferred:
        importlib.reload(a2d_keras)
    import tensorflow as tf

    from a2d_keras import progress
    from a2d_keras.cli import commands

    tf.get_logger().setLevel("ERROR")
    try:
        with progress.showing(1):
            return getattr(commands, arguments.command)(arguments)
    except tf.errors.OpError as error:  # invalid inputs in a dataset
        raise ValueError(str(error)) from error


def _complain(sentence: str, status: int) -> int:
    print(f"a2d-keras: {' '.join(sentence.split())}", file=sys.stderr)
    return status


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as sentences, without the lines of code that raised them."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"a2d-keras: {message}")
        yield
