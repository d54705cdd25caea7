"""Detect adversarial inputs of a trained Keras classifier by what it costs to attack them.

Attack as Defense: Zhao, Chen, Wang, Yang, Song, Sun, ISSTA 2021.
"""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "a2d-keras runs on TensorFlow: set the environment variable KERAS_BACKEND to tensorflow "
        f"before Keras is imported. Received: {keras.backend.backend()}"
    )

from a2d_keras.attacks import (
    BIM,
    BIM2,
    DBA,
    FGSM,
    JSMA,
    LBFGS,
    LSA,
    Attack,
    AttackResult,
    CarliniWagner,
    DeepFool,
    PairJSMA,
    StepAttack,
    Transfer,
    train_substitute,
)
from a2d_keras.callbacks import AdaptDetector, AttackCostMonitor, DetectionLog
from a2d_keras.classifier import Classifier
from a2d_keras.detection.guarded_model import GuardedModel, guard
from a2d_keras.detection.layer import DetectorLayer
from a2d_keras.detection.zscore import ZScoreDetector
from a2d_keras.statistics.attack_cost import AttackCosts
from a2d_keras.version import __version__

__all__ = [
    "BIM",
    "BIM2",
    "DBA",
    "FGSM",
    "JSMA",
    "LBFGS",
    "LSA",
    "AdaptDetector",
    "Attack",
    "AttackCostMonitor",
    "AttackCosts",
    "AttackResult",
    "CarliniWagner",
    "Classifier",
    "DeepFool",
    "DetectionLog",
    "DetectorLayer",
    "GuardedModel",
    "PairJSMA",
    "StepAttack",
    "Transfer",
    "ZScoreDetector",
    "__version__",
    "guard",
    "train_substitute",
]
