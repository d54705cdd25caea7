"""Guarded classifiers at work, from a checkout; an example's folder or first line says how."""
