"""Adaptive attacks (Zhao et al. 2021, Section 6), and what the red team gets through each guard.

`settings.py` says what is compared on which classifier, and `guards.py` makes the guards.
`sweep.py` lets C&W with rising confidence meet the paper's defences (Figure 7, Table 4), and
`attackers.py` lets attackers who know the guard meet ours. `tables.py` computes the tables, and
`writing.py` writes them next to the figures of `paper.py`: `python -m baselines.adaptive`.
"""
