"""Keras callbacks: attack costs while training, detectors kept up to date, verdicts watched."""

from a2d_keras.callbacks.adapt_detector import AdaptDetector
from a2d_keras.callbacks.attack_cost_monitor import AttackCostMonitor
from a2d_keras.callbacks.detection_log import DetectionLog

__all__ = ["AdaptDetector", "AttackCostMonitor", "DetectionLog"]
