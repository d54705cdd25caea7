"""Which attacks each statistic sees, what it costs, and what false alarms it brings.

`python -m baselines.coverage --dataset mnist` judges many kinds of input (`kinds.py`: attacks,
harmless changes, other data, attacks that were re-encoded) by many detectors (`detectors.py`: each
statistic alone, the default of `guard`, the cost of BIM, the baselines). `tables.py` computes the
tables from the verdicts, and `writing.py` writes them. Finished results are kept.
"""
