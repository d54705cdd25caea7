"""Run Env2 on one data set: `python -m baselines.env2 --dataset mnist`.

Finished results are kept in the folder of results, so a run that was stopped continues. Each part
has a folder with a report page of its own.
"""

import argparse
import pathlib
import sys
import time

from a2d_keras import Classifier
from baselines.comparison import Options, arguments, compare
from baselines.comparison.checkpoints import Checkpoints
from baselines.comparison.choices import MIN_INPUTS
from baselines.comparison.measurements import Work
from baselines.env1.settings import NAMES
from baselines.env2 import photographs, settings, tables, writing
from models import datasets, imagenet, registry, zoo

_SUITE = "env2"
_IMAGENET = "imagenet"


def main(argv=None):
    """Craft, measure, compare, and write the reports.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    words = sys.argv[1:] if argv is None else argv
    parser = _parser()
    chosen = parser.parse_args(words)
    out = pathlib.Path(chosen.out or f"results/{_SUITE}/{_title(chosen)}")
    try:
        run = _photographs(chosen) if chosen.dataset == _IMAGENET else _images(chosen)
    except FileNotFoundError as error:  # there are no weights, or no data
        parser.error(str(error))
    about = {
        "suite": "Env2",
        "command": f"python -m baselines.{_SUITE} {' '.join(words)}",
        "data set": chosen.dataset,
    }
    started, found = time.monotonic(), {}
    for part in run.parts:
        print(f"{part.name}: {', '.join(part.attacks)}", flush=True)
        found[part.name] = _compare(run, part, out, about)
    results = tables.compute(found)
    seconds = {name: each.about["seconds of all checkpoints"] for name, each in found.items()}
    first = next(iter(found.values())).about
    same = {name: first[name] for name in ("date", "versions", "digests", "test accuracy")}
    published = {part.name: part.published for part in run.parts}
    writing.write(out, {**about, **same, "seconds of parts": seconds}, results, published)
    print((out / "tables.md").read_text())
    print(f"Written to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    print(f"{sum(seconds.values())} s of work, {time.monotonic() - started:.0f} s now")


def _compare(run, part, out, about):
    """Compare one part. Parts of one size share what they measure."""
    work = run.work(Checkpoints(out / "checkpoints" / str(part.limit)))
    title = f"{run.title}, {part.name.replace('_', ' ')}"
    options = Options(
        limit=part.limit,
        benign_accuracy=run.benign_accuracy,
        published=part.published,
        names=NAMES,
        about={**about, "title": title},
        fooled_only=True,
        verbose=int(sys.stdout.isatty()),
    )
    return compare(
        work,
        run.data,
        attacks=part.attacks,
        detectors=part.detectors,
        out=out / part.name,
        options=options,
    )


def _images(chosen):
    name = settings.CLASSIFIERS[chosen.dataset]
    classifier = Classifier(zoo.load(name))
    data, record = datasets.load(name, chosen.data_dir), registry.find(name)
    return settings.Run(
        title=record.title,
        data=data,
        parts=settings.parts(chosen.dataset, data, chosen.limit or arguments.LIMIT),
        work=lambda checkpoints: Work(classifier, checkpoints),
        benign_accuracy=record.settings.benign_accuracy,
    )


def _photographs(chosen):
    limit = chosen.limit or photographs.LIMIT
    examples, data, others = photographs.start(chosen.classifier, limit, chosen.data_dir)
    return settings.Run(
        title=_title(chosen),
        data=data,
        parts=photographs.parts(examples.classifier, others, limit),
        work=lambda checkpoints: photographs.Shared(examples, checkpoints),
        benign_accuracy=photographs.BENIGN_ACCURACY,
    )


def _title(chosen):
    if chosen.dataset == _IMAGENET:
        return f"{_IMAGENET}-{chosen.classifier}"
    return chosen.dataset


def _parser():
    parser = argparse.ArgumentParser(prog=f"python -m baselines.{_SUITE}", description=__doc__)
    parser.add_argument("--dataset", choices=[*settings.CLASSIFIERS, _IMAGENET], default="mnist")
    parser.add_argument(
        "--classifier",
        choices=imagenet.CLASSIFIERS,
        default="mobilenet",
        help="for imagenet (mobilenet)",
    )
    parser.add_argument(
        "--limit",
        type=arguments.at_least(MIN_INPUTS),
        help=f"maximum test inputs ({arguments.LIMIT}, or {photographs.LIMIT} photographs)",
    )
    parser.add_argument("--data-dir", help="folder that holds <dataset>.npz, and the photographs")
    parser.add_argument("--out", help=f"folder for results (results/{_SUITE}/<dataset>)")
    return parser


if __name__ == "__main__":
    main()
