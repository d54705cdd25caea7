"""`compare`: from a classifier and its data to the report."""

import dataclasses
import pathlib
import time
from typing import Any

import pandas as pd

from a2d_keras import Attack, Classifier
from baselines.comparison import accuracy, output, protocols
from baselines.comparison.checkpoints import Checkpoints
from baselines.comparison.choices import Options
from baselines.comparison.measurements import Measurements, measure
from baselines.comparison.provenance import provenance


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The results of a comparison.

    Attributes:
        tables: A dict from the table's name to a `pandas.DataFrame`: `auroc_paper`,
            `auroc_held_out`, `transfer`, and with defences `figure_3` (if asked for), `figure_6`,
            `table_3` and `table_7`.
        scores: A dict from the protocol's name to a dict from the attack to a dict from the
            detector to its scores of negatives and of positives.
        about: How the results were made, a dict that JSON can hold.
        measurements: The `baselines.comparison.measurements.Measurements`.
        options: The `Options`.
    """

    tables: dict[str, pd.DataFrame]
    scores: dict[str, Any]
    about: dict[str, Any]
    measurements: Measurements
    options: Options


def compare(model, data, *, attacks, detectors, out, options=None):
    """Compare detectors on adversarial examples of a classifier.

    Adversarial examples are crafted from correctly classified test inputs. Every detector scores
    them under two protocols, and the report is written. Finished results are kept in
    `out/checkpoints`, so the same call continues a run that was stopped.

    Args:
        model: The trained classifier, a `keras.Model` with inputs in [0, 1], or an
            `a2d_keras.Classifier`.
        data: The `models.record.Dataset`.
        attacks: The attacks that craft adversarial examples, a dict by name.
        detectors: The detectors, a dict by name. An `a2d_keras.Attack` detects by its cost; two or
            more also form the ensembles. Anything else is a function that takes the model and the
            data and returns a `baselines.base.Baseline`, such as
            `KernelDensityUncertainty.from_data`.
        out: The folder of the results, created if missing.
        options: The `Options`. Defaults to `Options()`.

    Returns:
        The `Comparison`.
    """
    started = time.monotonic()
    options = options or Options()
    classifier = model if isinstance(model, Classifier) else Classifier(model)
    out = pathlib.Path(out)
    checkpoints = Checkpoints(out / "checkpoints")
    measurements = measure(
        classifier,
        data,
        attacks=attacks,
        detectors=detectors,
        checkpoints=checkpoints,
        options=options,
    )
    scores, tables = evaluate(measurements, options)
    run = {
        "test inputs": len(measurements.test.inputs["benign"]),
        "attacks": {name: repr(attack) for name, attack in attacks.items()},
        "defences": {n: repr(each) for n, each in detectors.items() if isinstance(each, Attack)},
        "baselines": {n: each.parameters() for n, each in measurements.baselines.items()},
    }
    made = provenance(classifier.model, data, checkpoints.seconds, started)
    about = {**options.about, **run, **made}
    comparison = Comparison(tables, scores, about, measurements, options)
    output.write(out, comparison)
    return comparison


def evaluate(measurements, options):
    """Score every input with every detector, and compute all tables.

    Args:
        measurements: The `baselines.comparison.measurements.Measurements`.
        options: The `Options`.

    Returns:
        The scores and the tables, as in `Comparison`.
    """
    scores = {
        name: protocols.score(measurements, protocol(measurements))
        for name, protocol in protocols.PROTOCOLS.items()
    }
    tables = {f"auroc_{name}": protocols.auroc_table(found) for name, found in scores.items()}
    tables["transfer"] = protocols.transfer(measurements)
    if options.halves is not None:
        tables["figure_3"] = accuracy.figure_3(measurements, options.halves)
    if measurements.test.defences:
        tables["figure_6"] = accuracy.figure_6(measurements)
        tables["table_3"] = accuracy.table_3(measurements, options.benign_accuracy)
        tables["table_7"] = accuracy.table_7(measurements)
    return scores, tables
