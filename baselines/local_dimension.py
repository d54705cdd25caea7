"""Local intrinsic dimensionality (LID, the paper's BL2).

Ma et al. 2018, "Characterizing Adversarial Subspaces Using Local Intrinsic Dimensionality",
Algorithm 1. Around an adversarial input, the activations of a network fill more dimensions.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from scipy.spatial.distance import cdist
from sklearn.preprocessing import MinMaxScaler

from a2d_keras.classifier import layerwise
from a2d_keras.validation import require_whole
from baselines.base import RegressionBaseline, graph_ends

_NEAREST_RATIO = np.finfo(np.float32).tiny  # smallest ratio of distances; a duplicate's is zero
MAX_DIMENSIONS = 1000.0  # the estimate is infinite if all neighbours are equally far


def local_dimension(distances):
    """Estimate local intrinsic dimensionality by maximum likelihood: -(1/k Σ log(r_i / r_k))⁻¹.

    Args:
        distances: Distances r_1 ≤ … ≤ r_k of the k nearest neighbours, float, (n, k). The
            distance of a duplicate, zero, counts as 1.2e-38 of the largest. So more duplicates
            bring the estimate nearer to zero.

    Returns:
        The estimates, float64, (n,), positive and finite. If the neighbours are (almost) equally
        far, the estimate is 1000, the largest.

    Examples:
        >>> print(local_dimension(np.array([[0.25, 0.5, 1.0]])).round(4))  # 3 / (log 4 + log 2)
        [1.4427]
    """
    distances = np.asarray(distances, "float64")
    farthest = distances[:, -1:]
    ratios = np.divide(distances, farthest, out=np.zeros_like(distances), where=farthest > 0)
    mean_logs = -np.log(np.maximum(ratios, _NEAREST_RATIO)).mean(axis=1)
    return 1 / np.maximum(mean_logs, 1 / MAX_DIMENSIONS)


class LocalDimension(RegressionBaseline):
    """LID (Ma et al. 2018): the local intrinsic dimensionality of every layer's activations.

    The characteristics of an input are its estimated dimensionalities among a minibatch of benign
    inputs, one for the input itself and one for each layer's output. If the minibatch holds the
    input's origin, the nearest neighbour is dropped and the next `k` are used, as the authors do
    for every kind. A benign input drops itself. A noisy or adversarial input mostly drops the
    input that it was made from.

    Minibatches are consecutive. If the last one would be smaller, it also takes the benign inputs
    before it, because the estimates depend on the size of a minibatch. The detector is a logistic
    regression on the characteristics, each scaled to [0, 1].

    Args:
        model: A built Sequential or Functional classifier with one input. Layers of the models
            inside it count as its own. It runs in inference mode.
        k: The number of neighbours, at least 2 and less than `batch_size`. Defaults to 20.
        batch_size: Benign inputs in a minibatch. Defaults to 100.
        seed: Seed of the regression's cross-validation, not negative. Defaults to 0.

    Attributes:
        layers: The number of characteristics.
        reference: The benign inputs that `score` compares with, float32, (n, *input shape).
            `fit` sets it; after `fit_characteristics`, set it yourself.

    Raises:
        ValueError: If the model has no graph of layers, or a parameter is out of range.

    Examples:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "softmax")])
        >>> benign = np.random.default_rng(0).uniform(size=(100, 2)).astype("float32")
        >>> far = benign + 10
        >>> detector = LocalDimension(model).fit(benign, benign, far)
        >>> bool(detector.score(far).min() > detector.score(benign).max())
        True
    """

    name = "LID"
    scaler = MinMaxScaler

    def __init__(self, model, *, k=20, batch_size=100, seed=0):
        super().__init__(model, seed=seed)
        require_whole("k", k, minimum=2)
        require_whole("batch_size", batch_size)
        if k >= batch_size:
            raise ValueError(
                f"`k` must be less than `batch_size`, {batch_size}, since no input is its own "
                f"neighbour. Received: {k}"
            )
        self.k = k
        self.batch_size = batch_size
        self.reference = None
        self._activations = _activations(model)
        self.layers = len(self._activations.get_concrete_function().structured_outputs)

    @staticmethod
    def paper_split(count):
        """Fit on the first four fifths, in minibatches of 100, and score the rest."""
        first = np.arange(count) < (count * 4 // 5 // 100 * 100 or count * 4 // 5)
        return first, ~first

    def parameters(self):
        """List `k`, `batch_size` and `seed`."""
        return {"k": self.k, "batch_size": self.batch_size, "seed": self.seed}

    def characteristics(self, x, *, benign=None):
        """Estimate the dimensionality around inputs, layer by layer.

        Args:
            x: Inputs, float32, (n, *input shape).
            benign: The benign inputs that the inputs are, or were made from, in the same order;
                more than `k` of them. Input i is compared with the minibatch that holds benign
                input i, without the nearest neighbour. None compares with the `reference`: input
                i with minibatch i // batch_size, and after the last one with the first ones
                again. The nearest neighbour counts then, since it is not the origin of the input.
                Only an equal input in the minibatch is dropped, so the benign inputs of `fit`, in
                their order, have the same scores as in `fit`.

        Returns:
            The characteristics, float64, (n, layers).

        Raises:
            ValueError: If `benign` does not fit `x`, or if it is None and `fit` was not called.
        """
        if benign is None:
            self._require_fitted(self.reference)
            return self._compare(x, self.reference, has_origin=False)
        if len(x) != len(benign):
            raise ValueError(
                f"`x` must hold one input for each benign one. Received: {len(x)} and {len(benign)}"
            )
        return self._compare(x, benign, has_origin=True)

    def fit(self, benign, noisy, adversarial):
        """Learn, and keep the benign inputs as the `reference`; see `Baseline.fit`."""
        super().fit(benign, noisy, adversarial)
        self.reference = np.array(benign, "float32")
        return self

    def state(self):
        """List the reference and the parameters."""
        self._require_fitted(self.reference)
        return {"reference": self.reference, **self.parameters()}

    @classmethod
    def restore(cls, model, state):
        """Make the detector with the saved reference; see `Baseline.restore`."""
        parameters = {name: state[name].item() for name in ("k", "batch_size", "seed")}
        detector = cls(model, **parameters)
        detector.reference = state["reference"]
        return detector

    def _compare(self, x, benign, has_origin):
        """Compare with minibatches, without the origin of an input, or an input that equals it."""
        if len(benign) <= self.k:
            raise ValueError(
                f"There must be more benign inputs than `k`, {self.k}. Received: {len(benign)}"
            )
        x, benign = np.asarray(x, "float32"), np.asarray(benign, "float32")
        size, minibatches = self.batch_size, math.ceil(len(benign) / self.batch_size)
        found = np.empty((len(x), self.layers))
        for start in range(0, len(x), size):
            stop = min(len(benign), (start // size % minibatches + 1) * size)
            neighbours = self._activations(benign[max(0, stop - size) : stop])
            activations = self._activations(x[start : start + size])
            # Not as |a|² - 2ab + |b|², which loses all digits if a is almost b.
            distances = [cdist(*pair) for pair in zip(activations, neighbours, strict=True)]
            dropped = has_origin | (distances[0] == 0).any(axis=1, keepdims=True)
            kept = dropped + np.arange(self.k)
            for layer, unsorted in enumerate(distances):
                nearest = np.take_along_axis(np.sort(unsorted, axis=1), kept, axis=1)
                found[start : start + size, layer] = local_dimension(nearest)
        return found


def _activations(model):
    """Compile the input and every layer's output, flattened, as one function of the input."""
    inputs, _ = graph_ends(model)
    if len(inputs) != 1:
        raise ValueError(
            "The model must be built, Sequential or Functional, with one input. "
            f"Received: {layerwise.describe(model)}"
        )

    x = tf.TensorSpec((None, *inputs[0].shape[1:]), "float32")

    @tf.function(input_signature=[x], autograph=False)
    def activations(x):
        outputs = [x]

        def record(layer, *args, **kwargs):
            result = layer(*args, **kwargs)
            if isinstance(layer, keras.Layer):
                outputs.extend(tf.nest.flatten(result))
            return result

        layerwise.run(model, [x], record)
        return [tf.reshape(tf.cast(y, "float32"), [tf.shape(x)[0], -1]) for y in outputs]

    return activations
