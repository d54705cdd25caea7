"""Detectors with `fit` and `score`, such as a guard or one of the user's, in a comparison."""

import inspect
import sys
import uuid

import numpy as np

from a2d_keras import BoundaryDistance, guard
from baselines.digests import digest

# The default guard, and the cheap distance alone; the statistics by the name in tables.
GUARDS = {"default": None, "BoundaryDistance": [BoundaryDistance()]}


class Guard:
    """A guard of `a2d_keras` as a detector with `fit` and `score`.

    Args:
        model: The classifier, a `keras.Model` or an `a2d_keras.Classifier`.
        statistics: The statistics that it judges by. Defaults to those of `a2d_keras.guard`.

    Attributes:
        passes: Forward passes of a verdict beside the prediction.

    Examples:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> x = np.random.default_rng(0).uniform(size=(100, 2)).astype("float32")
        >>> Guard(model).fit(x).score(x).shape
        (100,)
    """

    def __init__(self, model, statistics=None):
        self._guarded = guard(model, statistics=statistics)
        detector = self._guarded.detector
        self._statistics = detector.statistics
        found = [statistic.passes(detector.classifier) for statistic in self._statistics]
        self.passes = sum(each.queries for each in found)

    def __repr__(self):
        return f"Guard({list(self._statistics)})"

    def fit(self, x):
        """Adapt to benign inputs.

        Args:
            x: The inputs, float32, (n, *input shape).

        Returns:
            This detector.
        """
        self._guarded.adapt(x, verbose=0)
        return self

    def score(self, x):
        """Score inputs.

        Args:
            x: The inputs, float32, (n, *input shape).

        Returns:
            The scores, float32, (n,); higher is more adversarial.
        """
        return self._guarded.predict(x, verbose=0)["score"]


class Scored:
    """A detector with `fit` and `score`, as a comparison uses a `baselines.base.Baseline`.

    It learns from benign inputs of its own, and from nothing that a comparison judges.

    Args:
        detector: An object with `fit(x)`, and `score(x)`, which returns a number for each input;
            higher is more adversarial. Both get float32, (n, *input shape).
        benign: The benign inputs to fit on.

    Attributes:
        supervised: False.
        passes: Forward passes of a verdict beside the prediction, if the detector has an attribute
            of this name; or else None.
    """

    supervised = False

    def __init__(self, detector, benign):
        self.passes = getattr(detector, "passes", None)
        self._detector, self._benign, self._fitted = detector, benign, False

    @staticmethod
    def paper_split(count):
        """Select all inputs; see `baselines.base.Baseline.paper_split`."""
        return np.ones(count, bool), np.ones(count, bool)

    def parameters(self):
        """List the class with its parameters, its source and the benign inputs, as digests."""
        kind = type(self._detector)
        shown = kind.__name__ if kind.__repr__ is object.__repr__ else repr(self._detector)
        return {
            "detector": f"{kind.__module__}: {shown}",
            "source": digest(_source(kind)),
            "fitted on": digest(self._benign),
        }

    def characteristics(self, x, *, benign=None):
        """Score inputs; the first call fits the detector.

        Args:
            x: Inputs, float32, (n, *input shape).
            benign: Ignored.

        Returns:
            The scores, float64, (n, 1).

        Raises:
            ValueError: If there is not one number for each input.
        """
        if not self._fitted:
            self._detector.fit(self._benign)
            self._fitted = True
        scores = np.asarray(self._detector.score(x), "float64")
        if scores.shape != (len(x),) or not np.isfinite(scores).all():
            raise ValueError(
                "`score` must return a finite number for each input. "
                f"Received: shape {scores.shape} for {len(x)} inputs"
            )
        return scores[:, None]

    def fit_characteristics(self, benign, noisy, adversarial):
        """Learn nothing.

        Args:
            benign: Ignored.
            noisy: Ignored.
            adversarial: Ignored.

        Returns:
            This object.
        """
        return self

    def score_characteristics(self, characteristics):
        """Return the scores.

        Args:
            characteristics: What `characteristics` returned.

        Returns:
            The scores, float64, (n,).
        """
        return characteristics[:, 0]


def _source(kind):
    """Read the module of a class; if it was typed in, return what equals nothing else."""
    try:
        return inspect.getsource(sys.modules[kind.__module__])
    except (OSError, TypeError):
        return uuid.uuid4().hex
