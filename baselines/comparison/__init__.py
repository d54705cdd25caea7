"""Detectors compared on one classifier: `compare` crafts, measures, and writes the report.

`measurements.py` crafts adversarial examples and measures what every detector sees in them, the
long part, whose results `checkpoints.py` keeps. `protocols.py` and `accuracy.py` make the tables,
`markdown.py` and `output.py` write them. Which attacks and detectors there are is for the caller
to say: `baselines.env1` is one.
"""

from baselines.comparison.choices import Halves, Options, Published
from baselines.comparison.core import Comparison, compare

__all__ = ["Comparison", "Halves", "Options", "Published", "compare"]
