"""Mutants of a classifier: drawn from a seed, filtered by their accuracy, and run on inputs."""

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import Classifier
from a2d_keras.classifier.layerwise import describe
from baselines.mutation_testing import operators

_BATCH = 256
_KEPT_ACCURACY = 0.9  # of the classifier's, which a mutant must reach
_PROBED = 10  # mutants that show whether the rate changes anything
_MAX_DRAWS = 20  # for each mutant that is kept


class Mutants:
    """Mutants of a classifier, by number. A mutant is a seed: nothing of it is kept.

    The classifier's own weights do not change. They enter one compiled pass as arguments.

    Args:
        model: The classifier, a built `keras.Model`, as `a2d_keras.Classifier` takes it.
        operator: A key of `baselines.mutation_testing.operators.OPERATORS`.
        rate: The mutation rate, in (0, 1].
        seed: The seed of all mutants, not negative.

    Raises:
        ValueError: If the model has no convolution and no dense layer, or if the rate is so small
            that mutants equal the classifier.

    Examples:
        >>> stack = [keras.Input((2,)), keras.layers.Dense(4), keras.layers.Dense(3)]
        >>> mutants = Mutants(keras.Sequential(stack), operator="NAI", rate=0.3, seed=0)
        >>> mutants.labels(np.zeros((5, 2), "float32"), numbers=[0, 1]).shape
        (2, 5)
    """

    def __init__(self, model, *, operator, rate, seed):
        self._mutate = operators.OPERATORS[operator]
        self._rate, self._seed = rate, seed
        self._variables = operators.parameters(model)
        self._layout = operators.units(model)
        if not self._layout:
            raise ValueError(
                "The model must have a convolution or a dense layer to mutate. "
                f"Received: {describe(model)}"
            )
        if all(self._is_original(number) for number in range(_PROBED)):
            raise ValueError(
                f"`rate` is so small that {operator} changes no weight of this model. "
                f"Received: {rate} for {describe(model)}"
            )
        self._run = _compile(Classifier(model), self._variables)

    def weights(self, number):
        """Make the parameters of one mutant.

        Args:
            number: The number of the mutant, not negative.

        Returns:
            A list of float32 arrays, in the order of `operators.parameters`.
        """
        weights = self._original()
        generator = np.random.default_rng([self._seed, number])
        self._mutate(weights, self._layout, self._rate, generator)
        return weights

    def labels(self, x, *, numbers):
        """Classify inputs with mutants.

        Args:
            x: Inputs, float32, (n, *input shape).
            numbers: The numbers of the mutants.

        Returns:
            Their labels, int32, (mutants, n).
        """
        found = np.empty((len(numbers), len(x)), "int32")
        for row, number in zip(found, numbers, strict=True):
            row[:] = self._labels(x, self.weights(number))
        return found

    def original_labels(self, x):
        """Classify inputs with the classifier itself.

        Args:
            x: Inputs, float32, (n, *input shape).

        Returns:
            The labels, int32, (n,).
        """
        return self._labels(x, self._original())

    def choose(self, x, y, count):
        """Draw mutants until enough of them classify held-out inputs well.

        A mutant is kept if its accuracy, rounded to two digits, is at least nine tenths of the
        classifier's, rounded likewise.

        Args:
            x: Held-out inputs, float32, (n, *input shape).
            y: Their classes, int, (n,).
            count: How many mutants to keep.

        Returns:
            The numbers of the mutants, int64, (count,), increasing.

        Raises:
            ValueError: If not even one mutant in 20 is good enough.
        """
        needed = round(_KEPT_ACCURACY * float(np.mean(self.original_labels(x) == y)), 2)
        kept = []
        for number in range(_MAX_DRAWS * count):
            accuracy = float(np.mean(self._labels(x, self.weights(number)) == y))
            if round(accuracy, 2) >= needed:
                kept.append(number)
            if len(kept) == count:
                return np.array(kept)
        raise ValueError(
            f"Too few mutants have an accuracy of {needed} or more on the held-out inputs: use a "
            f"smaller `rate`. Received: {self._rate}, with {len(kept)} such mutants among "
            f"{_MAX_DRAWS * count}"
        )

    def _original(self):
        return [keras.ops.convert_to_numpy(variable).copy() for variable in self._variables]

    def _is_original(self, number):
        return all(map(np.array_equal, self.weights(number), self._original()))

    def _labels(self, x, weights):
        weights = [tf.constant(array) for array in weights]
        batches = (x[start : start + _BATCH] for start in range(0, len(x), _BATCH))
        found = [self._run(weights, batch).numpy() for batch in batches]
        return np.concatenate([np.empty(0, "int32"), *found])


def _compile(classifier, variables):
    """Compile labels as one function of parameters and inputs."""
    specs = [tf.TensorSpec(variable.shape, variable.dtype) for variable in variables]
    x = tf.TensorSpec((None, *classifier.input_shape), "float32")

    @tf.function(input_signature=[specs, x], autograph=False)
    def run(weights, x):
        with keras.StatelessScope(list(zip(variables, weights, strict=True))):
            return tf.argmax(classifier.logits(x), axis=-1, output_type=tf.int32)

    return run
