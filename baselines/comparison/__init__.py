"""Compare detectors on one classifier: `compare` crafts, measures, and writes the report.

`measurements.py` crafts adversarial examples and measures them with every detector. This takes
long, so `checkpoints.py` keeps the results. `protocols.py` and `accuracy.py` compute the tables,
and `markdown.py` and `output.py` write them. The caller chooses attacks and detectors, as
`baselines.env1` does.
"""

from baselines.comparison.choices import Halves, Options, Published
from baselines.comparison.core import Comparison, compare

__all__ = ["Comparison", "Halves", "Options", "Published", "compare"]
