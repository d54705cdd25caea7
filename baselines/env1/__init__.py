"""Env1: A2D's defences against KD+BU and LID, AUROC against AUROC (Zhao et al. 2021, RQ2).

`python -m baselines.env1 --dataset mnist` is `baselines.comparison.compare` with the settings of a
data set (`models/`), the paper's names, and the paper's figures next to ours.
"""
