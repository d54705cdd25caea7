"""Guarded classifiers at work. Each example is run from a checkout; its folder says how."""
