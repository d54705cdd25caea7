"""Run the comparison on one data set: `python -m baselines.env1 --dataset mnist`.

What is finished is kept under the folder of results: a run that was stopped goes on where it was.
"""

import argparse
import datetime
import pathlib
import sys
import time

import keras
import numpy as np
import sklearn
import tensorflow as tf

from a2d_keras.version import __version__
from baselines.digests import digest
from baselines.env1 import accuracy, protocols, report
from baselines.env1.measurements import measure
from baselines.env1.pieces import Pieces
from baselines.env1.settings import SETTINGS
from models import datasets, zoo

# The digest of CIFAR-10 as our classifier learned it: its images were JPEG files in between.
_JPEG_COPY = "411c0f209905545186ad8661ba230622acbd2514d4fd56f6b3081c68d57b86af"


def main(argv=None):
    """Craft, measure, compare, and write the report.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    arguments = _parse(argv)
    started = time.monotonic()
    name, setting = arguments.dataset, SETTINGS[arguments.dataset]
    data = datasets.load(name, arguments.data_dir)
    model = zoo.load_or_train(name, data)
    out = pathlib.Path(arguments.out or f"results/env1/{name}")
    pieces = Pieces(out / "pieces")
    verbose = int(sys.stdout.isatty())
    measurements = measure(model, data, setting, arguments.limit, pieces, verbose)
    tables = compare(measurements, setting)
    digests = {"data": digest(*data), "weights": digest(*model.get_weights())}
    about = {
        "data set": name,
        "title": "CIFAR-10 (JPEG copy)" if digests["data"] == _JPEG_COPY else name,
        "command": f"python -m baselines.env1 {' '.join(sys.argv[1:] if argv is None else argv)}",
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "test inputs": len(measurements.test.inputs["benign"]),
        "test accuracy": _accuracy(model, data.x_test, data.y_test),
        "versions": _versions(),
        "seeds": "all 0",
        "digests": digests,
        "attacks": {key: repr(attack) for key, attack in setting.attacks.items()},
        "defences": {key: repr(defence) for key, defence in setting.defences.items()},
        "bandwidth": measurements.baselines["BL1"].bandwidth,
        "seconds": {key: round(value, 1) for key, value in pieces.seconds.items()},
        "seconds of all pieces": round(sum(pieces.seconds.values())),
        "seconds of the last run": round(time.monotonic() - started),
    }
    print(report.summary(tables))
    report.write(out, about, tables, measurements)
    print(f"Written to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    print(f"{about['seconds of all pieces']} s of work, {about['seconds of the last run']} s now")


def compare(measurements, setting):
    """Make all the tables.

    Args:
        measurements: The `baselines.env1.measurements.Measurements`.
        setting: The `baselines.env1.settings.Setting`.

    Returns:
        A dict from the table's name to a `pandas.DataFrame`.
    """
    return {
        "auroc_paper": protocols.compare(measurements, protocols.paper(measurements)),
        "auroc_held_out": protocols.compare(measurements, protocols.held_out(measurements)),
        "transfer": protocols.transfer(measurements),
        "figure_3": accuracy.figure_3(measurements),
        "figure_6": accuracy.figure_6(measurements),
        "table_3": accuracy.table_3(measurements, setting.benign_accuracy),
        "table_7": accuracy.table_7(measurements),
    }


def _accuracy(model, x, y):
    right = model.predict(x, batch_size=512, verbose=0).argmax(axis=-1) == y
    return round(float(right.mean()), 4)


def _versions():
    return {
        "a2d-keras": __version__,
        "Python": sys.version.split()[0],
        "TensorFlow": tf.__version__,
        "Keras": keras.__version__,
        "NumPy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }


def _parse(argv):
    parser = argparse.ArgumentParser(prog="python -m baselines.env1", description=__doc__)
    parser.add_argument("--dataset", choices=datasets.NAMES, default="digits")
    parser.add_argument("--limit", type=_limit, default=1000, help="test inputs, at most (1000)")
    parser.add_argument("--data-dir", help="folder that holds <dataset>.npz")
    parser.add_argument("--out", help="folder for results (results/env1/<dataset>)")
    return parser.parse_args(argv)


def _limit(text):
    limit = int(text)
    if limit < 40:
        raise argparse.ArgumentTypeError(
            f"the baselines need at least 40 test inputs to learn from. Received: {limit}"
        )
    return limit


if __name__ == "__main__":
    main()
