"""Env2 of the paper: A2D against mutation testing (BL3) and Dissector (BL4), and against others.

`python -m baselines.env2 --dataset mnist` is `baselines.comparison.compare` in several parts
(`settings.py`, `photographs.py`), and tables of all (`tables.py`). `stored.py` is a command of its
own, which chooses examples as the authors of mutation testing do. `attacks.py`, `normalized.py`
and `black_box.py` hold the attacks as the authors of mutation testing code them.
"""
