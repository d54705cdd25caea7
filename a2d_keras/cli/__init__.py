"""The command line: `a2d-keras adapt`, `detect`, `cost` and `explain`."""

import argparse
import contextlib
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from a2d_keras.cli import commands
from a2d_keras.version import __version__

_ERROR, _INTERRUPTED = 2, 130
_ATTACKS = ("BIM", "BIM2", "JSMA", "DBA", "CarliniWagner", "DeepFool", "LSA", "PairJSMA")

_ABOUT = """\
Detect adversarial inputs of a trained Keras classifier by what it costs to attack them.

First `adapt`, once, on benign inputs that the classifier was not trained on. Then `detect`.
"""
_EXAMPLES = """\
examples:
  a2d-keras adapt classifier.keras benign.npz -o guarded.keras
  a2d-keras detect guarded.keras photos/ -o verdicts.csv
  a2d-keras explain guarded.keras photos/suspect.png -o why.png
  a2d-keras cost classifier.keras photos/ --attack JSMA -o costs.csv

`a2d-keras COMMAND --help` says more of each.
"""
_INPUTS = """\
inputs:
  FILE.npz or FILE.npy   an array of them
  FOLDER                 PNG and JPEG images, in its sub-folders too
  IMAGE.png or '*.png'   one image; several, with the pattern in quotes
  'SHARDS-*.tfrecord'    records of tf.train.Example, of which one feature holds an encoded image
                         or the numbers of an input

  They are read a batch at a time. Pixels, of images and of arrays of the type uint8, are scaled
  from 0 ... 255 to the model's bounds; other numbers are taken as they are. Images are read in
  grey or in colour as the model takes them, and never resized.
"""
_STATUS = """\
exit status:
  0 no input was flagged, 3 some were, 2 there was an error
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The words of the command line. Defaults to those of the process.

    Returns:
        The exit status: 0 where no input was flagged, 3 where some were, 2 after an error.

    Examples:
        >>> main(["detect", "missing.keras", "photos", "-o", "verdicts.csv"])
        2
    """
    arguments = _parser().parse_args(argv)
    try:
        with contextlib.redirect_stdout(sys.stderr), _plain_warnings():  # progress is no result
            outcome = arguments.command(arguments)
    except (ValueError, OSError, tf.errors.OpError) as error:
        return _complain(str(error), _ERROR)
    except KeyboardInterrupt:
        return _complain(f"interrupted; {arguments.out} is as it was", _INTERRUPTED)
    print(json.dumps(outcome.summary) if arguments.json else outcome.sentence)
    return outcome.status


def _complain(sentence: str, status: int) -> int:
    print(f"a2d-keras: {' '.join(sentence.split())}", file=sys.stderr)
    return status


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as sentences, without the lines of code they come from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"a2d-keras: {message}")
        yield


def _parser() -> argparse.ArgumentParser:
    parser = _formatted(argparse.ArgumentParser, "a2d-keras", _ABOUT, f"{_EXAMPLES}\n{_STATUS}")
    parser.add_argument("--version", action="version", version=f"a2d-keras {__version__}")
    group = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_adapt(group)
    _add_detect(group)
    _add_cost(group)
    _add_explain(group)
    return parser


def _add_adapt(group: Any) -> None:
    example = "  a2d-keras adapt mnist.keras mnist.npz --key x_test -o guarded.keras\n"
    parser = _add(
        group, commands.adapt, "learn what attacks cost on benign inputs", example, _INPUTS
    )
    parser.add_argument("model", metavar="MODEL", help="the classifier, .keras or .h5")
    parser.add_argument("inputs", metavar="BENIGN", help="a few hundred benign inputs; see below")
    _add_key(parser)
    _add_out(parser, "guarded.keras", "the guarded model to write", type=_keras_file)
    _add_bounds(parser)
    _add_attack(parser, "one BIM whose steps suit the model")
    parser.add_argument(
        "--false-positive-rate",
        type=float,
        default=0.05,
        metavar="RATE",
        help="the share of benign inputs that may be flagged (default: %(default)s)",
    )
    parser.add_argument(
        "--adversarial",
        metavar="INPUTS",
        help="adversarial inputs: then the nearest of both kinds give the verdict",
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="count every cost to its end, rather than until the verdict is settled",
    )
    parser.add_argument(
        "--on-invalid",
        choices=("raise", "flag"),
        default="raise",
        help="stop at inputs that are not finite or out of bounds, or flag them "
        "(default: %(default)s)",
    )


