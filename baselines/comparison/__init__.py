"""Detectors compared on one classifier: `compare` crafts, measures, and writes the report.

`measurements.py` crafts adversarial examples and measures what every detector sees in them, the
long part, whose results `checkpoints.py` keeps. `protocols.py` and `accuracy.py` make the tables,
`markdown.py` and `report.py` write them. Which attacks and detectors there are is for the caller
to say: `baselines.env1` is one.
"""

from baselines.comparison.core import Comparison, compare
from baselines.comparison.options import Halves, Options, Published

__all__ = ["Comparison", "Halves", "Options", "Published", "compare"]
