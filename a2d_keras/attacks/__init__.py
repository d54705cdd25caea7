"""The attacks: each a step, all run by the slot loop, both to craft and to measure costs."""

from a2d_keras.attacks.base import Attack, StepAttack
from a2d_keras.attacks.boundary import DBA
from a2d_keras.attacks.gradient_sign import BIM, BIM2, FGSM
from a2d_keras.attacks.loop import AttackResult
from a2d_keras.attacks.saliency_map import JSMA, PairJSMA

__all__ = ["BIM", "BIM2", "DBA", "FGSM", "JSMA", "Attack", "AttackResult", "PairJSMA", "StepAttack"]
