"""Tables 2 and 3 on examples chosen as by BL3's authors: `python -m baselines.env2.stored`.

As coded, most attacks fool seldom. The authors attack all test images that the classifier gets
right, keep those that fool, and compare them with other images. So does this on MNIST with each
attack, as coded and in its sound form, until `--limit` of its examples fool. Finished results are
kept, so a run that was stopped continues, also with more detectors.
"""

import argparse
import pathlib

import numpy as np
import pandas as pd

from a2d_keras import Attack, Classifier
from baselines.comparison import Comparison, Options, accuracy, protocols
from baselines.comparison.checkpoints import Checkpoints
from baselines.comparison.labels import correctly_classified
from baselines.comparison.measurements import Measurements, Split, Work
from baselines.env2 import settings, tables
from baselines.env2.paper import FIGURES, of_attack
from models import datasets, registry, zoo

_NAME = settings.CLASSIFIERS["mnist"]
_TOGETHER = 250  # inputs that are attacked at once
_DETECTORS = ("JSMA_d", "BIM_d", "BIM2_d", "DBA_d", "default", "BoundaryDistance", "BL3", "BL4")


def main(argv=None):
    """Craft, measure, and write both tables for both forms.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    chosen = _parser().parse_args(argv)
    out = pathlib.Path(chosen.out)
    work = Work(Classifier(zoo.load(_NAME)), Checkpoints(out / "checkpoints" / "stored"))
    data = datasets.load(_NAME, chosen.data_dir)
    sound, coded = settings.parts("mnist", data, chosen.limit)
    detectors = {name: sound.detectors[name] for name in chosen.detectors}
    for form, attacks in (("coded", coded.attacks), ("sound", sound.attacks)):
        measurements = measure(work, data, attacks, detectors, chosen.limit)
        found = {"table_2": table_2(measurements), "table_3": table_3(measurements)}
        for name, table in found.items():
            path = out / f"stored_{name}_{form}.csv"
            table.to_csv(path, index=False, float_format="%.4f")
            print(f"{path.name}\n{table.to_string(index=False, float_format='%.4f')}\n")


def measure(work, data, attacks, detectors, limit):
    """Craft examples that fool, and measure them and as many benign inputs.

    Args:
        work: The `baselines.comparison.measurements.Work` on the classifier.
        data: The `models.record.Dataset`.
        attacks: The attacks, a dict by name.
        detectors: The detectors, which learn from no attack, a dict by name, as for
            `baselines.comparison.compare`.
        limit: The largest number of examples of an attack, and that of benign inputs, which are
            the last that the classifier gets right.

    Returns:
        The `Measurements`. Inputs of different kinds do not belong together.
    """
    correct = correctly_classified(work.classifier, data.x_test, data.y_test, None)
    inputs = {"benign": correct[-limit:]}
    for name, attack in attacks.items():
        inputs[name] = _fooling(work, name, attack, correct[:-limit], limit)
    fooled = {name: np.ones(len(inputs[name]), bool) for name in attacks}
    defences = {name: each for name, each in detectors.items() if isinstance(each, Attack)}
    split = Split(inputs, fooled, *work.attack_again("stored", inputs, defences))
    baselines = {
        name: make(work.classifier.model, data)
        for name, make in detectors.items()
        if name not in defences
    }
    characteristics = {
        name: {
            kind: work.characteristics(f"{kind} {name}", each, x, x) for kind, x in inputs.items()
        }
        for name, each in baselines.items()
    }
    return Measurements(split, None, {}, baselines, characteristics)


def table_2(measurements):
    """Compute AUROCs.

    Args:
        measurements: What `measure` returned.

    Returns:
        A `pandas.DataFrame` with a row for each attack and detector: `attack`, `detector`, `auroc`
        and its 95 % interval `low` to `high`, the number of `examples`, and the `paper`'s AUROC,
        or NaN.
    """
    steps = measurements.test.steps
    found = {
        name: {kind: -frame[name].to_numpy() for kind, frame in steps.items()}
        for name in measurements.test.defences
    }
    for name, baseline in measurements.baselines.items():
        own = measurements.characteristics[name]
        baseline.fit_characteristics(*[own["benign"]] * 3)  # nothing is learned from attacks
        found[name] = {k: baseline.score_characteristics(values) for k, values in own.items()}
    rows = []
    for attack, fooled in measurements.test.fooled.items():
        for name, score in found.items():
            row = {"attack": attack, "detector": name}
            row |= protocols.auroc(score["benign"], score[attack]) | {"examples": len(fooled)}
            rows.append(row | {"paper": of_attack(FIGURES["mnist"], attack).get(name, np.nan)})
    return pd.DataFrame(rows)


def table_3(measurements):
    """Compute the price of defences and of the sequential test.

    Args:
        measurements: What `measure` returned.

    Returns:
        A `pandas.DataFrame`, as `baselines.env2.tables.table_3` returns it.
    """
    kept = registry.find(_NAME).settings.benign_accuracy
    rows = {"table_3": accuracy.table_3(measurements, kept)}
    return tables.table_3(Comparison(rows, {}, {}, measurements, Options()))


def _fooling(work, name, attack, pool, limit):
    """Attack a few inputs at a time until enough examples fool."""
    fields = {"adversarial": "adversarial", "success": "success"}
    examples, attacked = pool[:0], 0
    while len(examples) < limit and attacked < len(pool):
        x = pool[attacked : attacked + _TOGETHER]
        found = work.attack(f"{name} {attacked}", attack, x, fields)
        examples = np.concatenate([examples, found["adversarial"][found["success"]]])
        attacked += len(x)
    print(f"{name}: {len(examples)} fool of {attacked}", flush=True)
    return examples[:limit]


def _parser():
    parser = argparse.ArgumentParser(prog="python -m baselines.env2.stored", description=__doc__)
    parser.add_argument("--limit", type=int, default=200, help="maximum examples an attack (200)")
    parser.add_argument("--detectors", nargs="+", choices=_DETECTORS, default=_DETECTORS)
    parser.add_argument("--data-dir", help="folder that holds mnist.npz")
    parser.add_argument("--out", default="results/env2/mnist", help="folder for results")
    return parser


if __name__ == "__main__":
    main()
