"""The compiled loops on an accelerator that has JAX and no TensorFlow.

`python -m benchmarks.accelerator.export` writes programs, weights and inputs to a folder, with
TensorFlow. `python -m benchmarks.accelerator.run` compiles, checks and times them, with JAX alone.
"""
