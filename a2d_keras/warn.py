"""Warnings that show the user's own line."""

import sys
import warnings
from types import FrameType

_INSIDE = ("a2d_keras", "keras", "tensorflow")


def warn(sentence: str) -> None:
    """Warn the user, with the nearest line outside this package, Keras and TensorFlow.

    Args:
        sentence: The message.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _package(frame) in _INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(sentence, stacklevel=level)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
