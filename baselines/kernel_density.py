"""Kernel density and Bayesian uncertainty (KD+BU, the paper's BL1).

Feinman, Curtin, Shintre and Gardner 2017, "Detecting Adversarial Samples from Artifacts", Sections
3 and 4. An adversarial input lies far from the training inputs of its predicted class, or in a
region where the classifier is unsure.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from scipy.special import expit, logsumexp, softmax
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.preprocessing import StandardScaler

from a2d_keras.classifier import layerwise
from a2d_keras.validation import require_positive, require_whole
from baselines.base import RegressionBaseline, graph_ends
from baselines.digests import digest

_BATCH = 256
_DROPOUTS = (layers.Dropout, layers.GaussianDropout, layers.AlphaDropout)
_BANDWIDTHS = np.geomspace(0.02, 5, 25)  # in standard deviations of an activation
MAX_ACTIVATIONS = 5000  # to choose a bandwidth from
_NUMBERS = ("bandwidth", "passes", "seed")


def log_density(x, reference, bandwidth):
    """Compute logarithms of Gaussian kernel densities, exactly.

    Args:
        x: The points to evaluate the density at, float, (n, dimensions).
        reference: The points that form the density, float, (points, dimensions).
        bandwidth: Standard deviation of the kernel, in the units of `x`.

    Returns:
        The logarithms, float64, (n,).

    Examples:
        >>> points = np.array([[0.0], [0.0], [3.0]])
        >>> print(np.exp(log_density(points, points, bandwidth=1.0)).round(3))
        [0.267 0.267 0.136]
    """
    # Far from the points, the trees of scikit-learn's `KernelDensity` are wrong by any factor.
    squared = _squared_distances(x, reference)
    return _log_kernel_means(squared, len(reference), np.shape(reference)[1], bandwidth)


def choose_bandwidth(activations, classes, bandwidths=None):
    """Choose the bandwidth under which each activation is likeliest, given the others of its class.

    That is leave-one-out cross-validation of the likelihood.

    Args:
        activations: Activations, float, (n, dimensions).
        classes: Their classes, int, (n,).
        bandwidths: The bandwidths to choose from, float. Defaults to 25 of them, from 0.02 to 5
            standard deviations of an activation.

    Returns:
        The bandwidth, a float.

    Examples:
        >>> activations = np.random.default_rng(0).normal(size=(500, 1))
        >>> round(choose_bandwidth(activations, np.zeros(500), [0.01, 0.3, 10.0]), 3)
        0.3
    """
    if bandwidths is None:
        bandwidths = _BANDWIDTHS * (np.sqrt(activations.var(axis=0).mean()) or 1)
    likelihoods = np.zeros(len(bandwidths))
    for label in np.unique(classes):
        members = activations[classes == label]
        if len(members) > 1:  # a single member has no others
            squared = _squared_distances(members, members)
            np.fill_diagonal(squared, np.inf)
            shape = len(members) - 1, members.shape[1]
            likelihoods += [_log_kernel_means(squared, *shape, h).sum() for h in bandwidths]
    return float(bandwidths[likelihoods.argmax()])


def mean_variance(predictions):
    """Compute the Bayesian uncertainty: the variance over passes, averaged over classes.

    Args:
        predictions: Predictions, float, (passes, n, classes).

    Returns:
        The uncertainties, float64, (n,).

    Examples:
        >>> predictions = np.array([[[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.5], [0.0, 1.0]]])
        >>> print(mean_variance(predictions))
        [0.   0.25]
    """
    return np.var(predictions, axis=0, dtype="float64").mean(axis=-1)


class KernelDensityUncertainty(RegressionBaseline):
    """KD+BU (Feinman et al. 2017): density in the last hidden layer, and Bayesian uncertainty.

    The first characteristic of an input is the logarithm of a Gaussian kernel density at its
    activations in the last hidden layer. These are the inputs of the last Dense, or, in a model
    without one, of the last Dropout. Each class has a density, formed by the training inputs that
    truly belong to it, and the density of the predicted class counts. The second characteristic
    is the variance of the class probabilities over passes in which every Dropout, and no other
    layer, behaves as in training, averaged over classes. The detector is a logistic regression on
    both, each standardised.

    Layers before the first Dropout run once for all passes. The random numbers of a batch of 256
    inputs depend on the seed only, and the state of the model's own generators does not change.

    Args:
        model: A built Sequential or Functional classifier with one input, one output of shape
            (batch, classes), probabilities or logits, and a Dropout of any kind. Layers of the
            models inside it count as its own; a Dropout inside a layer of another kind does not.
        x_train: Inputs that form the densities, float32, (n, *input shape).
        y_train: Their true classes, int, (n,); at least two of every class.
        bandwidth: Standard deviation of the kernel. The paper uses 1.20 for MNIST and 0.26 for
            CIFAR-10. By default `choose_bandwidth` chooses it on at most 5,000 activations, drawn
            at random.
        passes: Monte Carlo passes, at least 2. Defaults to 50.
        seed: Seed of the dropout, of the choice of the bandwidth and of the regression's
            cross-validation, not negative. Defaults to 0.

    Attributes:
        bandwidth: The bandwidth, a float.

    Raises:
        ValueError: If the model is not such a classifier, `y_train` does not fit, or a parameter
            is out of range.

    Examples:
        >>> keras.utils.set_random_seed(0)
        >>> stack = [keras.Input((2,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
        >>> x = np.random.default_rng(0).uniform(size=(100, 2)).astype("float32")
        >>> y = np.arange(100) % 2
        >>> detector = KernelDensityUncertainty(keras.Sequential(stack), x, y)
        >>> _ = detector.fit(benign=x, noisy=x, adversarial=x + 10)
        >>> bool(detector.score(x + 10).min() > detector.score(x).max())
        True
    """

    name = "KD+BU"
    scaler = StandardScaler

    def __init__(self, model, x_train, y_train, *, bandwidth=None, passes=50, seed=0):
        if bandwidth is not None:
            require_positive("bandwidth", bandwidth)
        self._set_up(model, passes, seed)
        x_train, y_train = np.asarray(x_train, "float32"), np.asarray(y_train)
        _require_classes(y_train, len(x_train), max(2, model.outputs[0].shape[1]))
        parts = [self._forward(x_train[i : i + _BATCH]) for i in range(0, len(x_train), _BATCH)]
        activations, outputs = (np.concatenate(part) for part in zip(*parts, strict=True))
        self._from_logits = not _are_probabilities(outputs)
        self._activations, self._classes = activations, y_train
        self.bandwidth = float(bandwidth or self._choose_bandwidth())

    @classmethod
    def from_data(cls, model, data, **options):
        """Make the detector with densities of the training inputs.

        Args:
            model: The classifier.
            data: The `models.record.Dataset` that it was trained on.
            **options: Any of `bandwidth`, `passes` and `seed`.

        Returns:
            The detector.
        """
        return cls(model, data.x_train, data.y_train, **options)

    def parameters(self):
        """List the bandwidth, passes and seed, and a digest of the reference activations."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        return numbers | {"reference": digest(self._activations, self._classes)}

    def characteristics(self, x, *, benign=None):
        """Compute log density and uncertainty.

        Args:
            x: Inputs, float32, (n, *input shape).
            benign: Ignored: an input is judged without its origin.

        Returns:
            The characteristics, float64, (n, 2).
        """
        x, found = np.asarray(x, "float32"), np.empty((len(x), 2))
        for start in range(0, len(x), _BATCH):
            batch = x[start : start + _BATCH]
            found[start : start + _BATCH, 0] = self.log_densities(batch)
            found[start : start + _BATCH, 1] = mean_variance(self.monte_carlo(batch))
        return found

    def log_densities(self, batch):
        """Compute log densities at the predicted classes.

        Args:
            batch: Inputs, float32, (n, *input shape), few enough to be run at once.

        Returns:
            The log densities, float64, (n,).
        """
        activations, outputs = self._forward(batch)
        predicted = self._probabilities(outputs).argmax(axis=-1)
        densities = np.empty(len(batch))
        for label in np.unique(predicted):
            reference = self._activations[self._classes == label]
            rows = predicted == label
            densities[rows] = log_density(activations.numpy()[rows], reference, self.bandwidth)
        return densities

    def monte_carlo(self, batch):
        """Predict several times with dropout, and with all other layers in inference mode.

        Args:
            batch: Inputs, float32, (n, *input shape), few enough to be run at once. Equal inputs
                have equal predictions.

        Returns:
            Class probabilities, float64, (passes, n, classes).
        """
        for variable, value in self._draws:
            variable.assign(value)
        return self._probabilities(self._passes(batch))

    def state(self):
        """List the reference activations, their classes, and the parameters."""
        return {
            "activations": self._activations,
            "classes": self._classes,
            "from_logits": self._from_logits,
            **{name: getattr(self, name) for name in _NUMBERS},
        }

    @classmethod
    def restore(cls, model, state):
        """Make the detector from the saved activations; see `Baseline.restore`."""
        detector = cls.__new__(cls)
        detector.bandwidth, passes, seed = (state[name].item() for name in _NUMBERS)
        detector._set_up(model, passes, seed)
        detector._activations, detector._classes = state["activations"], state["classes"]
        detector._from_logits = bool(state["from_logits"])
        return detector

    def _set_up(self, model, passes, seed):
        super().__init__(model, seed=seed)
        require_whole("passes", passes, minimum=2)
        _require_classifier(model)
        self.passes = passes
        dropouts = _copies(model, seed)
        self._draws = [(v, v.numpy()) for copy in dropouts.values() for v in copy.variables]
        x = tf.TensorSpec((None, *model.inputs[0].shape[1:]), "float32")
        self._forward = _forward(model, x)
        self._passes = _passes(model, x, dropouts, passes)

    def _choose_bandwidth(self):
        rows = np.random.default_rng(self.seed).permutation(len(self._classes))[:MAX_ACTIVATIONS]
        return choose_bandwidth(self._activations[rows], self._classes[rows])

    def _probabilities(self, outputs):
        outputs = np.asarray(outputs, "float64")
        if outputs.shape[-1] == 1:
            second = expit(outputs) if self._from_logits else outputs
            return np.concatenate([1 - second, second], axis=-1)
        return softmax(outputs, axis=-1) if self._from_logits else outputs


def _squared_distances(x, reference):
    x, reference = np.asarray(x, "float64"), np.asarray(reference, "float64")
    return euclidean_distances(x, reference, squared=True)


def _log_kernel_means(squared, points, dimensions, bandwidth):
    normaliser = math.log(points) + dimensions * math.log(bandwidth * math.sqrt(2 * math.pi))
    return logsumexp(squared / (-2 * bandwidth**2), axis=1) - normaliser


def _forward(model, x):
    """Compile the last hidden layer, flattened, and the outputs, as one function of the input."""

    @tf.function(input_signature=[x], autograph=False)
    def forward(x):
        feeds = {}

        def call(layer, *args, **kwargs):
            if isinstance(layer, (layers.Dense, *_DROPOUTS)):
                feeds[isinstance(layer, layers.Dense)] = args[0]
            return layerwise.predict_layer(layer, *args, **kwargs)

        (outputs,) = layerwise.run(model, [x], call)
        hidden = tf.cast(feeds[max(feeds)], "float32")  # a Dense rather than a dropout
        return tf.reshape(hidden, [tf.shape(x)[0], -1]), tf.cast(outputs, "float32")

    return forward


def _passes(model, x, dropouts, passes):
    """Compile the outputs of every Monte Carlo pass as one function of the input."""

    @tf.function(input_signature=[x], autograph=False)
    def run_passes(x):
        at_rest = []

        def record(layer, *args, **kwargs):
            at_rest.append(layerwise.predict_layer(layer, *args, **kwargs))
            return at_rest[-1]

        def run_pass(_):
            recorded, touched = iter(at_rest), set()

            def call(layer, *args, **kwargs):
                result = next(recorded)  # still right if no dropout has changed the arguments
                if layer in dropouts:
                    result = dropouts[layer](*args, **kwargs | {"training": True})
                elif touched.isdisjoint(_references((args, kwargs))):
                    return result
                else:
                    result = layerwise.predict_layer(layer, *args, **kwargs)
                touched.update(_references(result))
                return result

            return tf.cast(layerwise.run(model, [x], call)[0], "float32")

        layerwise.run(model, [x], record)
        signature = tf.TensorSpec(model.outputs[0].shape, "float32")
        # One after the other, since each pass continues the random numbers of the last.
        return tf.map_fn(
            run_pass, tf.range(passes), fn_output_signature=signature, parallel_iterations=1
        )

    return run_passes


def _references(structure):
    return {leaf.ref() for leaf in keras.tree.flatten(structure) if tf.is_tensor(leaf)}


def _copies(model, seed):
    """Copy each Dropout, with random numbers of its own."""
    dropouts = list(dict.fromkeys(_dropouts(model)))
    if not dropouts:
        raise ValueError(
            "The model must have a Dropout, since its Bayesian uncertainty comes from dropout. "
            f"Received: {layerwise.describe(model)}"
        )
    seeds = np.random.default_rng(seed).integers(2**31, size=len(dropouts)).tolist()
    copies = {}
    for layer, own in zip(dropouts, seeds, strict=True):
        copies[layer] = type(layer).from_config(layer.get_config() | {"seed": own})
    return copies


def _dropouts(model):
    for layer in model.layers:
        if isinstance(layer, _DROPOUTS):
            yield layer
        elif layerwise.has_graph(layer):
            yield from _dropouts(layer)


def _are_probabilities(outputs):
    sums = 1 if outputs.shape[1] == 1 else outputs.sum(axis=1)
    return bool((outputs >= 0).all() and (outputs <= 1).all() and np.allclose(sums, 1, atol=1e-3))


def _require_classifier(model):
    inputs, outputs = graph_ends(model)
    if not len(inputs) == len(outputs) == 1 or len(outputs[0].shape) != 2:
        raise ValueError(
            "The model must be built, Sequential or Functional, with one input, and one output of "
            f"shape (batch, classes). Received: {layerwise.describe(model)}"
        )


def _require_classes(y, inputs, classes):
    if y.shape != (inputs,) or y.dtype.kind not in "iu":
        raise ValueError(
            "`y_train` must hold the class of each training input, a whole number. "
            f"Received: {y.dtype} of shape {y.shape} for {inputs} inputs"
        )
    present, counts = np.unique(y, return_counts=True)
    if not np.array_equal(present, range(classes)) or counts.min() < 2:
        raise ValueError(
            f"`y_train` must hold each class from 0 to {classes - 1} twice or more, and no other. "
            f"Received: the counts {dict(zip(present.tolist(), counts.tolist(), strict=True))}"
        )
