"""`cover`: from a classifier and its data to the report."""

import pathlib
import time
from typing import Any, NamedTuple

from a2d_keras import Classifier
from baselines.comparison.checkpoints import Checkpoints
from baselines.comparison.measurements import Work
from baselines.comparison.provenance import provenance
from baselines.coverage import tables, writing
from baselines.coverage.detectors import judge, sets
from baselines.coverage.kinds import attacks_of, collect
from models import registry

MIN_INPUTS = 60  # the baselines learn from half of them, and LID needs more than 20 neighbours


class Folders(NamedTuple):
    """Where results go; the folders are created if missing.

    Attributes:
        out: The report, and what was measured.
        examples: The adversarial examples, which other suites can share.
    """

    out: pathlib.Path
    examples: pathlib.Path


def cover(model, data, *, name, folders, limit, about):
    """Judge all kinds of input by all detectors, and write the report.

    Finished results are kept, so the same call continues a run that was stopped.

    Args:
        model: The trained classifier, a `keras.Model`.
        data: The `models.record.Dataset`.
        name: The name of the data set, one of `models.datasets.NAMES`.
        folders: The `Folders`.
        limit: The largest number of inputs to judge, at least 60.
        about: What the report says about the run, a dict that JSON can hold.

    Returns:
        A dict of `pandas.DataFrame`; see `baselines.coverage.tables.compute`.
    """
    started, classifier = time.monotonic(), Classifier(model)
    crafting = Work(classifier, Checkpoints(folders.examples))
    measuring = Work(classifier, Checkpoints(folders.out / "checkpoints"))
    settings = registry.find(name).settings
    kinds = collect(crafting, data, settings, name=name, limit=limit)
    found = tables.compute(kinds, judge(measuring, kinds, data, settings))
    seconds = crafting.checkpoints.seconds | measuring.checkpoints.seconds
    run: dict[str, Any] = {
        "benign inputs": len(kinds.benign.x),
        "reported": int(kinds.benign.reported.sum()),
        "adapting inputs": len(kinds.adapting.x),
        "attacks": {attack: repr(each) for attack, each in attacks_of(settings).items()},
        "statistics": {name: repr(chosen) for name, chosen in sets(classifier).items()},
        **provenance(model, data, seconds, started),
    }
    writing.write(folders.out, {**about, **run}, found)
    return found