def _add_detect(group: Any) -> None:
    example = (
        "  a2d-keras detect guarded.keras photos/ -o verdicts.csv\n"
        "  a2d-keras detect guarded.keras 'shards/*.tfrecord' --key image/encoded -o verdicts.csv\n"
    )
    parser = _add(group, commands.detect, "judge inputs", example, _INPUTS, _STATUS)
    parser.add_argument("model", metavar="GUARDED", help="a guarded model, from `adapt`")
    parser.add_argument("inputs", metavar="INPUTS", help="the inputs to judge; see below")
    _add_key(parser)
    _add_out(parser, "verdicts.csv", "the table to write, a row for each input")


def _add_cost(group: Any) -> None:
    example = "  a2d-keras cost classifier.keras photos/ --attack JSMA -o costs.csv\n"
    parser = _add(group, commands.cost, "count the steps that attacks need", example, _INPUTS)
    parser.add_argument("model", metavar="MODEL", help="a classifier, or a guarded model")
    parser.add_argument("inputs", metavar="INPUTS", help="the inputs to attack; see below")
    _add_key(parser)
    _add_out(parser, "costs.csv", "the table to write, a row for each input")
    _add_bounds(parser)
    _add_attack(parser, "those of a guarded model, or BIM")


def _add_explain(group: Any) -> None:
    example = "  a2d-keras explain guarded.keras photos/suspect.png -o why.png\n"
    parser = _add(group, commands.explain, "draw why an image is judged as it is", example, _STATUS)
    parser.add_argument("model", metavar="GUARDED", help="a guarded model, from `adapt`")
    parser.add_argument("inputs", metavar="IMAGE", help="the image, PNG or JPEG")
    _add_out(
        parser,
        "picture.png",
        "the picture to write, PNG, PDF or SVG: the image, what the defence made of it, the "
        "change, and what it cost beside what benign inputs cost",
    )


def _add(group: Any, command: Any, about: str, example: str, *more: str) -> Any:
    """Add a command, and the option that all have."""
    sentence = f"{about[0].upper()}{about[1:]}."
    name = command.__name__
    epilog = "\n".join([f"example:\n{example}", *more])
    parser = _formatted(group.add_parser, name, sentence, epilog, help=about)
    parser.set_defaults(command=command)
    parser.add_argument(
        "--json", action="store_true", help="print the summary as JSON, for programs"
    )
    return parser


def _formatted(make: Any, name: str, about: str, more: str, **options: Any) -> Any:
    kept = argparse.RawDescriptionHelpFormatter
    return make(name, description=about, epilog=more, formatter_class=kept, **options)


def _add_out(parser: Any, metavar: str, about: str, **options: Any) -> None:
    parser.add_argument(
        "-o", "--out", required=True, metavar=metavar.upper(), help=about, **options
    )


def _add_key(parser: Any) -> None:
    parser.add_argument(
        "--key",
        metavar="NAME",
        help="the array of an NPZ, or the feature of TFRecords, that holds the inputs (default: "
        "the only one, or x, image or image/encoded)",
    )


def _add_bounds(parser: Any) -> None:
    parser.add_argument(
        "--bounds",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="the smallest and the largest value of the model's inputs (default: 0 1)",
    )


def _add_attack(parser: Any, default: str) -> None:
    parser.add_argument(
        "--attack",
        action="append",
        choices=_ATTACKS,
        metavar="NAME",
        help=f"{', '.join(_ATTACKS)}; give it again for several (default: {default})",
    )


def _keras_file(path: str) -> str:
    if not path.endswith(".keras"):
        raise argparse.ArgumentTypeError(f"must end in .keras. Received: {path}")
    return path
