"""Env1: A2D's defences against KD+BU and LID, AUROC against AUROC (Zhao et al. 2021, RQ2).

`python -m baselines.env1 --dataset mnist`. What is crafted and measured is kept in pieces
(`pieces.py`, `measurements.py`); the tables are made of it (`protocols.py`, `accuracy.py`), and
then the report (`plots.py`, `report.py`).
"""
