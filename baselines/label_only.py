"""A label-only statistic beside DBA_d: `python -m baselines.label_only --dataset mnist`.

Both need labels only. DBA_d's costs are read from a finished run of Env1, since they take hours.
The examples are those of Env1.
"""

import argparse
import pathlib
import time

import numpy as np
import pandas as pd

from a2d_keras import Classifier, Fingerprints, LabelDistance
from baselines.comparison import protocols
from baselines.comparison.arguments import LIMIT
from baselines.comparison.checkpoints import Checkpoints
from baselines.comparison.labels import correctly_classified
from baselines.comparison.measurements import Work
from models import datasets, registry, zoo

_DEFENCE = "DBA_d"


def main(argv=None):
    """Measure, and print a table of AUROC on the second half of the inputs.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m baselines.label_only", description=__doc__)
    parser.add_argument("--dataset", choices=registry.RECORDS, default="mnist")
    parser.add_argument("--data-dir", help="folder that holds <dataset>.npz")
    parser.add_argument("--costs", help="costs of Env1 (docs/env1/<dataset>/costs.csv)")
    parser.add_argument("--examples", help="folder of examples (results/examples/<dataset>)")
    chosen = parser.parse_args(argv)
    name = chosen.dataset
    data = datasets.load(name, chosen.data_dir)
    classifier = Classifier(zoo.load_or_train(name, data))
    work = Work(
        classifier, Checkpoints(pathlib.Path(chosen.examples or f"results/examples/{name}"))
    )
    costs = pd.read_csv(chosen.costs or f"docs/env1/{name}/costs.csv")
    print(compare(work, data, registry.find(name).settings, costs).to_markdown(index=False))


def compare(work, data, settings, costs):
    """Compare `LabelDistance` with the costs of DBA_d.

    Args:
        work: The `baselines.comparison.measurements.Work` that crafts.
        data: The `models.record.Dataset`.
        settings: Its `models.record.Settings`.
        costs: The costs of Env1, a `pandas.DataFrame`.

    Returns:
        A `pandas.DataFrame` with a row for each attack: AUROC of both, with 95 % intervals, and
        for `LabelDistance` the queries and the milliseconds of an input.
    """
    statistic = LabelDistance()
    fingerprints = Fingerprints(work.classifier, statistics=[statistic])
    benign = correctly_classified(work.classifier.model, data.x_test, data.y_test, LIMIT)
    attacks = settings.attacks
    examples, fooled = work.craft("test", attacks, dict.fromkeys(attacks, benign))
    second = np.arange(len(benign)) >= len(benign) // 2
    fingerprints.fit(benign[:1]).transform(benign[:1])  # compile
    started = time.perf_counter()
    near = fingerprints.transform(benign[second])[:, 0]
    milliseconds = 1000 * (time.perf_counter() - started) / second.sum()
    rows = []
    for attack in attacks:
        counted = second & fooled[attack]
        ours = -near, -fingerprints.transform(examples[attack][counted])[:, 0]
        theirs = (-costs[f"{kind} {_DEFENCE}"] for kind in ("benign", attack))
        theirs = [each[chosen] for each, chosen in zip(theirs, (second, counted), strict=True)]
        rows.append(
            {
                "attack": attack,
                "LabelDistance": _cell(*ours),
                _DEFENCE: _cell(*theirs),
                "queries": 1 + statistic.passes(work.classifier).queries,
                "ms": round(milliseconds, 1),
            }
        )
    return pd.DataFrame(rows)


def _cell(negative, positive):
    found = protocols.auroc(negative, positive)
    return f"{found['auroc']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


if __name__ == "__main__":
    main()
