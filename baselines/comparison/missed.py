"""The adversarial examples that each detector misses, held out."""

import numpy as np
import pandas as pd

from baselines import plots
from baselines.comparison.protocols import NOISY, detected, held_out

RATE = 0.05  # of false positives


def missed(scores, measurements):
    """Count what each detector misses at 5 % false positives, and choose the worst miss.

    Args:
        scores: The scores of the protocol `held_out`, as `baselines.comparison.protocols.score`
            returns them.
        measurements: The `baselines.comparison.measurements.Measurements`.

    Returns:
        A `pandas.DataFrame` with a row for each detector and attack: `detector`, `attack`,
        `missed`, the number `of` examples that fool, and `input`, the place among the test inputs
        of the example with the lowest score; -1 if none is missed.
    """
    protocol, rows = held_out(measurements), []
    for attack, by_detector in scores.items():
        places = np.flatnonzero(protocol.scored & protocol.counted[attack])
        for detector, (negative, positive) in by_detector.items():
            if not detector.endswith(NOISY):
                count = round(len(positive) * (1 - detected(negative, positive, RATE)))
                row = {"detector": detector, "attack": attack, "missed": count, "of": len(positive)}
                rows.append(row | {"input": places[positive.argmin()] if count else -1})
    return pd.DataFrame(rows)


def draw(path, table, measurements):
    """Draw the worst miss of every detector on every attack.

    Args:
        path: The file.
        table: The table of `missed`.
        measurements: The `baselines.comparison.measurements.Measurements` of images.
    """
    low, high = measurements.bounds
    images = {}
    for row in table.itertuples():
        image = None
        if row.missed:
            image = (measurements.test.inputs[row.attack][row.input] - low) / (high - low)
        images[row.detector, row.attack] = image, f"{row.missed} of {row.of}"
    plots.grid(path, images)
