"""The statistics of a guard that is given none: one set for images, one for other inputs."""

from a2d_keras.classifier import Classifier
from a2d_keras.statistics.base import Statistic
from a2d_keras.statistics.boundary_distance import BoundaryDistance
from a2d_keras.statistics.consistency import Consistency
from a2d_keras.statistics.feature_distance import FeatureDistance
from a2d_keras.statistics.squeezing import Squeezing

FOR_IMAGES = (BoundaryDistance(tail="both"), Consistency(), Squeezing())
FOR_OTHERS = (BoundaryDistance(tail="both"), FeatureDistance())


def default_statistics(classifier: Classifier) -> tuple[Statistic, ...]:
    """Choose the statistics for a classifier.

    Args:
        classifier: The `Classifier`.

    Returns:
        `FOR_IMAGES` if it takes images, or else `FOR_OTHERS`, without those that refuse it.
    """
    usual = FOR_IMAGES if classifier.takes_images else FOR_OTHERS
    return tuple(statistic for statistic in usual if _suits(statistic, classifier))


def _suits(statistic: Statistic, classifier: Classifier) -> bool:
    try:
        statistic.require(classifier)
    except ValueError:
        return False
    return True
