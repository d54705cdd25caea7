"""Dissector, the paper's BL4: hidden layers, sub-models on them, the detector."""
