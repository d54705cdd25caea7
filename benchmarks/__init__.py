"""The time that detection takes, compared with other libraries, and its results on photographs.

`python -m benchmarks` measures time. Each of its parts is a module with one function, `rows`.
`rows.py` defines a row, `timing.py` takes the time, `subjects.py` has the classifiers and their
inputs, and `results.py` writes the results. `imagenet.py` is a command of its own.
"""
