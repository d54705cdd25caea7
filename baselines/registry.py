"""The baselines, one file each; to add one, add its line here."""

import inspect

from baselines.base import Baseline
from baselines.dissector.detector import Dissector as Dissector
from baselines.kernel_density import KernelDensityUncertainty as KernelDensityUncertainty
from baselines.local_dimension import LocalDimension as LocalDimension
from baselines.mutation_testing.detector import MutationTesting as MutationTesting

BASELINES: dict[str, type[Baseline]] = {
    entry.name: entry
    for entry in list(globals().values())
    if inspect.isclass(entry) and issubclass(entry, Baseline) and not inspect.isabstract(entry)
}
