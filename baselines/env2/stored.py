"""Env2's attacks as coded, chosen as by BL3's authors: `python -m baselines.env2.stored`.

As coded, most attacks fool seldom. The authors attack all test images that the classifier gets
right, keep those that fool, and compare them with other images. So does this, on MNIST: each attack
goes on until `--limit` of its examples fool. Finished results are kept, so a run that was stopped
continues, also with more detectors.
"""

import argparse
import pathlib

import numpy as np
import pandas as pd

from a2d_keras import Attack, Classifier
from baselines.comparison import protocols
from baselines.comparison.checkpoints import Checkpoints
from baselines.comparison.labels import correctly_classified
from baselines.comparison.measurements import Work
from baselines.env2 import settings
from baselines.env2.paper import FIGURES, of_attack
from models import datasets, registry, zoo

_NAME = settings.CLASSIFIERS["mnist"]
_TOGETHER = 250  # inputs that are attacked at once
_DETECTORS = ("JSMA_d", "BIM_d", "BIM2_d", "DBA_d", "default", "BoundaryDistance", "BL3", "BL4")


def main(argv=None):
    """Craft, score, and write `stored.csv`.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    chosen = _parser().parse_args(argv)
    out = pathlib.Path(chosen.out)
    work = Work(Classifier(zoo.load(_NAME)), Checkpoints(out / "checkpoints" / "stored"))
    data = datasets.load(_NAME, chosen.data_dir)
    known = settings.detectors(registry.find(_NAME).settings)
    detectors = {name: known[name] for name in chosen.detectors}
    table = compare(work, data, settings.as_coded(data), detectors, chosen.limit)
    table.to_csv(out / "stored.csv", index=False, float_format="%.4f")
    print(table.to_string(index=False, float_format="%.4f"))


def compare(work, data, attacks, detectors, limit):
    """Compute the AUROC of detectors that learn from no attack.

    Args:
        work: The `baselines.comparison.measurements.Work` on the classifier.
        data: The `models.record.Dataset`.
        attacks: The attacks, a dict by name.
        detectors: The detectors, a dict by name, as for `baselines.comparison.compare`.
        limit: The largest number of examples of an attack, and that of benign inputs, which are
            the last that the classifier gets right.

    Returns:
        A `pandas.DataFrame` with a row for each attack and detector: `attack`, `detector`, `auroc`
        and its 95 % interval `low` to `high`, the number of `examples`, how many inputs were
        `attacked` to get them, and the `paper`'s AUROC, or NaN.
    """
    correct = correctly_classified(work.classifier, data.x_test, data.y_test, None)
    pool, benign = correct[:-limit], correct[-limit:]
    found = {name: _fooling(work, name, attack, pool, limit) for name, attack in attacks.items()}
    inputs = {"benign": benign, **{name: x for name, (x, _) in found.items()}}
    rows = []
    for detector, each in detectors.items():
        scores = _scores(work, detector, each, data, inputs)
        for name, (x, attacked) in found.items():
            area = protocols.auroc(scores["benign"], scores[name])
            row = {"attack": name, "detector": detector, **area, "examples": len(x)}
            paper = of_attack(FIGURES["mnist"], name).get(detector, np.nan)
            rows.append(row | {"attacked": attacked, "paper": paper})
    return pd.DataFrame(rows)


def _fooling(work, name, attack, pool, limit):
    """Attack a few inputs at a time until enough fool; return these, and how many were attacked."""
    fields = {"adversarial": "adversarial", "success": "success"}
    examples, attacked = pool[:0], 0
    while len(examples) < limit and attacked < len(pool):
        x = pool[attacked : attacked + _TOGETHER]
        found = work.attack(f"{name} {attacked}", attack, x, fields)
        examples = np.concatenate([examples, found["adversarial"][found["success"]]])
        attacked += len(x)
    return examples[:limit], attacked


def _scores(work, name, detector, data, inputs):
    """Score all kinds of input, a dict by kind; higher is more adversarial."""
    if isinstance(detector, Attack):
        steps, _ = work.attack_again("stored", inputs, {name: detector})
        return {kind: -frame[name].to_numpy() for kind, frame in steps.items()}
    made = detector(work.classifier.model, data)
    found = {k: work.characteristics(f"{k} {name}", made, x, x) for k, x in inputs.items()}
    made.fit_characteristics(*[found["benign"]] * 3)  # nothing is learned from attacks
    return {kind: made.score_characteristics(values) for kind, values in found.items()}


def _parser():
    parser = argparse.ArgumentParser(prog="python -m baselines.env2.stored", description=__doc__)
    parser.add_argument("--limit", type=int, default=200, help="maximum examples an attack (200)")
    parser.add_argument("--detectors", nargs="+", choices=_DETECTORS, default=_DETECTORS)
    parser.add_argument("--data-dir", help="folder that holds mnist.npz")
    parser.add_argument("--out", default="results/env2/mnist", help="folder for results")
    return parser


if __name__ == "__main__":
    main()
