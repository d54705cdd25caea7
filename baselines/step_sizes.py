"""How AUROC falls with the step of the attack that crafts: `python -m baselines.step_sizes`.

An attack's last step ends beyond the boundary, by less than the step. If this overshoot is large
compared with the distance of benign inputs to the boundary, adversarial examples cost nearly as
much as benign inputs. This crafts with steps smaller and larger than those of Table 5 (Zhao et
al. 2021).
"""

import argparse
import dataclasses

import numpy as np
import tabulate

from a2d_keras import Classifier
from baselines.comparison.labels import correctly_classified
from baselines.comparison.protocols import auroc
from models import datasets, registry, zoo

FACTORS = (0.25, 0.5, 1, 2)  # times the step of Table 5
_STEPS = {"FGSM": "eps", "BIM-a": "eps_iter"}  # the parameter that is the step


def main(argv=None):
    """Craft with every step, measure with BIM_d, and print a table.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    arguments = _parse(argv)
    name = arguments.dataset
    data, model = datasets.load(name, arguments.data_dir), zoo.load(name)
    benign = correctly_classified(model, data.x_test, data.y_test, arguments.limit)
    classifier, defence = Classifier(model), registry.find(name).settings.defences["BIM_d"]
    cost = defence(classifier, benign).cost
    median = np.median(cost)
    print(f"{name}: {len(benign)} correctly classified test inputs, a median of {median:.0f} steps")
    print(f"of BIM_d, {median * defence.eps_iter:.4f} of the range, from the boundary")
    rows = compare(classifier, benign, cost, defence, registry.find(name).settings.attacks)
    print(tabulate.tabulate(rows, headers="keys", tablefmt="github", floatfmt=".5g"))


def compare(classifier, benign, cost, defence, attacks):
    """Craft with every step, and measure the costs of the examples.

    Args:
        classifier: The `a2d_keras.Classifier`.
        benign: Inputs, float32, (n, height, width, channels).
        cost: Their costs under the defence, int64, (n,).
        defence: The attack that measures.
        attacks: The attacks of Table 5, a dict by name that includes "FGSM" and "BIM-a".

    Returns:
        A list of dicts, one for each attack and step: `attack`, `step` as a fraction of the range,
        and `fooled`, the share of examples that fool. If any do, also `median cost` over these,
        and `auroc` with its 95 % interval, `low` and `high`.
    """
    rows = []
    for name, parameter in _STEPS.items():
        for factor in FACTORS:
            step = factor * getattr(attacks[name], parameter)
            crafted = dataclasses.replace(attacks[name], **{parameter: step})(classifier, benign)
            row = {"attack": name, "step": step, "fooled": crafted.success.mean()}
            if crafted.success.any():
                found = defence(classifier, crafted.adversarial[crafted.success]).cost
                row |= {"median cost": np.median(found), **auroc(-cost, -found)}
            rows.append(row)
    return rows


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m baselines.step_sizes", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--dataset", choices=registry.RECORDS, default="digits")
    parser.add_argument("--limit", type=int, default=200, help="maximum test inputs (200)")
    parser.add_argument("--data-dir", help="folder that holds <dataset>.npz")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
