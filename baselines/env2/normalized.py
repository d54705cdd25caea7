"""What the attacks of Env2 share: they run on normalised images, and save them as eight bits.

As model mutation testing codes them (Wang et al. 2019), attacks change images in units of their
normalisation, and leave the range of pixels. Every image is then stretched, from its own minimum
and maximum to 0 and 255, and read back.
"""

import abc
import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

_BATCH = 256


class Crafted(NamedTuple):
    """What an attack returns for n images.

    Attributes:
        adversarial: The images as they are read back, float32 in [0, 1], (n, *input shape).
        success: Whether the attack succeeded, and the image that is read back still has another
            label than the original, bool, (n,).
    """

    adversarial: np.ndarray
    success: np.ndarray


def stretched(images):
    """Save images as eight bits, each from its own minimum to its own maximum, and read them back.

    Args:
        images: Images of any range, float, (n, height, width, channels).

    Returns:
        The images, float32 in [0, 1].

    Examples:
        >>> print(stretched(np.array([-1.0, 0.0, 3.0]).reshape(1, 1, 3, 1)).ravel() * 255)
        [  0.  64. 255.]
    """
    low, high = (bound((1, 2, 3), keepdims=True) for bound in (images.min, images.max))
    scaled = (images - low) * (255 / np.where(high > low, high - low, 1))
    return np.floor(scaled + 0.5).astype("float32") / 255


@dataclasses.dataclass(frozen=True, kw_only=True)
class AsCoded(abc.ABC):
    """An attack on normalised images.

    Args:
        mean: The mean of pixels that the classifier subtracts, one for each channel. Defaults to
            MNIST's.
        deviation: The deviation that it divides by. Defaults to MNIST's.
    """

    mean: tuple[float, ...] = (0.1307,)
    deviation: tuple[float, ...] = (0.3081,)

    def __call__(self, classifier, x, *, verbose=0):
        """Craft adversarial images.

        Args:
            classifier: The `a2d_keras.Classifier`, of images in [0, 1].
            x: Images, float32 in [0, 1], (n, height, width, channels).
            verbose: Ignored.

        Returns:
            What is `Crafted`.
        """
        network = Network(classifier, *map(np.float32, (self.mean, self.deviation)))
        generator = np.random.default_rng(0)
        parts = [
            self._batch(network, x[start : start + _BATCH], generator)
            for start in range(0, len(x), _BATCH)
        ]
        return Crafted(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    @abc.abstractmethod
    def craft(self, network, z, labels, generator):
        """Change a batch of normalised images.

        Args:
            network: The `Network` under attack.
            z: The normalised images, float32.
            labels: Their labels, int, (n,).
            generator: A `numpy.random.Generator`.

        Returns:
            The images, and whether the attack succeeded on each.
        """

    def _batch(self, network, x, generator):
        z = network.normalized(x)
        labels = network.labels(z)
        images, success = self.craft(network, z, labels, generator)
        adversarial = stretched(images)
        return adversarial, success & (network.labels(network.normalized(adversarial)) != labels)


class Network:
    """A classifier as a function of normalised images, from arrays to arrays.

    Args:
        classifier: The `a2d_keras.Classifier`, of images in [0, 1].
        mean: The mean of pixels, float32, (channels,).
        deviation: Their deviation, float32, (channels,).

    Attributes:
        classes: The number of classes.
    """

    def __init__(self, classifier, mean, deviation):
        self.classes = classifier.classes
        self._mean, self._deviation = mean, deviation
        x = tf.TensorSpec((None, *classifier.input_shape), "float32")
        direction = tf.TensorSpec((None, classifier.classes), "float32")

        def gradient(x, direction):
            _, pull_back = classifier.vjp(x)
            return pull_back(direction)

        # Compiled, as an attack calls these thousands of times.
        self._logits = tf.function(classifier.logits, [x], autograph=False)
        self._gradient = tf.function(gradient, [x, direction], autograph=False)

    def normalized(self, x):
        """Normalise images."""
        return (x - self._mean) / self._deviation

    def logits(self, z):
        """Compute the logits of normalised images, float32, (n, classes)."""
        return self._logits(self._pixels(z)).numpy()

    def labels(self, z):
        """Compute the labels of normalised images, int64, (n,)."""
        return self.logits(z).argmax(axis=-1)

    def gradient(self, z, direction):
        """Compute the gradient of logits · direction at normalised images."""
        return self._gradient(self._pixels(z), direction).numpy() * self._deviation

    def one_hot(self, labels):
        """Make a row of zeros for each label, with a one at the label, float32."""
        return np.eye(self.classes, dtype="float32")[labels]

    def _pixels(self, z):
        return self._mean + self._deviation * z
