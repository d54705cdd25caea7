"""The baselines, and the comparison with them. Run from a checkout; not installed."""
