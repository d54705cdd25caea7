"""The attacks: each a step, nearly all run by the slot loop, to craft and to measure costs."""

from a2d_keras.attacks.base import Attack, StepAttack
from a2d_keras.attacks.boundary import DBA
from a2d_keras.attacks.carlini_wagner import CarliniWagner
from a2d_keras.attacks.deepfool import DeepFool
from a2d_keras.attacks.engine.slots import AttackResult
from a2d_keras.attacks.gradient_sign import BIM, BIM2, FGSM
from a2d_keras.attacks.lbfgs import LBFGS
from a2d_keras.attacks.local_search import LSA
from a2d_keras.attacks.saliency_map import JSMA, PairJSMA
from a2d_keras.attacks.substitute import Transfer, train_substitute

__all__ = [
    "BIM",
    "BIM2",
    "DBA",
    "FGSM",
    "JSMA",
    "LBFGS",
    "LSA",
    "Attack",
    "AttackResult",
    "CarliniWagner",
    "DeepFool",
    "PairJSMA",
    "StepAttack",
    "Transfer",
    "train_substitute",
]
