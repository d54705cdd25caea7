"""Compare detectors on one classifier: `compare` crafts, measures, and writes the report.

`measurements.py` crafts adversarial examples and measures them with every detector. This takes
long, so `checkpoints.py` keeps the results. `protocols.py`, `accuracy.py`, `overview.py` and
`missed.py` compute the tables. `output.py` writes them, as Markdown (`markdown.py`) and on the
report page (`page.py`, `cells.py`). The caller chooses attacks and detectors, as `baselines.env1`
does.
"""

from baselines.comparison.choices import Halves, Options, Published
from baselines.comparison.core import Comparison, compare

__all__ = ["Comparison", "Halves", "Options", "Published", "compare"]
