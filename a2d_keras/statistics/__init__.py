"""The statistics, one file each; to add one, add its line here."""

from a2d_keras.statistics.attack_cost import AttackCost as AttackCost
