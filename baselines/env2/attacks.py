"""The attacks of Env2 as model mutation testing codes them (Wang et al. 2019), quirks included.

Sound forms of the same attacks are in `a2d_keras`. These are for comparing with figures that the
originals produced. Each is called like those of `a2d_keras`: with a classifier, and images that it
gets right. See `baselines.env2.normalized` for what all do before and after.
"""

import dataclasses

import keras
import numpy as np
from keras import layers

from baselines.env2.normalized import AsCoded

_ADAM = (0.9, 0.999, 1e-8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FGSMAsCoded(AsCoded):
    """FGSM whose loss is the negative logit of the label.

    Args:
        eps: The step in units of the deviation. Defaults to 0.35, which is 0.108 of the range of
            MNIST's pixels.
    """

    eps: float = 0.35

    def craft(self, network, z, labels, generator):
        """Step once against the gradient of the label's logit."""
        images = z - np.float32(self.eps) * np.sign(network.gradient(z, network.one_hot(labels)))
        return images, network.labels(images) != labels


@dataclasses.dataclass(frozen=True, kw_only=True)
class JSMAAsCoded(AsCoded):
    """JSMA towards a random target, one pixel a step and each pixel once.

    Args:
        theta: What a step adds to its pixel, in units of the deviation. Defaults to 1.
        gamma: The largest share of pixels to change. Defaults to 0.12.
    """

    theta: float = 1.0
    gamma: float = 0.12

    def craft(self, network, z, labels, generator):
        """Raise pixels that raise the target's logit and lower the sum of all others."""
        target = (labels + generator.integers(1, network.classes, len(z))) % network.classes
        wanted = network.one_hot(target)
        images, rows = z.reshape(len(z), -1).copy(), np.arange(len(z))
        free = np.ones(images.shape, bool)
        for _ in range(int(self.gamma * images.shape[1])):
            now = images.reshape(z.shape)
            moving = network.labels(now) != target
            up = network.gradient(now, wanted).reshape(images.shape)
            down = network.gradient(now, 1 - wanted).reshape(images.shape)
            saliency = np.where(free, np.maximum(up, 0) * np.maximum(-down, 0), 0)
            pixel = saliency.argmax(axis=1)
            moving &= saliency[rows, pixel] > 0
            images[rows[moving], pixel[moving]] += self.theta
            free[rows[moving], pixel[moving]] = False
        images = images.reshape(z.shape)
        return images, network.labels(images) == target


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepFoolAsCoded(AsCoded):
    """DeepFool (Moosavi-Dezfooli et al. 2016) in the L2 norm of normalised images.

    Args:
        overshoot: The share by which the change is made longer. Defaults to 0.02.
        max_iterations: Steps at most. Defaults to 50.
    """

    overshoot: float = 0.02
    max_iterations: int = 50

    def craft(self, network, z, labels, generator):
        """Step to the nearest boundary of the linearised network until the label changes."""
        change, rows, own = np.zeros_like(z), np.arange(len(z)), network.one_hot(labels)
        every = np.eye(network.classes, dtype="float32")
        for _ in range(self.max_iterations):
            images = z + np.float32(1 + self.overshoot) * change
            moving = network.labels(images) == labels
            if not moving.any():
                break
            logits = network.logits(images)
            gaps = np.abs(logits - logits[rows, labels][:, None])
            slopes = np.stack([network.gradient(images, one - own) for one in every], axis=1)
            norms = np.linalg.norm(slopes.reshape(len(z), network.classes, -1), axis=-1)
            distances = np.divide(gaps, norms, out=np.full_like(gaps, np.inf), where=norms > 0)
            distances[rows, labels] = np.inf
            nearest = distances.argmin(axis=1)
            moving &= np.isfinite(distances[rows, nearest])
            lengths = (distances[rows, nearest] + 1e-4)[moving] / norms[rows, nearest][moving]
            step = slopes[rows, nearest][moving]
            change[moving] += step * lengths.reshape(-1, *[1] * (z.ndim - 1))
        images = z + np.float32(1 + self.overshoot) * change
        return images, network.labels(images) != labels


@dataclasses.dataclass(frozen=True, kw_only=True)
class CarliniWagnerAsCoded(AsCoded):
    """What stands under the name of C&W: Adam in tanh space, with most of the loss cut off.

    The image is ½ tanh(z + w), within ±½, though the network expects normalised images. Neither
    the distance nor the label's own logit has a gradient, so all that moves w is the largest other
    logit, while the label stands. After that Adam coasts. There is no search for c.

    Args:
        c: The factor of the loss. Defaults to 0.6.
        iterations: Steps of Adam. Defaults to 10,000, as for MNIST; 1,000 for CIFAR-10.
        learning_rate: Adam's rate. Defaults to 1e-3.
    """

    c: float = 0.6
    iterations: int = 10_000
    learning_rate: float = 1e-3

    def craft(self, network, z, labels, generator):
        """Raise the largest other logit until it is the largest."""
        first, second, epsilon = _ADAM
        w, mean, square = (np.zeros_like(z) for _ in range(3))
        moving = np.arange(len(z))
        for step in range(1, self.iterations + 1):
            before = w[moving]
            images = np.tanh(z[moving] + before) / 2
            logits, own = network.logits(images), network.one_hot(labels[moving])
            stands = logits.argmax(axis=-1) == labels[moving]
            other = network.one_hot(np.where(own > 0, -np.inf, logits).argmax(axis=-1))
            direction = np.float32(-self.c) * other * stands[:, None]
            gradient = network.gradient(images, direction) * (1 - 4 * images**2) / 2
            mean = first * mean + (1 - first) * gradient
            square = second * square + (1 - second) * gradient**2
            rate = self.learning_rate * np.sqrt(1 - second**step) / (1 - first**step)
            w[moving] = before - rate * mean / (np.sqrt(square) + epsilon)
            # What fools, and has come to rest, stays where it is.
            on = stands | (w[moving] != before).any(axis=(1, 2, 3))
            moving, mean, square = moving[on], mean[on], square[on]
            if not len(moving):
                break
        images = np.tanh(z + w) / 2
        return images, network.labels(images) != labels


def substitute(input_shape=(28, 28, 1), classes=10):
    """Build the substitute of the black-box attack, ready for `a2d_keras.train_substitute`.

    The authors start from 200 test images and train in 6 rounds (4 for CIFAR-10) of 10 epochs, in
    batches of 64, with steps of 0.1 (0.015). The attack is FGSM on the substitute.

    Args:
        input_shape: Shape of an image. Defaults to MNIST's.
        classes: The number of classes. Defaults to 10.

    Returns:
        A compiled `keras.Sequential` with logits as outputs.

    Examples:
        >>> substitute().count_params()
        511626
    """
    model = keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Conv2D(32, 2, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 2, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(200, activation="relu"),
            layers.Dense(200, activation="relu"),
            layers.Dense(classes),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.5), loss)
    return model
