"""Attacks on guarded models."""
