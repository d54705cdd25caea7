"""Detect adversarial inputs of a trained Keras classifier by what it costs to attack them.

Attack as Defense: Zhao, Chen, Wang, Yang, Song, Sun, ISSTA 2021.
"""

import pathlib
import sys

from a2d_keras.version import __version__ as __version__


def _starts_command() -> bool:
    """Return whether this import is the first one of the command `a2d-keras`.

    `import a2d_keras` imports everything, because Keras finds registered classes only once they
    are imported. With TensorFlow that takes seconds, and `a2d-keras --help` needs none of it. So
    the command first imports the version only. `a2d_keras.cli.main` reads the arguments and then
    reloads this package, which finds `a2d_keras.cli` imported.
    """
    if not sys.argv or "a2d_keras.cli" in sys.modules:
        return False
    if sys.argv[0] == "-m":  # Python has not found the module to run yet
        return ("-m", "a2d_keras") in zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
    scripts = ("a2d-keras", "a2d-keras.exe", "a2d-keras-script.py")
    return pathlib.PurePath(sys.argv[0]).name in scripts


_deferred = _starts_command()
if not _deferred:
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ImportError(
            "a2d-keras runs on TensorFlow: set the environment variable KERAS_BACKEND to "
            f"tensorflow before Keras is imported. Received: {keras.backend.backend()}"
        )

    from a2d_keras.adversarial_training import AdversarialTraining as AdversarialTraining
    from a2d_keras.attacks import *  # noqa: F403
    from a2d_keras.attacks.base import Attack as Attack
    from a2d_keras.attacks.base import StepAttack as StepAttack
    from a2d_keras.attacks.engine.slots import AttackResult as AttackResult
    from a2d_keras.attacks.engine.slots import Slots as Slots
    from a2d_keras.attacks.substitute import SubstituteTraining as SubstituteTraining
    from a2d_keras.attacks.substitute import train_substitute as train_substitute
    from a2d_keras.callbacks import *  # noqa: F403
    from a2d_keras.classifier import Classifier as Classifier
    from a2d_keras.detection.guarded_model import GuardedModel as GuardedModel
    from a2d_keras.detection.guarded_model import guard as guard
    from a2d_keras.detection.layer import DetectorLayer as DetectorLayer
    from a2d_keras.detection.rules import KNN as KNN
    from a2d_keras.detection.rules import CostRule as CostRule
    from a2d_keras.detection.rules import Fisher as Fisher
    from a2d_keras.detection.rules import Rule as Rule
    from a2d_keras.detection.rules import ZScore as ZScore
    from a2d_keras.detection.rules.zscore import ZScoreDetector as ZScoreDetector
    from a2d_keras.options import GuardOptions as GuardOptions
    from a2d_keras.options import RunOptions as RunOptions
    from a2d_keras.redteam.adversary import Adversary as Adversary
    from a2d_keras.redteam.defence import Defence as Defence
    from a2d_keras.redteam.evaluation import redteam as redteam
    from a2d_keras.redteam.result import RedTeamResult as RedTeamResult
    from a2d_keras.redteam.scored_defence import ScoredDefence as ScoredDefence
    from a2d_keras.statistics import *  # noqa: F403
    from a2d_keras.statistics.attack_cost import AttackCosts as AttackCosts
    from a2d_keras.statistics.base import Passes as Passes
    from a2d_keras.statistics.base import Statistic as Statistic
    from a2d_keras.statistics.fingerprints import Fingerprints as Fingerprints
    from a2d_keras.statistics.view import View as View
