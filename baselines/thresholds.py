"""What a false positive rate buys on digits: `python -m baselines.thresholds`.

One BIM measures the costs of benign digits, which set the threshold for each rate, and of fresh
and adversarial ones. It prints the table of `docs/threshold.md`.
"""

import dataclasses
import math

import tabulate

from a2d_keras import AttackCosts, Classifier, ZScoreDetector
from models import datasets, registry, zoo

RATES = (0.01, 0.02, 0.05, 0.1, 0.2)


def main():
    """Craft, measure, and print the table."""
    x, model = datasets.load("digits").x_test, zoo.load("digits")
    kinds = examples(Classifier(model), x[300:])
    costs = AttackCosts(model)
    measured = {kind: costs.transform(inputs) for kind, inputs in kinds.items()}
    print(", ".join(f"{kind}: {len(inputs)}" for kind, inputs in kinds.items()))
    rows = compare(costs.transform(x[:300]), measured)
    print(tabulate.tabulate(rows, headers="keys", tablefmt="github"))


def examples(classifier, fresh):
    """Craft adversarial examples.

    Args:
        classifier: The `a2d_keras.Classifier`.
        fresh: Benign inputs, float32, (n, height, width, channels).

    Returns:
        A dict from the kind, "benign", "FGSM", "BIM-a" or "PGD", to inputs, float32: the examples
        are those that fool the classifier.
    """
    attacks = registry.find("digits").settings.attacks
    chosen = {
        "FGSM": attacks["FGSM"],
        "BIM-a": attacks["BIM-a"],
        "PGD": dataclasses.replace(attacks["BIM-a"], stop_at_success=False),
    }
    crafted = {name: attack(classifier, fresh) for name, attack in chosen.items()}
    fooling = {name: found.adversarial[found.success] for name, found in crafted.items()}
    return {"benign": fresh, **fooling}


def compare(benign, kinds):
    """Set a threshold for each rate, and count what it flags.

    Args:
        benign: Costs of the benign inputs to adapt on, int64, (n, 1).
        kinds: A dict from a kind of input to its costs, int64, (m, 1).

    Returns:
        A list of dicts, one for each of `RATES`: `false positive rate`; `threshold, steps`, the
        smallest cost that is not flagged; and for each kind the share that is, such as "4.7 %".
    """
    rows = []
    for rate in RATES:
        detector = ZScoreDetector(false_positive_rate=rate).fit(benign)
        threshold = math.ceil(detector.thresholds_[0])
        row = {"false positive rate": rate, "threshold, steps": threshold}
        for kind, costs in kinds.items():
            row[f"{kind} flagged"] = f"{100 * (detector.predict(costs) == -1).mean():.1f} %"
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
