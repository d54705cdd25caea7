"""Compare detectors on your own classifier: `python -m baselines.compare --model m.keras ...`.

The data is an NPZ file with the arrays `x_test` and `y_test`, and optionally `x_train`, `y_train`
and `class_names`. Finished results are kept in the folder of results, so a run that was stopped
continues.
"""

import argparse
import pathlib
import sys

from a2d_keras import Classifier
from a2d_keras.cli import saved_models
from baselines.compare import data
from baselines.compare.sizes import default_limit
from baselines.compare.suite import run
from baselines.comparison import Options
from baselines.comparison.output import summary


def main(argv=None):
    """Craft, measure, compare, and write the report.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    words = sys.argv[1:] if argv is None else argv
    parser = _parser()
    chosen = parser.parse_args(words)
    try:
        _run(chosen, words)
    except ValueError as error:
        parser.error(str(error))


def _run(chosen, words):
    path = pathlib.Path(chosen.model)
    classifier = Classifier(saved_models.load_classifier(str(path)), bounds=tuple(chosen.bounds))
    out = pathlib.Path(chosen.out or f"results/compare/{path.stem}")
    about = {
        "suite": "Compare",
        "title": path.stem,
        "command": f"python -m baselines.compare {' '.join(words)}",
    }
    arrays = data.load(chosen.data, classifier)
    limit = chosen.limit or default_limit(arrays.arrays.x_test)
    found = run(
        classifier,
        arrays,
        attacks=chosen.attacks,
        detectors=chosen.detectors,
        out=out,
        options=Options(limit=limit, about=about, verbose=int(sys.stdout.isatty())),
    )
    print(summary(found.tables))
    print(f"Written to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def _parser():
    parser = argparse.ArgumentParser(prog="python -m baselines.compare", description=__doc__)
    parser.add_argument("--model", required=True, help="the classifier, a .keras or .h5 file")
    parser.add_argument("--data", required=True, help="the NPZ file")
    parser.add_argument(
        "--bounds",
        nargs=2,
        type=float,
        default=(0.0, 1.0),
        metavar=("LOW", "HIGH"),
        help="smallest and largest value of an input (0 1)",
    )
    parser.add_argument("--attacks", nargs="+", metavar="NAME", help="attacks that craft")
    parser.add_argument(
        "--detectors", nargs="+", metavar="NAME", help="detectors, or module:Class of your own"
    )
    parser.add_argument("--limit", type=int, help="maximum test inputs (200, 100 for large ones)")
    parser.add_argument("--out", help="folder for results (results/compare/<model>)")
    return parser


if __name__ == "__main__":
    main()
