"""Run the comparison on one data set: `python -m baselines.env1 --dataset mnist`.

Finished results are kept in the folder of results, so a run that was stopped continues.
"""

import pathlib
import sys

from baselines.comparison import Options, arguments, compare
from baselines.comparison.choices import MIN_INPUTS, NOTHING_PUBLISHED
from baselines.comparison.output import summary
from baselines.env1.paper import FIGURES
from baselines.env1.settings import FIGURE_3, NAMES, detectors
from models import datasets, registry, zoo

_SUITE = "env1"


def main(argv=None):
    """Craft, measure, compare, and write the report.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    words = sys.argv[1:] if argv is None else argv
    chosen = arguments.parser(_SUITE, __doc__, min_inputs=MIN_INPUTS).parse_args(words)
    name, record = chosen.dataset, registry.find(chosen.dataset)
    data = datasets.load(name, chosen.data_dir)
    options = Options(
        limit=chosen.limit,
        benign_accuracy=record.settings.benign_accuracy,
        halves=FIGURE_3,
        published=FIGURES.get(name, NOTHING_PUBLISHED),
        names=NAMES,
        about=arguments.about(_SUITE, words, name, data),
        verbose=int(sys.stdout.isatty()),
    )
    out = pathlib.Path(chosen.out or f"results/{_SUITE}/{name}")
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


if __name__ == "__main__":
    main()
