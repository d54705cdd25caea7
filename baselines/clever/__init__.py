"""CLEVER scores of benign and adversarial inputs (Zhao et al. 2021, Section 3.1, Tables 1 and 4).

`measure.py` computes the score of Weng et al. 2018, from points that `sampling.py` draws and a
distribution that `weibull.py` fits. `suite.py` scores benign inputs and what each attack makes of
them, `tables.py` computes the tables, and `writing.py` writes them next to the figures of
`paper.py`: `python -m baselines.clever --dataset mnist`.
"""
