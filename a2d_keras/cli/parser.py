"""The arguments of the command line. Nothing here imports TensorFlow, Keras or NumPy."""

import argparse
import ast
import fractions
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from a2d_keras.cli import calls
from a2d_keras.version import __version__

_ABOUT = """\
Detect adversarial inputs of a trained Keras classifier, by how they lie among benign ones.

Run `adapt` once, on benign inputs that the classifier was not trained on; then run `detect`.
"""
_EXAMPLES = """\
examples:
  a2d-keras adapt classifier.keras benign.npz -o guarded.keras
  a2d-keras detect guarded.keras photos/ -o verdicts.csv
  a2d-keras explain guarded.keras photos/suspect.png -o why.png
  a2d-keras redteam guarded.keras test.npz -o report
  a2d-keras cost classifier.keras photos/ --attack JSMA -o costs.csv

`a2d-keras COMMAND --help` lists the options of a command.
"""
_INPUTS = """\
inputs:
  FILE.npz or FILE.npy   an array of inputs
  FOLDER                 PNG and JPEG images, subfolders included
  IMAGE.png or '*.png'   one image, or several with a quoted pattern
  'SHARDS-*.tfrecord'    records of tf.train.Example in which one feature holds an encoded image
                         or the numbers of an input

  Inputs are read one batch at a time. Pixels (images, and arrays of type uint8) are scaled from
  0 ... 255 to the model's bounds; other numbers are used as they are. Images are read upright, in
  grey or in colour, whichever the model takes, and resized only with --resize. Other files in a
  folder are skipped and counted.
"""
_STATUS = """\
exit status:
  0 no input was flagged, 3 some were flagged, 2 an error occurred, or none was flagged and some
  could not be read
"""
_REDTEAM_STATUS = """\
exit status:
  0 nothing got through, 3 something did, 2 an error occurred
"""
_DRAWINGS = (".html", ".pdf", ".png", ".svg")
_RULES = ("fisher", "knn", "zscore")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line.

    Returns:
        A parser whose results have the name of the command as `command`, one of `COMMANDS`.

    Examples:
        >>> make_parser().parse_args(["detect", "guarded.keras", "photos", "-o", "v.csv"]).command
        'detect'
    """
    parser = argparse.ArgumentParser("a2d-keras", **_texts(_ABOUT, _EXAMPLES, _STATUS))
    parser.add_argument("--version", action="version", version=f"a2d-keras {__version__}")
    group = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )
    for name, add in COMMANDS.items():
        command = add(group, name)
        command.add_argument(
            "--json", action="store_true", help="print the summary as JSON, for programs"
        )
    return parser


def attack_names(package: str = "attacks") -> list[str]:
    """List the attacks, from the import lines of `a2d_keras/attacks/__init__.py`.

    They are read as text, since importing them would import TensorFlow.

    Args:
        package: The package of the registry: `"attacks"`, the default, `"statistics"` or
            `"redteam"`.

    Returns:
        The names of the classes, sorted.

    Examples:
        >>> "BIM" in attack_names()
        True
    """
    path = pathlib.Path(__file__).parent.parent / package / "__init__.py"
    lines = ast.parse(path.read_text(encoding="utf-8")).body
    imports = [line for line in lines if isinstance(line, ast.ImportFrom)]
    return sorted(alias.asname for line in imports for alias in line.names if alias.asname)


def _adapt(group: Any, name: str) -> argparse.ArgumentParser:
    example = "  a2d-keras adapt mnist.keras mnist.npz --key x_test -o guarded.keras\n"
    about = "learn how benign inputs are distributed, and guard the classifier"
    parser = _add(group, name, about, example, _INPUTS)
    parser.add_argument("model", metavar="MODEL", help="the classifier, .keras or .h5")
    parser.add_argument("inputs", metavar="BENIGN", help="a few hundred benign inputs; see below")
    _add_key(parser)
    _add_out(parser, "guarded.keras", "the guarded model to write", type=_keras_file)
    _add_bounds(parser)
    _add_attack(
        parser, "none: a few cheap statistics judge; with attacks, what they cost", "judge by"
    )
    names = attack_names("statistics")
    _add_calls(parser, "--statistic", names, "measure", "a few cheap ones")
    parser.add_argument(
        "--rule",
        type=_call(_RULES),
        metavar="NAME",
        help="fisher (any statistics, with p-values), zscore (costs of attacks, by default of BIM "
        "with a step size that suits the model) or knn (costs, with --adversarial), with "
        "parameters as in 'zscore(k=2)' (default: the one that suits the other options)",
    )
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
        help="adversarial inputs to learn from as well; the nearest neighbours among both kinds "
        "then decide",
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="judge by attacks, and run each to its end instead of stopping once the verdict is "
        "settled",
    )
    parser.add_argument(
        "--on-invalid",
        choices=("raise", "flag"),
        default="raise",
        help="stop at inputs that are not finite or out of bounds, or flag them "
        "(default: %(default)s)",
    )
    return parser


def _detect(group: Any, name: str) -> argparse.ArgumentParser:
    example = (
        "  a2d-keras detect guarded.keras photos/ -o verdicts.csv\n"
        "  a2d-keras detect guarded.keras 'shards/*.tfrecord' --key image/encoded -o verdicts.csv\n"
    )
    parser = _add(group, name, "flag adversarial inputs", example, _INPUTS, _STATUS)
    parser.add_argument("model", metavar="GUARDED", help="a guarded model, from `adapt`")
    parser.add_argument("inputs", metavar="INPUTS", help="the inputs to judge; see below")
    _add_key(parser)
    _add_table(parser, "verdicts.csv")
    parser.add_argument(
        "--false-positive-rate",
        type=float,
        metavar="RATE",
        help="the share of benign inputs that may be flagged, for a guarded model that gives "
        "p-values; it need not adapt again (default: the rate of `adapt`)",
    )
    return parser


def _cost(group: Any, name: str) -> argparse.ArgumentParser:
    example = "  a2d-keras cost classifier.keras photos/ --attack JSMA -o costs.csv\n"
    about = "count the steps that attacks need"
    parser = _add(group, name, about, example, _INPUTS)
    parser.add_argument("model", metavar="MODEL", help="a classifier, or a guarded model")
    parser.add_argument("inputs", metavar="INPUTS", help="the inputs to attack; see below")
    _add_key(parser)
    _add_table(parser, "costs.csv")
    _add_bounds(parser)
    _add_attack(parser, "those of a guarded model, or BIM", "run")
    return parser


def _explain(group: Any, name: str) -> argparse.ArgumentParser:
    example = (
        "  a2d-keras explain guarded.keras photos/suspect.png -o why.png\n"
        "  a2d-keras explain guarded.keras photos/*.png --classes names.txt -o why.html\n"
    )
    about = "draw why images are flagged or not"
    parser = _add(group, name, about, example, _STATUS)
    parser.add_argument("model", metavar="GUARDED", help="a guarded model, from `adapt`")
    parser.add_argument(
        "inputs", metavar="IMAGE", nargs="+", help="images, PNG or JPEG, or folders of them"
    )
    parser.set_defaults(key=None)
    _add_reading(parser)
    _add_out(
        parser,
        "page.html",
        "the page to write, or for one image also a PNG, PDF or SVG: each image, and its "
        "statistics among those of benign inputs; for attacks also the adversarial example that "
        "the detector found",
        type=_drawing,
    )
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="a text file with the name of each class on a line (default: their numbers)",
    )
    return parser


def _redteam(group: Any, name: str) -> argparse.ArgumentParser:
    example = "  a2d-keras redteam guarded.keras test.npz --eps 8/255 -o report\n"
    about = "attack a guarded model, and report what gets through"
    parser = _add(group, name, about, example, _INPUTS, _REDTEAM_STATUS)
    parser.add_argument("model", metavar="GUARDED", help="a guarded model, from `adapt`")
    parser.add_argument(
        "inputs", metavar="INPUTS", help="benign inputs that `adapt` has not seen; see below"
    )
    _add_key(parser)
    parser.add_argument(
        "--labels",
        metavar="NAME",
        help="the array of an NPZ file that holds the true classes (default: y, if there is one; "
        "else the classifier's own predictions count as true)",
    )
    _add_out(
        parser,
        "report",
        "the folder to write: report.html, results.json, and finished parts, from which the same "
        "command continues after a stop",
    )
    parser.add_argument(
        "--eps",
        type=_fraction,
        default=8 / 255,
        metavar="DISTANCE",
        help="the largest change of a value, as a fraction of the input range (default: 8/255)",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=100,
        metavar="COUNT",
        help="how many inputs to attack, the first ones (default: %(default)s)",
    )
    _add_calls(parser, "--attack", attack_names("redteam"), "run", "the standard set")
    parser.set_defaults(interrupted="keeps what is finished: the same command continues")
    return parser


# Every name is a command, and a function of `a2d_keras.cli.commands` that runs it.
COMMANDS = {
    "adapt": _adapt,
    "detect": _detect,
    "cost": _cost,
    "explain": _explain,
    "redteam": _redteam,
}


def _add(group: Any, name: str, about: str, example: str, *more: str) -> argparse.ArgumentParser:
    sentence = f"{about[0].upper()}{about[1:]}."
    texts = _texts(sentence, f"example:\n{example}", *more)
    parser: argparse.ArgumentParser = group.add_parser(name, help=about, **texts)
    return parser


def _texts(about: str, *more: str) -> dict[str, Any]:
    return {
        "description": about,
        "epilog": "\n".join(more),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def _add_out(parser: argparse.ArgumentParser, metavar: str, about: str, **options: Any) -> None:
    parser.add_argument(
        "-o", "--out", required=True, metavar=metavar.upper(), help=about, **options
    )


def _add_table(parser: argparse.ArgumentParser, metavar: str) -> None:
    _add_out(
        parser,
        metavar,
        "the table to write, one row per input: CSV, or JSON lines if its name ends in .jsonl",
    )


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key",
        metavar="NAME",
        help="the array of an NPZ file, or the feature of TFRecords, that holds the inputs "
        "(default: the only one, or x, image or image/encoded)",
    )
    _add_reading(parser)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resize",
        action="store_true",
        help="bring images to the size that the model takes, or to that of the first image",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="stop at an input that cannot be read, and at files beside the images",
    )


def _add_bounds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bounds",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="the smallest and the largest value of the model's inputs (default: 0 1)",
    )


def _add_attack(parser: argparse.ArgumentParser, default: str, verb: str) -> None:
    _add_calls(parser, "--attack", attack_names(), verb, default)


def _add_calls(
    parser: argparse.ArgumentParser, option: str, names: list[str], verb: str, default: str
) -> None:
    parser.add_argument(
        option,
        action="append",
        type=_call(names),
        metavar="NAME",
        help=f"{verb} {', '.join(names)}, with parameters as in 'NAME(parameter=1)'; repeat the "
        f"option for several (default: {default})",
    )


def _call(names: Sequence[str]) -> Callable[[str], calls.Call]:
    def parse(text: str) -> calls.Call:
        try:
            return calls.parse(text, names)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def _fraction(text: str) -> float:
    try:
        return float(fractions.Fraction(text))
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(
            f"must be a number or a fraction, such as 0.03 or 8/255. Received: {text}"
        ) from error


def _keras_file(path: str) -> str:
    if not path.endswith(".keras"):
        raise argparse.ArgumentTypeError(f"must end in .keras. Received: {path}")
    return path


def _drawing(path: str) -> str:
    if not path.lower().endswith(_DRAWINGS):
        ends = f"{', '.join(_DRAWINGS[:-1])} or {_DRAWINGS[-1]}"
        raise argparse.ArgumentTypeError(f"must end in {ends}. Received: {path}")
    return path
