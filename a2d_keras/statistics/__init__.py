"""Test statistics of inputs: one file each."""
