"""The tables, from the verdicts."""

import numpy as np
import pandas as pd

from baselines.comparison import protocols
from baselines.coverage.detectors import MIN_EXAMPLES

GROUPS = ("benign", "attacks", "changes", "strangers")


def compute(kinds, detectors):
    """Compute all tables.

    Args:
        kinds: The `baselines.coverage.kinds.Kinds`.
        detectors: A dict from the name to the `baselines.coverage.detectors.Detector`.

    Returns:
        A dict of `pandas.DataFrame`: `examples`, `kept`, `verdicts`, `first_half`, `price`.
    """
    return {
        "examples": examples(kinds),
        "kept": pd.DataFrame({"change": [*kinds.kept], "kept": [*kinds.kept.values()]}),
        "verdicts": verdicts(kinds, detectors),
        "first_half": first_half(kinds, detectors),
        "price": price(detectors),
    }


def examples(kinds):
    """Count the examples of each attack.

    Args:
        kinds: As for `compute`.

    Returns:
        A row for each attack: `attack`, the share of examples that `fool`, the number `reported`,
        and for each evasion the share of those that still fools.
    """
    rows = []
    for attack, kind in kinds.attacks.items():
        count = int(kind.reported.sum())
        row = {"attack": attack, "fool": float(kinds.fooled[attack]), "reported": count}
        for change, evading in kinds.evasions.items():
            still = evading[attack].reported.sum()
            row[change] = still / count if count else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def verdicts(kinds, detectors):
    """Compute how each detector judges each kind of input, on the reported inputs.

    Args:
        kinds: As for `compute`.
        detectors: As for `compute`.

    Returns:
        A row for each group, kind and detector: `group` ("benign", "attacks", "changes",
        "strangers", or the evasion), `kind`, `detector`, `inputs`, the share `flagged`, and for
        inputs that should be flagged `auroc`, `low` and `high`.
    """
    rows = []
    for group, members in _groups(kinds).items():
        for kind, (key, each) in members.items():
            for name, detector in detectors.items():
                if key in detector.verdicts:
                    row = {"group": group, "kind": kind, "detector": name}
                    rows.append(row | _figures(kinds, detector.verdicts[key], each, group))
    return pd.DataFrame(rows)


def first_half(kinds, detectors):
    """Compute AUROC on the first half, which the default set of statistics was chosen on.

    Args:
        kinds: As for `compute`.
        detectors: As for `compute`.

    Returns:
        A row for each attack and detector that learned from no attack: `kind`, `detector`,
        `auroc`.
    """
    rows = []
    for kind, each in kinds.attacks.items():
        for name, detector in detectors.items():
            judged = detector.verdicts.get(kind)
            if judged is None or not detector.benign_only:
                continue
            area = np.nan
            if each.first.sum() >= MIN_EXAMPLES:
                negative = judged.benign[kinds.benign.first]
                area = float(protocols.area(negative, judged.scores[each.first]))
            rows.append({"kind": kind, "detector": name, "auroc": area})
    return pd.DataFrame(rows)


def price(detectors):
    """List the passes of a verdict.

    Args:
        detectors: As for `compute`.

    Returns:
        A row for each detector: `detector`, `forward`, `backward`.
    """
    return pd.DataFrame(
        {"detector": name, "forward": float(each.forward), "backward": float(each.backward)}
        for name, each in detectors.items()
    )


def _groups(kinds):
    """List the kinds of each group: a dict of dicts from the name to the key and the `Kind`."""
    found = {"benign": {"benign": ("benign", kinds.benign)}}
    for group in GROUPS[1:]:
        found[group] = {name: (name, kind) for name, kind in getattr(kinds, group).items()}
    for change, evading in kinds.evasions.items():
        found[change] = {name: (f"{name} {change}", kind) for name, kind in evading.items()}
    return found


def _figures(kinds, judged, kind, group):
    count = int(kind.reported.sum())
    figures = {"inputs": count, "flagged": np.nan}
    if count >= MIN_EXAMPLES:
        figures["flagged"] = judged.flagged[kind.reported].mean()
        if group not in ("benign", "changes"):
            benign = judged.benign[kinds.benign.reported]
            figures |= protocols.auroc(benign, judged.scores[kind.reported])
    return figures
