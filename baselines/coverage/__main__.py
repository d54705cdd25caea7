"""Judge attacks, harmless changes and other data: `python -m baselines.coverage --dataset mnist`.

Finished results are kept in the folders of results, so a run that was stopped continues.
"""

import pathlib
import sys

from baselines.comparison import arguments
from baselines.coverage.suite import MIN_INPUTS, Folders, cover
from models import datasets, zoo

_SUITE = "coverage"


def main(argv=None):
    """Craft, measure, judge, and write the report.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    words = sys.argv[1:] if argv is None else argv
    parser = arguments.parser(_SUITE, __doc__, min_inputs=MIN_INPUTS)
    parser.add_argument(
        "--examples", help="folder for adversarial examples (results/examples/<dataset>)"
    )
    chosen = parser.parse_args(words)
    name, limit = chosen.dataset, chosen.limit
    data = datasets.load(name, chosen.data_dir)
    out = pathlib.Path(chosen.out or f"results/{_SUITE}/{name}")
    cover(
        zoo.load_or_train(name, data),
        data,
        name=name,
        folders=Folders(out, pathlib.Path(chosen.examples or _examples(name, limit))),
        limit=limit,
        about=arguments.about(_SUITE, words, name, data),
    )
    print((out / "tables.md").read_text())
    print(f"Written to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def _examples(name, limit):
    """Keep a quick look apart from the examples of a full run, which take long to craft."""
    folder = f"results/examples/{name}"
    return folder if limit == arguments.LIMIT else f"{folder}-{limit}"


if __name__ == "__main__":
    main()
