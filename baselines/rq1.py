"""RQ1: which attacks make good defences: the costs of eight on benign and adversarial inputs.

Zhao et al. 2021, Section 5.1, Figures 4 and 5. `python -m baselines.rq1 --dataset mnist` draws
time and iterations. Attacks run in batches, so the time of an input is its share of the run's
time, by queries. Only the times depend on the speed of the machine.
"""

import argparse
import csv
import pathlib
import sys
import time

import numpy as np

from a2d_keras import FGSM, LBFGS, LSA, CarliniWagner, Classifier
from baselines import plots
from baselines.comparison.labels import correctly_classified
from models import datasets, registry, zoo


def main(argv=None):
    """Measure every defence on every kind of input, print the medians, write them and the plots.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    arguments = _parse(argv)
    name = arguments.dataset
    data = datasets.load(name, arguments.data_dir)
    model = zoo.load_or_train(name, data)
    benign = correctly_classified(model, data.x_test, data.y_test, arguments.limit)
    print(f"{name}: {len(benign)} correctly classified test inputs")
    classifier, verbose = Classifier(model), int(sys.stdout.isatty())
    kinds = {"benign": benign}
    for kind, attack in registry.find(name).settings.attacks.items():
        kinds[kind] = attack(classifier, benign, verbose=verbose).adversarial
    seconds, steps = measure(classifier, kinds, defences(name), verbose)
    rows = medians(seconds, steps)
    for row in rows:
        print("{defence:>9} on {kind:>6}: {steps:6.1f} steps, {seconds:.4f} s".format(**row))
    out = pathlib.Path(arguments.out or f"results/rq1/{name}")
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "medians.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    plots.boxes(out / "time.png", f"{name}: seconds of", "seconds", seconds)
    plots.boxes(out / "iterations.png", f"{name}: steps of", plots.STEPS, steps)
    print(f"Written to {out}: iterations.png, medians.csv, time.png")


def defences(name):
    """Make the eight attacks to try as defences.

    Args:
        name: The data set.

    Returns:
        A dict from their names to the attacks.
    """
    env1 = registry.find(name).settings.defences
    return {
        "FGSM_d": FGSM(eps=registry.find(name).settings.attacks["FGSM"].eps),
        "BIM_d": env1["BIM_d"],
        "BIM2_d": env1["BIM2_d"],
        "JSMA_d": env1["JSMA_d"],
        "C&W_d": CarliniWagner(),
        "L-BFGS_d": LBFGS(),
        "LSA_d": LSA(),
        "DBA_d": env1["DBA_d"],
    }


def measure(classifier, kinds, attacks, verbose=0):
    """Run every defence on every kind of input.

    Args:
        classifier: The `a2d_keras.Classifier`.
        kinds: Inputs, a dict from their kind to float32, (n, height, width, channels).
        attacks: The defences by name, a dict.
        verbose: 1 shows progress bars. Defaults to 0.

    Returns:
        Seconds and steps of every input: two dicts from the kind to a dict from the defence to
        an array (n,).
    """
    seconds = {kind: {} for kind in kinds}
    steps = {kind: {} for kind in kinds}
    for name, attack in attacks.items():
        print(f"measuring {name}: {attack}", flush=True)
        attack(classifier, kinds["benign"][:2])  # compile
        for kind, x in kinds.items():
            started = time.perf_counter()
            result = attack(classifier, x, verbose=verbose)
            elapsed = time.perf_counter() - started
            seconds[kind][name] = elapsed * result.queries / result.queries.sum()
            steps[kind][name] = result.cost
    return seconds, steps


def medians(seconds, steps):
    """Compute the medians.

    Args:
        seconds: As returned by `measure`.
        steps: As returned by `measure`.

    Returns:
        A list of dicts, one for each defence and kind: `defence`, `kind`, `steps`, `seconds`.
    """
    return [
        {
            "defence": defence,
            "kind": kind,
            "steps": float(np.median(steps[kind][defence])),
            "seconds": round(float(np.median(seconds[kind][defence])), 5),
        }
        for defence in steps["benign"]
        for kind in steps
    ]


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m baselines.rq1", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--dataset", choices=registry.RECORDS, default="digits")
    parser.add_argument("--limit", type=int, default=100, help="maximum test inputs (100)")
    parser.add_argument("--data-dir", help="folder that holds <dataset>.npz")
    parser.add_argument("--out", help="folder for results (results/rq1/<dataset>)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
