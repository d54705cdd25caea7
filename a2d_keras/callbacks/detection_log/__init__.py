"""`DetectionLog`: count, log and watch the verdicts of a guarded model."""

from a2d_keras.callbacks.detection_log.callback import DetectionLog as DetectionLog
