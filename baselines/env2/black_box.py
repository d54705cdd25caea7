"""The black-box attack of Env2 (BB): train a substitute on labels, and attack that.

Papernot et al. 2017; see `baselines.env2.attacks.substitute` for the network. Both forms train it
when they are called, and so need nothing but the inputs that the training starts from.
"""

import dataclasses
import functools

import keras
import numpy as np

from a2d_keras import FGSM, Transfer, train_substitute
from baselines.digests import digest
from baselines.env2.attacks import FGSMAsCoded, substitute
from baselines.env2.normalized import Network

_TRAINING = {"epochs": 10, "batch_size": 64}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlackBox:
    """FGSM on a substitute, tried once on the classifier.

    The authors train the substitute from scratch in every round; here it goes on from the last.

    Args:
        seeds: The inputs that training starts from, float32 in [0, 1], (n, height, width,
            channels). The authors take 200 test images.
        eps: The step of FGSM, as a fraction of the input range. Defaults to 0.35.
        rounds: How many times the inputs are doubled. Defaults to 6; 4 for CIFAR-10.
        step: From an input to its copy, as a fraction of the range. Defaults to 0.1; 0.015 for
            CIFAR-10.
        origin: A digest of `seeds`.

    Examples:
        >>> BlackBox(seeds=np.zeros((2, 8, 8, 1), "float32"), eps=0.1).rounds
        6
    """

    seeds: np.ndarray = dataclasses.field(repr=False, compare=False)
    eps: float = 0.35
    rounds: int = 6
    step: float = 0.1
    origin: str = dataclasses.field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "origin", digest(self.seeds))

    def __call__(self, classifier, x, *, verbose=0):
        """Craft adversarial images.

        Args:
            classifier: The `a2d_keras.Classifier`.
            x: Images, float32 in [0, 1], (n, height, width, channels).
            verbose: 1 shows progress bars. Defaults to 0.

        Returns:
            An `a2d_keras.AttackResult`.
        """
        stand_in = self.train(classifier, verbose)
        return Transfer(substitute=stand_in, attack=FGSM(eps=self.eps))(classifier, x)

    def train(self, classifier, verbose=0):
        """Train the substitute, from a seed that becomes that of Keras. The last one is kept.

        Args:
            classifier: The `a2d_keras.Classifier` to imitate.
            verbose: As for a call. Defaults to 0.

        Returns:
            The substitute, an `a2d_keras.Classifier`.
        """
        return _train(classifier, self.seeds.tobytes(), self.rounds, self.step, verbose)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlackBoxAsCoded(BlackBox):
    """The same on normalised images, which are stretched; see `baselines.env2.normalized`.

    An image counts if it fools both networks. `eps` is in units of the deviation, and the network
    is MNIST's.
    """

    def __call__(self, classifier, x, *, verbose=0):
        """Craft adversarial images; returns what is `baselines.env2.normalized.Crafted`."""
        stand_in = self.train(classifier, verbose)
        return _OnSubstitute(eps=self.eps, stand_in=stand_in)(classifier, x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OnSubstitute(FGSMAsCoded):
    """FGSM along the gradient of another network, the substitute."""

    stand_in: object = None

    def craft(self, network, z, labels, generator):
        other = Network(self.stand_in, *map(np.float32, (self.mean, self.deviation)))
        images, fools_other = super().craft(other, z, labels, generator)
        return images, fools_other & (network.labels(images) != labels)


@functools.lru_cache(maxsize=1)  # it takes longer than the attack, of which there are several
def _train(classifier, seeds, rounds, step, verbose):
    keras.utils.set_random_seed(0)
    seeds = np.frombuffer(seeds, "float32").reshape(-1, *classifier.input_shape)
    model = substitute(classifier.input_shape, classifier.classes)
    how = {**_TRAINING, "rounds": rounds, "step": step, "verbose": verbose}
    return train_substitute(classifier, seeds, model, **how)
