"""Parameters that several data sets share (Zhao et al. 2021, Table 5)."""

from a2d_keras import BIM, BIM2, DBA, JSMA, CarliniWagner

# At a rate of 0.01, 200 iterations are too few: 3 % of MNIST's inputs never flip.
CARLINI_WAGNER = CarliniWagner(
    initial_c=0.02, learning_rate=0.02, binary_search_steps=5, search_iterations=200
)
DEFENCES = {"JSMA_d": JSMA(), "BIM_d": BIM(), "BIM2_d": BIM2(), "DBA_d": DBA()}
