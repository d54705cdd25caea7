"""What detection costs in time, beside what others cost, and how it fares on photographs.

`python -m benchmarks` measures time. Each of its parts is a module with one function, `rows`;
`rows.py` says what a row is, `timing.py` takes the time, `subjects.py` has the classifiers and
their inputs, `results.py` writes. `imagenet.py` is a command of its own.
"""
