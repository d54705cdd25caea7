"""The classifiers under test and their data: used from a checkout, never installed."""
