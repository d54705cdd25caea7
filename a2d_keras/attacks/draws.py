"""What version 0.1 called `a2d_keras.attacks.engine.randomness`."""

from a2d_keras.attacks.engine.randomness import keys as keys
from a2d_keras.attacks.engine.randomness import normal as normal
from a2d_keras.attacks.engine.randomness import uniform as uniform
