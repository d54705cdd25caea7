"""Figure 7, Table 4, the red team's successes, and the share that stays right or is flagged."""

import math

import numpy as np
import pandas as pd

from baselines.adaptive.attackers import POOL

NOTHING = "no defence"


def figure_7(swept, farthest):
    """Count the attack's successes against each defence.

    An example counts if it is classified as its target and no farther than the limit. It succeeds
    if the defence does not flag it either.

    Args:
        swept: A list of `baselines.adaptive.sweep.Swept`.
        farthest: The largest L2 distance that counts.

    Returns:
        A `pandas.DataFrame` with a row for each confidence and defence: `confidence`, `defence`,
        `asr`, the successes as a share of all pairs, and `detected`, those flagged as a share of
        the examples that count (NaN if there are none).
    """
    rows = []
    for each in swept:
        counted = each.reached & (each.distance <= farthest)
        nothing = np.zeros_like(counted)
        for defence, flagged in {NOTHING: nothing, **each.flagged}.items():
            row = {"confidence": each.confidence, "defence": defence}
            row |= {"asr": (counted & ~flagged).mean()}
            rows.append({**row, "detected": _share(flagged[counted])})
    return pd.DataFrame(rows)


def distances(swept, farthest):
    """Describe the examples.

    Args:
        swept: As for `figure_7`.
        farthest: As for `figure_7`.

    Returns:
        A row for each confidence: `confidence`, the share of pairs that `reached` the target, the
        share `within` the limit as well, and the mean of the `distance` (L2) and of the `steps`
        of BIM_d over those that reached it.
    """
    return pd.DataFrame(
        {
            "confidence": each.confidence,
            "reached": each.reached.mean(),
            "within": (each.reached & (each.distance <= farthest)).mean(),
            "distance": _share(each.distance[each.reached]),
            "steps": _share(each.steps[each.reached]),
        }
        for each in swept
    )


def table_4(swept, scores, published):
    """Show how scores, steps and distances grow with the confidence.

    Args:
        swept: As for `figure_7`.
        scores: The CLEVER scores of each, a list of arrays, (n,).
        published: The paper's figures, a dict from the confidence to score, steps and distance.

    Returns:
        A row for each confidence: `confidence`, and the mean `score`, `steps` and `distance` of
        the examples that reached their target, each followed by the paper's.
    """
    names = ("score", "steps", "distance")
    rows = []
    for each, score in zip(swept, scores, strict=True):
        ours = [_share(v[each.reached]) for v in (score, each.steps, each.distance)]
        theirs = published.get(int(each.confidence), (math.nan,) * 3)
        row = {"confidence": each.confidence}
        for name, mine, paper in zip(names, ours, theirs, strict=True):
            row |= {name: mine, f"{name}, the paper": paper}
        rows.append(row)
    return pd.DataFrame(rows)


def red_team(broken):
    """List what each attack got through each guard.

    Args:
        broken: A dict from the classifier to what was `baselines.adaptive.attackers.Broken`.

    Returns:
        A row for each classifier, guard and attack: `fooled`, the share of the inputs that the
        classifier gets right at first and wrong after; and `success`, those not flagged either.
    """
    return pd.DataFrame(
        {
            "classifier": classifier,
            "guard": guard,
            "attack": attack,
            "fooled": outcome.wrong.mean(),
            "success": (outcome.wrong & ~outcome.flagged).mean(),
        }
        for classifier, each in broken.items()
        for guard, by_attack in each.outcomes.items()
        for attack, outcome in by_attack.items()
    )


def right_or_flagged(broken):
    """Compute the share of inputs that stay right or are flagged, under the worst of all attacks.

    Inputs that the classifier gets wrong from the start count as lost.

    Args:
        broken: As for `red_team`.

    Returns:
        A row for each classifier and guard: the number of `inputs`, the share `right` without an
        attack and of those still `robust` under the worst of all examples; the share
        `right_or_flagged` under the worst for this guard; the `gain`, their difference; and the
        `false_alarms`, the share of right inputs that are flagged without an attack.
    """
    rows = []
    for classifier, each in broken.items():
        for guard, by_attack in each.outcomes.items():
            wrong, flagged = by_attack[POOL]
            robust = np.count_nonzero(~wrong) / each.inputs
            held = np.count_nonzero(~wrong | flagged) / each.inputs
            row = {"classifier": classifier, "guard": guard, "inputs": each.inputs}
            row |= {"right": len(wrong) / each.inputs, "robust": robust}
            row |= {"right_or_flagged": held, "gain": held - robust}
            rows.append({**row, "false_alarms": each.alarms[guard].mean()})
    return pd.DataFrame(rows)


def _share(values):
    return float(np.mean(values)) if len(values) else math.nan
