"""Dissector (the paper's BL4).

Wang, Xu, Xu, Ma and Lu, ICSE 2020, "Dissector: Input Validation for Deep Learning Applications by
Crossing-layer Dissection". On its way through the layers of a classifier, a benign input looks more
and more like its class. An adversarial input looks like another class for long.
"""

import dataclasses

import keras
import numpy as np
from keras import layers

from a2d_keras import Classifier
from a2d_keras.validation import require_whole
from baselines.base import Baseline
from baselines.digests import digest
from baselines.dissector.hidden import Hidden
from baselines.dissector.validity import Growth, snapshot_invalidity

_BATCH = 128
_NUMBERS = ("epochs", "seed")


class Dissector(Baseline):
    """Dissector (Wang et al. 2020): how much the hidden layers support the predicted label.

    A sub-model is the classifier up to a hidden layer, and one dense layer from there to the
    classes. Only the dense layer learns, by Adam on the classes of training inputs, starting from
    zero. The snapshots of an input are the predictions of the sub-models, and of the classifier.
    Its characteristics are the invalidities of the snapshots, 1 − the paper's validity. The score
    is their mean, weighted by the `growth`: 1 − PV, where PV is the paper's validity degree. `fit`
    learns nothing. The dense layers learn once, when the first input is judged.

    Args:
        model: A built Sequential or Functional classifier with one input, as `a2d_keras.Classifier`
            takes it.
        x_train: Inputs that the dense layers learn from, float32, (n, *input shape).
        y_train: Their classes, int, (n,).
        hidden: The hidden layers, in order of depth, by their names or places. By default
            `baselines.dissector.hidden.Hidden` chooses them. It pools large activations too.
        growth: The `Growth` of the weights. Defaults to `Growth()`, exponential.
        epochs: Epochs of training. Defaults to 10.
        seed: Seed of the order of training inputs, not negative. Defaults to 0.

    Attributes:
        names: The names of the hidden layers, a list of strings.

    Raises:
        ValueError: If the model has no graph of layers, a layer does not exist, `y_train` does not
            fit, or a parameter is out of range.

    Examples:
        >>> keras.utils.set_random_seed(0)
        >>> stack = [keras.Input((2,)), layers.Dense(8, "relu"), layers.Dense(2)]
        >>> x = np.random.default_rng(0).normal(size=(50, 2)).astype("float32")
        >>> detector = Dissector(keras.Sequential(stack), x, (x[:, 0] > 0).astype(int))
        >>> detector.fit(x, x, x).score(x).shape
        (50,)
    """

    name = "Dissector"
    supervised = False

    def __init__(self, model, x_train, y_train, *, hidden=None, growth=None, epochs=10, seed=0):
        require_whole("epochs", epochs)
        self._set_up(model, hidden, growth or Growth(), epochs, seed)
        x_train, y_train = np.asarray(x_train, "float32"), np.asarray(y_train)
        _require_labels(y_train, len(x_train), self._classifier.classes)
        self._training = x_train, y_train
        self._origin = digest(x_train, y_train)

    @classmethod
    def from_data(cls, model, data, **options):
        """Make the detector with sub-models that learn from the training inputs.

        Args:
            model: The classifier.
            data: The `models.record.Dataset` that it was trained on.
            **options: Any of `hidden`, `growth`, `epochs` and `seed`.

        Returns:
            The detector.
        """
        return cls(model, data.x_train, data.y_train, **options)

    def parameters(self):
        """List the places of layers, growth, epochs, seed, and a digest of the training inputs."""
        return {
            "hidden": self._hidden.places,
            **dataclasses.asdict(self.growth),
            **{name: getattr(self, name) for name in _NUMBERS},
            "training": self._origin,
        }

    def characteristics(self, x, *, benign=None):
        """Compute the invalidity of each snapshot.

        Args:
            x: Inputs, float32, (n, *input shape).
            benign: Ignored: an input is judged without its origin.

        Returns:
            The characteristics, float64, (n, snapshots), each in (0, 1).
        """
        if not len(x):
            return np.empty((0, len(self.names) + 1))
        snapshots = self.snapshots(x)
        labels = snapshots[-1].argmax(axis=-1)
        return np.stack([snapshot_invalidity(each, labels) for each in snapshots], axis=1)

    def snapshots(self, x):
        """Predict with the sub-models, and with the classifier.

        Args:
            x: Inputs, float32, (n, *input shape); one or more.

        Returns:
            The logits of each snapshot, a list of float64 arrays, (n, classes).
        """
        x = np.asarray(x, "float32")
        features = self._hidden.activations(x)
        pairs = zip(features, self._heads(), strict=True)
        found = [a.astype("float64") @ kernel + bias for a, (kernel, bias) in pairs]
        starts = range(0, len(x), _BATCH)
        own = [self._classifier.logits(x[start : start + _BATCH]) for start in starts]
        return [*found, np.concatenate(own).astype("float64")]

    def learn(self, benign, noisy, adversarial):
        """Learn nothing."""
        return {}

    def decide(self, characteristics, learned):
        """Compute 1 − PV, the weighted mean."""
        weights = self.growth.weights(characteristics.shape[1])
        return np.average(characteristics, axis=1, weights=weights)

    def state(self):
        """List the dense layers, and the parameters."""
        parts = zip(*self._heads(), strict=True)
        arrays = {
            f"{word}_{k}": array
            for word, part in zip(("kernel", "bias"), parts, strict=True)
            for k, array in enumerate(part)
        }
        return {**arrays, **self.parameters()}

    @classmethod
    def restore(cls, model, state):
        """Make the detector with the saved dense layers; see `Baseline.restore`."""
        detector = cls.__new__(cls)
        fields = (field.name for field in dataclasses.fields(Growth))
        growth = Growth(**{name: state[name].item() for name in fields})
        numbers = (state[name].item() for name in _NUMBERS)
        detector._set_up(model, state["hidden"].tolist(), growth, *numbers)
        detector._origin = state["training"].item()
        places = range(len(detector.names))
        detector._learned_heads = [(state[f"kernel_{k}"], state[f"bias_{k}"]) for k in places]
        return detector

    def _set_up(self, model, hidden, growth, epochs, seed):
        super().__init__(model, seed=seed)
        self.growth, self.epochs = growth, epochs
        self._classifier = Classifier(model)
        self._hidden = Hidden(model, chosen=hidden)
        self.names = self._hidden.names
        self._learned_heads = None

    def _heads(self):
        """Return the kernel and the bias of each dense layer, trained at the first call."""
        if self._learned_heads is None:
            self._learned_heads = [self._train(place) for place in range(len(self.names))]
        return self._learned_heads

    def _train(self, place):
        x, y = self._training
        features = self._hidden.activations_of(place, x)
        head = layers.Dense(self._classifier.classes, kernel_initializer="zeros")
        trained = keras.Sequential([keras.Input(features.shape[1:]), head])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        trained.compile("adam", loss, jit_compile=False)
        generator, size = np.random.default_rng(self.seed), min(_BATCH, len(y))
        for _ in range(self.epochs):
            order = generator.permutation(len(y))[: len(y) // size * size]
            for rows in order.reshape(-1, size):
                trained.train_on_batch(features[rows], y[rows])
        return tuple(trained.get_weights())


def _require_labels(y, inputs, classes):
    fits = y.shape == (inputs,) and y.dtype.kind in "iu" and inputs > 0
    if not fits or y.min() < 0 or y.max() >= classes:
        raise ValueError(
            f"`y_train` must hold the class of each training input, from 0 to {classes - 1}. "
            f"Received: {y.dtype} of shape {y.shape} for {inputs} inputs"
        )
