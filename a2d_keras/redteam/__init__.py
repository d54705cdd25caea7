"""The adversaries of the red team, one file each; to add one, add its line here."""

from a2d_keras.redteam.adversary import Adversary
from a2d_keras.redteam.decision_based import DecisionBased as DecisionBased
from a2d_keras.redteam.interpolation import Interpolation as Interpolation
from a2d_keras.redteam.kappa_sweep import KappaSweep as KappaSweep
from a2d_keras.redteam.logit_matching import LogitMatching as LogitMatching
from a2d_keras.redteam.noise import Noise as Noise
from a2d_keras.redteam.orthogonal import OrthogonalPGD as OrthogonalPGD
from a2d_keras.redteam.pgd import PGD as PGD
from a2d_keras.redteam.reencoding import JPEG as JPEG
from a2d_keras.redteam.reencoding import EightBits as EightBits
from a2d_keras.redteam.selective import SelectivePGD as SelectivePGD

ADVERSARIES: dict[str, type[Adversary]] = {
    name: value
    for name, value in list(globals().items())
    if isinstance(value, type) and issubclass(value, Adversary) and value is not Adversary
}
