"""The model that is served: what `guarded.export` wrote."""

import pathlib
import re

import numpy as np
import tensorflow as tf


class Exported:
    """A guarded classifier from the folder that `guarded.export` wrote.

    Args:
        folder: The folder. Its name, or that of its parent if it is a version number, as
            TensorFlow Serving has it, names the model.
        bounds: The smallest and the largest value of an input.

    Attributes:
        name: The model's name.
        input: The dtype and shape of a batch of inputs, a `tf.TensorSpec`.
        outputs: A dict of the outputs' `tf.TensorSpec`s.
    """

    def __init__(self, folder, bounds=(0.0, 1.0)):
        path = pathlib.Path(folder).resolve()
        self.name = path.parent.name if path.name.isdigit() else path.name
        self.bounds = bounds
        self._model = tf.saved_model.load(str(path))  # must outlive its signatures
        self._serve = self._model.signatures["serve"]
        ((self._argument, self.input),) = self._serve.structured_input_signature[1].items()
        self.outputs = self._serve.structured_outputs

    def __call__(self, inputs):
        """Judge a batch of inputs; return a dict of arrays.

        Raises:
            ValueError: If the model refuses the inputs, in its own sentence.
        """
        try:
            outputs = self._serve(**{self._argument: tf.constant(inputs, self.input.dtype)})
        except tf.errors.InvalidArgumentError as error:
            if found := re.search(r"assertion failed: \[(.*)\]", error.message):
                raise ValueError(found[1]) from error
            raise  # the service's fault
        return {name: values.numpy() for name, values in outputs.items()}

    def warm_up(self, *counts):
        """Judge batches of as many inputs, since TensorFlow's first calls take seconds."""
        for count in counts:
            sides = (side or 32 for side in self.input.shape[1:])
            self(np.full((count, *sides), sum(self.bounds) / 2))
