"""Env1: how well attack costs tell adversarial inputs from benign ones.

Zhao et al. 2021, Section 5.2 and Table 2: attacks craft adversarial examples from test inputs,
defences attack all of them again, and the AUROC of each defence's costs is tabled.
"""

import argparse
import pathlib
import sys
import time
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from a2d_keras import (
    BIM,
    BIM2,
    DBA,
    FGSM,
    JSMA,
    AttackCosts,
    CarliniWagner,
    Classifier,
    PairJSMA,
)
from baselines import report
from models import datasets, zoo


class Setting(NamedTuple):
    """The attacks of one data set: those that craft (Table 5), and those that defend."""

    attacks: dict
    defences: dict


_CARLINI_WAGNER = CarliniWagner(
    initial_c=0.02, learning_rate=0.01, binary_search_steps=5, search_iterations=200
)
SETTINGS = {
    "digits": Setting(
        {
            "FGSM": FGSM(eps=0.2),
            "BIM-a": BIM(eps=0.3, eps_iter=0.01, max_iterations=50),
            "JSMA": PairJSMA(theta=1.0, gamma=0.3),
            "C&W": _CARLINI_WAGNER,
        },
        {"JSMA_d": JSMA(), "BIM_d": BIM(), "BIM2_d": BIM2(), "DBA_d": DBA()},
    ),
    "mnist": Setting(
        {
            "FGSM": FGSM(eps=0.3),
            "BIM-a": BIM(eps=0.3, eps_iter=0.01, max_iterations=50),
            "JSMA": PairJSMA(theta=1.0, gamma=0.1),
            "C&W": _CARLINI_WAGNER,
        },
        {"JSMA_d": JSMA(), "BIM_d": BIM(), "BIM2_d": BIM2(), "DBA_d": DBA()},
    ),
    "cifar10": Setting(
        {
            "FGSM": FGSM(eps=0.05),
            "BIM-a": BIM(eps=0.05, eps_iter=0.005, max_iterations=50),
            "JSMA": PairJSMA(theta=1.0, gamma=0.1),
            "C&W": _CARLINI_WAGNER,
        },
        {
            "JSMA_d": JSMA(),
            "BIM_d": BIM(eps=0.03, eps_iter=0.00006),
            "BIM2_d": BIM2(eps=0.01, eps_iter=0.00002),
            "DBA_d": DBA(distance=5e-5),
        },
    ),
}


def main(argv=None):
    """Run the comparison on one data set, print its table, and write table and plots.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    arguments = _parse(argv)
    started = time.monotonic()
    name = arguments.dataset
    data = datasets.load(name, arguments.data_dir)
    model = zoo.load_or_train(name, data)
    benign = correctly_classified(model, data, arguments.limit)
    print(f"{name}: {len(benign)} correctly classified test inputs")
    costs, fooled = measure(model, benign, SETTINGS[name], verbose=int(sys.stdout.isatty()))
    rows = compare(costs, fooled)
    out = pathlib.Path(arguments.out or f"results/env1/{name}")
    print(report.table(rows))
    report.write(out, name, rows, costs)
    print(f"Written to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    print(
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, NumPy {np.__version__}; "
        f"{time.monotonic() - started:.0f} s"
    )


def correctly_classified(model, data, limit):
    """Take the first test inputs that the classifier gets right.

    Args:
        model: The classifier.
        data: The `models.datasets.Dataset`.
        limit: How many to take at most.

    Returns:
        The inputs, float32, (n, height, width, channels).
    """
    predicted = model.predict(data.x_test, batch_size=512, verbose=0).argmax(axis=-1)
    return data.x_test[predicted == data.y_test][:limit]


def measure(model, benign, setting, verbose=0):
    """Craft adversarial examples, and measure what every defence costs on all inputs.

    Args:
        model: The classifier.
        benign: Benign inputs, float32, (n, height, width, channels).
        setting: The `Setting`.
        verbose: 1 shows progress bars. Defaults to 0.

    Returns:
        Costs, a dict from the kind of input ("benign", or the attack's name) to a dict from the
        defence's name to its costs, int64, (n,); and the share of each attack's examples that
        fool the classifier, a dict from its name to a float.
    """
    kinds, fooled = craft(Classifier(model), benign, setting.attacks, verbose)
    defences = AttackCosts(model, list(setting.defences.values()), verbose=verbose)
    costs = {}
    for kind, x in kinds.items():
        print(f"measuring {', '.join(setting.defences)} on {kind}")
        costs[kind] = dict(zip(setting.defences, defences.transform(x).T, strict=True))
    return costs, fooled


def craft(classifier, benign, attacks, verbose=0):
    """Craft adversarial examples.

    Args:
        classifier: The `a2d_keras.Classifier`.
        benign: Benign inputs, float32, (n, height, width, channels).
        attacks: The attacks by name, a dict.
        verbose: 1 shows progress bars. Defaults to 0.

    Returns:
        Inputs, a dict from their kind ("benign", or the attack's name) to float32, (n, height,
        width, channels); and the share of each attack's examples that fool the classifier, a
        dict from its name to a float.
    """
    kinds, fooled = {"benign": benign}, {}
    for name, attack in attacks.items():
        print(f"crafting {name}: {attack}")
        result = attack(classifier, benign, verbose=verbose)
        kinds[name], fooled[name] = result.adversarial, float(result.success.mean())
    return kinds, fooled


def compare(costs, fooled):
    """Compute the AUROC of each defence against each attack.

    Every adversarial example counts, whether or not it fooled the classifier.

    Args:
        costs: Costs, as from `measure`.
        fooled: Shares that fooled, as from `measure`.

    Returns:
        A list of dicts, one for each attack and defence: `attack`, `fooled`, `defence`, `auroc`,
        `benign_cost` and `adversarial_cost` (means).
    """
    rows = []
    for attack, share in fooled.items():
        for defence, benign in costs["benign"].items():
            adversarial = costs[attack][defence]
            labels = np.arange(len(benign) + len(adversarial)) >= len(benign)
            rows.append(
                {
                    "attack": attack,
                    "fooled": share,
                    "defence": defence,
                    "auroc": float(roc_auc_score(labels, -np.append(benign, adversarial))),
                    "benign_cost": float(benign.mean()),
                    "adversarial_cost": float(adversarial.mean()),
                }
            )
    return rows


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m baselines.env1", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--dataset", choices=datasets.NAMES, default="digits")
    parser.add_argument("--limit", type=int, default=1000, help="test inputs, at most (1000)")
    parser.add_argument("--data-dir", help="folder that holds <dataset>.npz")
    parser.add_argument("--out", help="folder for results (results/env1/<dataset>)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
