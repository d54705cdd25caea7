"""The attacks: each a step, nearly all run by the slot loop. To add one, add its line here."""

import typing

from a2d_keras.attacks.boundary import DBA as DBA
from a2d_keras.attacks.carlini_wagner import CarliniWagner as CarliniWagner
from a2d_keras.attacks.deepfool import DeepFool as DeepFool
from a2d_keras.attacks.gradient_sign import BIM as BIM
from a2d_keras.attacks.gradient_sign import BIM2 as BIM2
from a2d_keras.attacks.gradient_sign import FGSM as FGSM
from a2d_keras.attacks.hop_skip_jump import HopSkipJump as HopSkipJump
from a2d_keras.attacks.lbfgs import LBFGS as LBFGS
from a2d_keras.attacks.local_search import LSA as LSA
from a2d_keras.attacks.saliency_map import JSMA as JSMA
from a2d_keras.attacks.saliency_map import PairJSMA as PairJSMA
from a2d_keras.attacks.substitute import Transfer as Transfer

if not typing.TYPE_CHECKING:  # a type checker cannot compute this, and would find nothing public
    __all__ = [name for name, value in globals().items() if isinstance(value, type)]
