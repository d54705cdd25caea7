"""Detect adversarial inputs of a trained Keras classifier by what it costs to attack them.

Attack as Defense: Zhao, Chen, Wang, Yang, Song, Sun, ISSTA 2021.
"""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "a2d-keras runs on TensorFlow: set the environment variable KERAS_BACKEND to tensorflow "
        f"before Keras is imported. Received: {keras.backend.backend()}"
    )

from a2d_keras.attacks import *  # noqa: F403
from a2d_keras.attacks.base import Attack as Attack
from a2d_keras.attacks.base import StepAttack as StepAttack
from a2d_keras.attacks.engine.slots import AttackResult as AttackResult
from a2d_keras.attacks.engine.slots import Slots as Slots
from a2d_keras.attacks.substitute import train_substitute as train_substitute
from a2d_keras.callbacks import *  # noqa: F403
from a2d_keras.classifier import Classifier as Classifier
from a2d_keras.detection.guarded_model import GuardedModel as GuardedModel
from a2d_keras.detection.guarded_model import guard as guard
from a2d_keras.detection.layer import DetectorLayer as DetectorLayer
from a2d_keras.detection.rules import KNN as KNN
from a2d_keras.detection.rules import Rule as Rule
from a2d_keras.detection.rules import ZScore as ZScore
from a2d_keras.detection.rules.zscore import ZScoreDetector as ZScoreDetector
from a2d_keras.options import GuardOptions as GuardOptions
from a2d_keras.options import RunOptions as RunOptions
from a2d_keras.statistics import *  # noqa: F403
from a2d_keras.statistics.attack_cost import AttackCosts as AttackCosts
from a2d_keras.statistics.base import Statistic as Statistic
from a2d_keras.version import __version__ as __version__
