"""Mutants of a classifier: drawn from a seed, filtered by their accuracy, and run on inputs."""

import math

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
_TOGETHER, _MAX_VALUES = 16, 10_000_000  # mutants in one pass, and their parameters together


class Mutants:
    """Mutants of a classifier, by number. A mutant is a seed: nothing of it is kept.

    The classifier's own weights do not change. Those of several mutants enter one compiled pass as
    arguments.

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
        values = sum(math.prod(variable.shape) for variable in self._variables)
        self._together = max(1, min(_TOGETHER, _MAX_VALUES // values))
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
        for start in range(0, len(numbers), self._together):
            rows = slice(start, start + self._together)
            found[rows] = self._labels(x, [self.weights(number) for number in numbers[rows]])
        return found

    def original_labels(self, x):
        """Classify inputs with the classifier itself.

        Args:
            x: Inputs, float32, (n, *input shape).

        Returns:
            The labels, int32, (n,).
        """
        return self._labels(x, [self._original()])[0]

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
        kept, most = [], _MAX_DRAWS * count
        for start in range(0, most, self._together):
            numbers = range(start, min(start + self._together, most))
            for number, labels in zip(numbers, self.labels(x, numbers=numbers), strict=True):
                if round(float(np.mean(labels == y)), 2) >= needed:
                    kept.append(number)
            if len(kept) >= count:
                return np.array(kept[:count])
        raise ValueError(
            f"Too few mutants have an accuracy of {needed} or more on the held-out inputs: use a "
            f"smaller `rate`. Received: {self._rate}, with {len(kept)} such mutants among {most}"
        )

    def _original(self):
        return [keras.ops.convert_to_numpy(variable).copy() for variable in self._variables]

    def _is_original(self, number):
        return all(map(np.array_equal, self.weights(number), self._original()))

    def _labels(self, x, mutants):
        """Classify inputs with mutants whose parameters are given, int32, (mutants, n)."""
        weights = [tf.constant(np.stack(arrays)) for arrays in zip(*mutants, strict=True)]
        batches = (x[start : start + _BATCH] for start in range(0, len(x), _BATCH))
        found = [self._run(weights, batch).numpy() for batch in batches]
        return np.concatenate([np.empty((len(mutants), 0), "int32"), *found], axis=1)


def _compile(classifier, variables):
    """Compile labels as one function of the parameters of several mutants, stacked, and inputs."""
    specs = [tf.TensorSpec((None, *variable.shape), variable.dtype) for variable in variables]
    x = tf.TensorSpec((None, *classifier.input_shape), "float32")
    labels = tf.TensorSpec((None,), "int32")

    @tf.function(input_signature=[specs, x], autograph=False)
    def run(weights, x):
        def classify(weights):
            with keras.StatelessScope(list(zip(variables, weights, strict=True))):
                return tf.argmax(classifier.logits(x), axis=-1, output_type=tf.int32)

        return tf.map_fn(classify, weights, fn_output_signature=labels)

    return run
