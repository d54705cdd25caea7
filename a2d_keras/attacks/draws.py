"""The name that `a2d_keras.attacks.engine.randomness` had in version 0.1."""

from a2d_keras.attacks.engine.randomness import keys as keys
from a2d_keras.attacks.engine.randomness import normal as normal
from a2d_keras.attacks.engine.randomness import uniform as uniform
