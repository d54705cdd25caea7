"""What is compared on which classifier, and how much of it."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from a2d_keras import Reconstruction
from a2d_keras.redteam import PGD, Interpolation, LogitMatching, OrthogonalPGD, SelectivePGD
from models import zoo

FIGURE_7 = (0, 5, 10, 15, 20)  # confidences of C&W
TABLE_4 = (0, 2, 4, 6, 8)
Z_SCORE = -1.281552  # the paper's threshold
FALSE_POSITIVE_RATE = 0.05  # of the guards that the red team attacks
GUARDS = ("lowest margins", "default", "A2D", "A2D + AE")
ATTACKS = ("pgd", "selective_pgd", "orthogonal_pgd", "logit_matching", "interpolation")


class Autoencoder(NamedTuple):
    """An autoencoder that detects.

    Attributes:
        record: Its record in `models`, or None for the default of `Reconstruction`.
        p: The power of its absolute error.
    """

    record: str | None
    p: int

    def statistic(self):
        """Load it as an `a2d_keras.Reconstruction`."""
        model = zoo.load(self.record) if self.record else None
        return Reconstruction(autoencoder=model, p=self.p)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """What is compared on one data set.

    Args:
        swept: The classifier of Figure 7, the name of a record in `models`.
        farthest: The largest L2 distance that counts there.
        autoencoders: A dict from the name to the `Autoencoder`. Defaults to none.
        drop_rate: The share of benign images that each of them may flag. Defaults to 0.001.
        held_out: How many training images, the first ones, set its threshold. Defaults to 5000.
        attacked: The classifiers that the red team attacks, from the plain to the robust one.
        eps: The largest change of a value by the red team, as a fraction of the input range.
        guards: The guards that it attacks. Defaults to `GUARDS`.
        attacks: The names of its attacks. Defaults to `ATTACKS`.
    """

    swept: str
    farthest: float
    autoencoders: Mapping[str, Autoencoder] = dataclasses.field(default_factory=dict)
    drop_rate: float = 0.001
    held_out: int = 5000
    attacked: tuple[str, ...]
    eps: float
    guards: tuple[str, ...] = GUARDS
    attacks: tuple[str, ...] = ATTACKS

    def adversaries(self, steps):
        """List the red team.

        Args:
            steps: The steps towards each of two targets.

        Returns:
            The adversaries.
        """
        options = {"eps": self.eps, "max_iterations": steps}
        every = [
            PGD(**options),
            SelectivePGD(**options),
            OrthogonalPGD(**options),
            LogitMatching(**options),
            Interpolation(rounds=3, **options),
        ]
        return [each for each in every if each.name in self.attacks]


SCENES = {
    "digits": Scene(
        swept="digits",
        farthest=2.4,
        autoencoders={"AE": Autoencoder(None, 2)},
        drop_rate=0.01,
        held_out=400,
        attacked=("digits",),
        eps=0.3,
    ),
    "mnist": Scene(
        swept="mnist",
        farthest=8.4,  # 0.3 · √784
        autoencoders={"AE I": Autoencoder("magnet_i", 2), "AE II": Autoencoder("magnet_ii", 1)},
        attacked=("mnist", "mnist_robust"),
        eps=0.3,
    ),
    "cifar10": Scene(
        swept="cifar10_robust",
        farthest=1.6,  # about 0.03 · √3072
        attacked=("cifar10", "cifar10_robust"),
        eps=8 / 255,
    ),
}


class Sizes(NamedTuple):
    """How much is measured.

    Attributes:
        limit: The largest number of inputs that the red team attacks.
        pairs: The largest number of pairs of an input and a target for C&W.
        benign: The number of benign inputs that A2D and the guards learn from.
        coarser: How many times as long as the paper's the steps of BIM_d are, and how many times
            fewer.
        iterations: Iterations of each of the four searches of C&W.
        steps: Steps of the red team towards each of two targets.
        samples: Points of each maximum of a CLEVER score.
        maxima: Maxima of each fit.
    """

    limit: int
    pairs: int
    benign: int
    coarser: int
    iterations: int
    steps: int
    samples: int
    maxima: int

    def bim_d(self, defence):
        """Lengthen the steps of the paper's BIM_d, and take fewer, so that it goes as far.

        Args:
            defence: The attack, with `eps_iter` and `max_iterations`.

        Returns:
            The attack.
        """
        steps = max(1, defence.max_iterations // self.coarser)
        length = defence.eps_iter * self.coarser
        return dataclasses.replace(defence, eps_iter=length, max_iterations=steps)
