"""Compare CLEVER scores of benign and adversarial inputs: `python -m baselines.clever`.

Finished results are kept in the folder of results, so a run that was stopped continues.
"""

import pathlib
import sys
import time

from a2d_keras import Classifier
from baselines.clever import suite, tables, writing
from baselines.comparison import arguments
from baselines.comparison.checkpoints import Checkpoints
from baselines.comparison.measurements import Work
from baselines.comparison.provenance import provenance
from models import datasets, registry, zoo

_SUITE = "clever"
_LIMITS, _LIMIT = {"cifar10": 15}, 40
_MIN_INPUTS = 2  # or a mean has no interval


def main(argv=None):
    """Craft, score, compare, and write the report.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    started = time.monotonic()
    words = sys.argv[1:] if argv is None else argv
    chosen = _parser().parse_args(words)
    name, settings = chosen.dataset, registry.find(chosen.dataset).settings
    limit = chosen.limit or _LIMITS.get(name, _LIMIT)
    sizes = suite.Sizes(limit, chosen.samples, chosen.maxima, tuple(chosen.confidences))
    data = datasets.load(name, chosen.data_dir)
    model = zoo.load_or_train(name, data)
    out = pathlib.Path(chosen.out or f"results/{_SUITE}/{name}")
    work = Work(Classifier(model), Checkpoints(out / "checkpoints"), int(sys.stdout.isatty()))
    scores = suite.score(work, data, settings, sizes)
    found = tables.compute(
        scores, name=name, attacks=[*settings.attacks], confident=sizes.confident()
    )
    attacks = settings.attacks | sizes.confident()
    about = {
        **arguments.about(_SUITE, words, name, data),
        "inputs": int(scores["input"].max()) + 1,
        "samples": chosen.samples,
        "maxima": chosen.maxima,
        "attacks": {attack: repr(each) for attack, each in attacks.items()},
        "fooled": scores.groupby("kind", sort=False)["fooled"].mean()[[*attacks]].to_dict(),
        "forms": {form: repr(options) for form, options in sizes.forms().items()},
        **provenance(model, data, work.checkpoints.seconds, started),
    }
    writing.write(out, about, scores, found)
    print((out / "tables.md").read_text())
    print(f"Written to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def _parser():
    parser = arguments.parser(_SUITE, __doc__, min_inputs=_MIN_INPUTS, limit=None)
    parser.add_argument("--samples", type=int, default=64, help="points of each maximum (64)")
    parser.add_argument("--maxima", type=int, default=50, help="maxima of each fit (50)")
    parser.add_argument(
        "--confidences",
        type=float,
        nargs="+",
        default=[],
        help="confidences of C&W for Table 4 (none; the paper's are 0 2 4 6 8)",
    )
    return parser


if __name__ == "__main__":
    main()
