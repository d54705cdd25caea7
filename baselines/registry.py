# ruff: noqa: F401 (each import is an entry)
"""The baselines: a class in a file of its own, and an import here."""

import inspect

from baselines.base import Baseline
from baselines.kernel_density import KernelDensityUncertainty
from baselines.local_dimension import LocalDimension

BASELINES = {
    entry.name: entry
    for entry in list(vars().values())
    if inspect.isclass(entry) and issubclass(entry, Baseline) and not inspect.isabstract(entry)
}
