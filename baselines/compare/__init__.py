"""The comparison on your own classifier: `python -m baselines.compare`, or `compare` in Python.

It chooses what a data set's record otherwise holds: the size of attacks (`sizes.py`), attacks and
detectors by name (`attacks.py`, `detectors.py`), and how many inputs. `baselines.comparison` does
the work, as for Env1 and Env2.
"""

from baselines.compare.suite import compare

__all__ = ["compare"]
