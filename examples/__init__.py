"""Examples, run from a checkout. The first line of each, or the README beside it, says how."""
