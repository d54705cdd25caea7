"""How results were made: the classifier and the data, versions, times."""

import datetime
import sys
import time

import keras
import numpy as np
import sklearn
import tensorflow as tf

from a2d_keras.version import __version__
from baselines.comparison.labels import predicted
from baselines.digests import digest


def provenance(model, data, seconds, started):
    """Say how results were made.

    Args:
        model: The classifier, a `keras.Model`.
        data: The `models.record.Dataset`.
        seconds: The seconds of each checkpoint, a dict by name.
        started: When the run started, in seconds of `time.monotonic`.

    Returns:
        A dict that JSON can hold.
    """
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "test accuracy": _accuracy(model, data.x_test, data.y_test),
        "versions": _versions(),
        "seeds": "all 0",
        "digests": {"data": digest(*data), "weights": digest(*model.get_weights())},
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "seconds of all checkpoints": round(sum(seconds.values())),
        "seconds of the last run": round(time.monotonic() - started),
    }


def _accuracy(model, x, y):
    return round(float((predicted(model, x) == y).mean()), 4)


def _versions():
    return {
        "a2d-keras": __version__,
        "Python": sys.version.split()[0],
        "TensorFlow": tf.__version__,
        "Keras": keras.__version__,
        "NumPy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }
