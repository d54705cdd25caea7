"""`Program`: a function of a classifier's inputs, as StableHLO with its arguments and results."""

import gzip
import hashlib
import json
import re
from typing import NamedTuple

import numpy as np
import tensorflow as tf

MANIFEST = "programs.json"
_COPY = r"mhlo\.copy (%\S+) : (tensor<[^>]*>)"


class Program(NamedTuple):
    """A function to export.

    Attributes:
        name: Its name, and that of its file.
        function: Graph code that takes inputs, float32, (n, *input_shape), and returns a dict of
            tensors whose first axis is the inputs'.
        count: The number of inputs, n.
        expected: What it must return for the stored inputs, a dict of arrays.
        about: Anything else that a reader of the results needs, as JSON can hold it.
    """

    name: str
    function: object
    count: int
    expected: dict
    about: dict


class Folder:
    """The folder of an export: equal arrays are stored once.

    Args:
        path: The folder, a `pathlib.Path` that exists.
    """

    def __init__(self, path):
        self._path = path
        self._stored = set()
        self._programs = []

    def add(self, program, images):
        """Write a program, with all that it needs.

        Args:
            program: The `Program`.
            images: The stored inputs, uint8, (stored, *input_shape), 255 times the real ones. A
                run repeats them until there are as many as the program takes.
        """
        compiled = tf.function(lambda x: program.function(x), jit_compile=True, autograph=False)
        x = tf.zeros([program.count, *images.shape[1:]])
        code = compiled.experimental_get_compiler_ir(x)(stage="stablehlo")
        path = self._path / f"{program.name}.mlir.gz"
        path.write_bytes(gzip.compress(_portable(code).encode(), mtime=0))
        captured = compiled.get_concrete_function(x)
        self._programs.append(
            {
                "name": program.name,
                "count": program.count,
                "images": self._store(images),
                "weights": [self._store(value) for value in _captured_values(captured)],
                "expected": {key: self._store(value) for key, value in program.expected.items()},
                "outputs": sorted(program.expected),
                **program.about,
            }
        )
        text = json.dumps(self._programs, indent=1) + "\n"
        (self._path / MANIFEST).write_text(text)

    def _store(self, value):
        """Store an array under the hash of its contents, and return that."""
        value = np.ascontiguousarray(value)
        kind = f"{value.dtype} {value.shape}".encode()
        name = hashlib.sha256(kind + value.tobytes()).hexdigest()[:16]
        if name not in self._stored:
            np.savez_compressed(self._path / f"{name}.npz", value)
            self._stored.add(name)
        return name


def _portable(code):
    """Write the copies of TensorFlow's dialect as StableHLO. JAX 0.11 compiles nothing else."""
    return re.sub(_COPY, r"stablehlo.reshape \1 : (\2) -> \2", code)


def _captured_values(function):
    """Read what a traced function takes beside its arguments, in the order of the program."""
    variables = {id(variable.handle): variable for variable in function.graph.variables}
    return [variables.get(id(tensor), tensor).numpy() for tensor in function.captured_inputs]
