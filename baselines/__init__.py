"""Rival detectors, and their comparison with A2D: used from a checkout, never installed."""
