"""Examples, run from a checkout. The first line of each, or the README next to it, says how."""
