"""Run the comparison on one data set: `python -m baselines.env1 --dataset mnist`.

Finished results are kept in the folder of results, so a run that was stopped continues.
"""

import argparse
import pathlib
import sys

from baselines.comparison import Options, compare
from baselines.comparison.choices import MIN_INPUTS, NOTHING_PUBLISHED
from baselines.comparison.output import summary
from baselines.digests import digest
from baselines.env1.paper import FIGURES
from baselines.env1.settings import FIGURE_3, detectors
from models import datasets, registry, zoo


def main(argv=None):
    """Craft, measure, compare, and write the report.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    words = sys.argv[1:] if argv is None else argv
    arguments = _parse(words)
    name, record = arguments.dataset, registry.find(arguments.dataset)
    data = datasets.load(name, arguments.data_dir)
    about = {
        "suite": "Env1",
        "data set": name,
        "title": record.copies.get(digest(*data), record.title),
        "command": f"python -m baselines.env1 {' '.join(words)}",
    }
    options = Options(
        limit=arguments.limit,
        benign_accuracy=record.settings.benign_accuracy,
        halves=FIGURE_3,
        published=FIGURES.get(name, NOTHING_PUBLISHED),
        about=about,
        verbose=int(sys.stdout.isatty()),
    )
    out = pathlib.Path(arguments.out or f"results/env1/{name}")
    found = compare(
        zoo.load_or_train(name, data),
        data,
        attacks=record.settings.attacks,
        detectors=detectors(record.settings),
        out=out,
        options=options,
    )
    print(summary(found.tables))
    print(f"Written to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    work, now = (found.about[f"seconds of {what}"] for what in ("all checkpoints", "the last run"))
    print(f"{work} s of work, {now} s now")


def _parse(words):
    parser = argparse.ArgumentParser(prog="python -m baselines.env1", description=__doc__)
    parser.add_argument("--dataset", choices=registry.RECORDS, default="digits")
    parser.add_argument("--limit", type=_limit, default=1000, help="maximum test inputs (1000)")
    parser.add_argument("--data-dir", help="folder that holds <dataset>.npz")
    parser.add_argument("--out", help="folder for results (results/env1/<dataset>)")
    return parser.parse_args(words)


def _limit(text):
    limit = int(text)
    if limit < MIN_INPUTS:
        raise argparse.ArgumentTypeError(
            f"the baselines need at least {MIN_INPUTS} test inputs to learn from. Received: {limit}"
        )
    return limit


if __name__ == "__main__":
    main()
