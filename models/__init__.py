"""The classifiers under test, and their data. Run from a checkout; not installed."""
