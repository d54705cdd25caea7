"""Model mutation testing, the paper's BL3: operators, mutants, a sequential test, the detector."""
