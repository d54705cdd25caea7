"""Let adaptive attacks meet the guards: `python -m baselines.adaptive --dataset mnist`.

Finished results are kept in the folder of results, so a run that was stopped continues.
"""

import dataclasses
import pathlib
import sys
import time

from baselines.adaptive import writing
from baselines.adaptive.settings import ATTACKS, FIGURE_7, GUARDS, SCENES, TABLE_4, Sizes
from baselines.adaptive.suite import PARTS, Suite
from baselines.comparison import arguments
from baselines.comparison.checkpoints import Checkpoints
from baselines.comparison.provenance import provenance
from models import datasets, zoo

_SUITE = "adaptive"
_MIN_INPUTS = 2
_LIMIT = 100


def main(argv=None):
    """Attack, judge, and write the report after every part.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    started = time.monotonic()
    words = sys.argv[1:] if argv is None else argv
    chosen = _parser().parse_args(words)
    name, scene = chosen.dataset, SCENES[chosen.dataset]
    sizes = Sizes(*(getattr(chosen, field) for field in Sizes._fields))
    data = datasets.load(name, chosen.data_dir)
    out = pathlib.Path(chosen.out or f"results/{_SUITE}/{name}")
    checkpoints = Checkpoints(out / "checkpoints")
    narrowed = {
        field: tuple(getattr(chosen, field))
        for field in ("attacked", "guards", "attacks")
        if getattr(chosen, field)
    }
    scene = dataclasses.replace(scene, **narrowed)
    suite = Suite(name, data, scene=scene, sizes=sizes, out=out, checkpoints=checkpoints)
    found = {}
    for part in chosen.parts:
        found |= PARTS[part](suite)
        about = {
            **arguments.about(_SUITE, words, name, data),
            "sizes": sizes._asdict(),
            "eps": scene.eps,
            "farthest": scene.farthest,
            "confidences": {"Figure 7": FIGURE_7, "Table 4": TABLE_4},
            **provenance(zoo.load(scene.swept), data, checkpoints.seconds, started),
        }
        writing.write(out, about, found)
    print((out / "tables.md").read_text())
    print(f"Written to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def _parser():
    parser = arguments.parser(_SUITE, __doc__, min_inputs=_MIN_INPUTS, limit=_LIMIT)
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=[*PARTS], help="what to measure (everything)"
    )
    classifiers = [each for scene in SCENES.values() for each in scene.attacked]
    for option, choices, meaning in (
        ("attacked", classifiers, "classifiers that the red team attacks"),
        ("guards", GUARDS, "guards that the red team attacks"),
        ("attacks", ATTACKS, "attacks of the red team"),
    ):
        help_ = f"{meaning} (all)"
        parser.add_argument(f"--{option}", nargs="+", choices=choices, help=help_)
    for option, default, meaning in (
        ("pairs", 90, "pairs of an input and a target for C&W"),
        ("coarser", 1, "how many times as long, and fewer, the steps of BIM_d are"),
        ("benign", 1000, "benign inputs to learn from"),
        ("iterations", 1000, "iterations of each search of C&W"),
        ("steps", 200, "steps of the red team"),
        ("samples", 64, "points of each maximum of CLEVER"),
        ("maxima", 50, "maxima of each fit of CLEVER"),
    ):
        help_ = f"{meaning} ({default})"
        parser.add_argument(f"--{option}", type=int, default=default, help=help_)
    return parser


if __name__ == "__main__":
    main()
