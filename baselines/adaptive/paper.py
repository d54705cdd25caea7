"""The paper's figures (Zhao et al. 2021, Section 6), to print next to ours."""

# Attack success rates by defence and confidence, as far as the text gives them.
FIGURE_7 = {
    "mnist": {
        "no defence": {0: 1.0, 5: 1.0, 10: 1.0, 15: 1.0, 20: 1.0},
        "A2D": {0: 0.0, 5: 0.0, 10: 0.0, 15: 0.0, 20: 0.03},
        "AE": {0: 0.21, 20: 0.0},
        "A2D + AE": {0: 0.0, 5: 0.0, 10: 0.0, 15: 0.0, 20: 0.0},
    },
    "cifar10": {
        "no defence": {0: 0.72, 10: 0.21, 15: 0.0, 20: 0.0},
        "A2D": {0: 0.0, 15: 0.0, 20: 0.0},
    },
}
