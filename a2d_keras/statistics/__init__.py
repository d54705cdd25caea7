"""The statistics, one file each; to add one, add its line here."""

from a2d_keras.statistics.attack_cost import AttackCost as AttackCost
from a2d_keras.statistics.boundary_distance import BoundaryDistance as BoundaryDistance
from a2d_keras.statistics.consistency import Consistency as Consistency
from a2d_keras.statistics.feature_distance import FeatureDistance as FeatureDistance
from a2d_keras.statistics.label_distance import LabelDistance as LabelDistance
from a2d_keras.statistics.margin import Margin as Margin
from a2d_keras.statistics.reconstruction import Reconstruction as Reconstruction
from a2d_keras.statistics.spectrum import Spectrum as Spectrum
from a2d_keras.statistics.squeezing import Squeezing as Squeezing
