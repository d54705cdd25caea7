"""`compare`: from a classifier and its data to the report."""

import dataclasses
import pathlib
import time
from types import MappingProxyType
from typing import Any

import pandas as pd

from a2d_keras import Attack, Classifier
from baselines.comparison import accuracy, missed, output, protocols
from baselines.comparison.checkpoints import Checkpoints
from baselines.comparison.choices import Options
from baselines.comparison.measurements import Measurements, Work
from baselines.comparison.measuring import measure
from baselines.comparison.overview import overview
from baselines.comparison.provenance import provenance


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The results of a comparison.

    Attributes:
        tables: A dict from the table's name to a `pandas.DataFrame`: `overview`, `auroc_paper`,
            `auroc_held_out`, `missed`, `transfer` if a detector learns, and with defences
            `figure_3` (if asked for) and `table_3`, and if there are training inputs, `figure_6`
            and `table_7`.
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


def compare(model, data, *, attacks, detectors, out=None, options=None):
    """Compare detectors on adversarial examples of a classifier.

    Adversarial examples are crafted from correctly classified test inputs. Every detector scores
    them under two protocols, and the report is written. Finished results are kept in
    `out/checkpoints`, so the same call continues a run that was stopped.

    Args:
        model: The trained classifier, a `keras.Model` with inputs in [0, 1], an
            `a2d_keras.Classifier`, or a `Work` on one that keeps results elsewhere.
        data: The `models.record.Dataset`; without training inputs, its first two arrays are empty.
        attacks: The attacks that craft adversarial examples, a dict by name.
        detectors: The detectors, a dict by name. An `a2d_keras.Attack` detects by its cost; two or
            more also form the ensembles. Anything else is a function that takes the model and the
            data and returns a `baselines.base.Baseline`, such as
            `KernelDensityUncertainty.from_data`.
        out: The folder of the results, created if missing. Defaults to None: nothing is written.
        options: The `Options`. Defaults to `Options()`.

    Returns:
        The `Comparison`.

    Raises:
        ValueError: If the classifier gets too few test inputs right, or no attack fools it often
            enough.
    """
    started = time.monotonic()
    options = options or Options()
    folder = None if out is None else pathlib.Path(out)
    work = _work(model, folder, options)
    measurements = measure(work, data, attacks=attacks, detectors=detectors, options=options)
    seconds = work.checkpoints.seconds
    scores, tables = evaluate(measurements, options, seconds)
    run = {
        "test inputs": len(measurements.test.inputs["benign"]),
        "attacks": {name: repr(attack) for name, attack in attacks.items()},
        "defences": {n: repr(each) for n, each in detectors.items() if isinstance(each, Attack)},
        "baselines": {n: each.parameters() for n, each in measurements.baselines.items()},
        **({"left out": dict(measurements.left_out)} if measurements.left_out else {}),
    }
    made = provenance(work.classifier.model, data, seconds, started)
    about = {**options.about, **run, **made}
    comparison = Comparison(tables, scores, about, measurements, options)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        output.write(folder, comparison)
    return comparison


def evaluate(measurements, options, seconds=MappingProxyType({})):
    """Score every input with every detector, and compute all tables.

    Args:
        measurements: The `baselines.comparison.measurements.Measurements`.
        options: The `Options`.
        seconds: The seconds of each checkpoint, a dict by name. Defaults to none.

    Returns:
        The scores and the tables, as in `Comparison`.
    """
    scores = {
        name: protocols.score(measurements, protocol(measurements))
        for name, protocol in protocols.PROTOCOLS.items()
    }
    areas = {f"auroc_{name}": protocols.auroc_table(found) for name, found in scores.items()}
    tables = {"overview": overview(areas["auroc_held_out"], measurements, seconds), **areas}
    tables["missed"] = missed.missed(scores["held_out"], measurements)
    transfer = protocols.transfer(measurements)
    if len(transfer):  # defences alone transfer nothing
        tables["transfer"] = transfer
    if options.halves is not None:
        tables["figure_3"] = accuracy.figure_3(measurements, options.halves)
    if measurements.test.defences:
        counted = measurements.counted()
        tables["table_3"] = accuracy.table_3(counted, options.benign_accuracy)
        if measurements.training:
            tables["figure_6"] = accuracy.figure_6(counted)
            tables["table_7"] = accuracy.table_7(counted)
    return scores, tables


def _work(model, folder, options):
    if isinstance(model, Work):
        return model
    classifier = model if isinstance(model, Classifier) else Classifier(model)
    checkpoints = Checkpoints(None if folder is None else folder / "checkpoints")
    return Work(classifier, checkpoints, options.verbose)
