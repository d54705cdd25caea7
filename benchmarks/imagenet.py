"""Guard MobileNet on ImageNet photographs: `python -m benchmarks.imagenet --data-dir D`.

D holds the photographs and MobileNet's weights; see `models.imagenet`. As in Env1, only photographs
that the classifier gets right count as benign, unless `--all` is given.
"""

import argparse
import time

import numpy as np
from sklearn.metrics import roc_auc_score

import a2d_keras as a2d
from models import imagenet

_SLOTS = 32
ATTACKS = {
    "BIM-a, step 0.0001": a2d.BIM(eps_iter=0.0001, max_iterations=50),
    "FGSM, step 0.016": a2d.FGSM(eps=0.016),
}


def main(argv=None):
    """Adapt on some photographs, judge others and their adversarial counterparts.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imagenet")
    parser.add_argument("--data-dir", help="folder of the photographs and the weights")
    parser.add_argument("--adapt", type=int, default=200, help="photographs to adapt on (200)")
    parser.add_argument("--score", type=int, default=100, help="photographs to judge (100)")
    parser.add_argument("--all", action="store_true", help="also those that are misclassified")
    arguments = parser.parse_args(argv)
    model = imagenet.load("mobilenet", arguments.data_dir)
    photographs, labels = imagenet.photographs(arguments.data_dir)
    if not arguments.all:
        photographs = photographs[model.predict(photographs, verbose=0).argmax(-1) == labels]
    photographs = photographs[: arguments.adapt + arguments.score]

    guarded = a2d.guard(model, slots=_SLOTS)
    started = time.monotonic()
    guarded.adapt(photographs[: arguments.adapt])
    print(f"adapted in {time.monotonic() - started:.0f} s", flush=True)
    benign = photographs[arguments.adapt :]
    benign_costs = judge(guarded, "benign", benign)
    for name, attack in ATTACKS.items():
        crafted = attack(guarded.detector.classifier, benign, slots=_SLOTS)
        costs = judge(guarded, name, crafted.adversarial)
        labels = np.arange(len(benign) + len(costs)) >= len(benign)
        auroc = roc_auc_score(labels, -np.append(benign_costs, costs))
        print(f"{name}: AUROC {auroc:.4f}, fooled {crafted.success.mean():.0%}", flush=True)


def judge(guarded, name, x):
    """Judge inputs, measure their costs, and print both.

    Args:
        guarded: The `GuardedModel`.
        name: The name of the inputs.
        x: Inputs, float32, (n, 224, 224, 3).

    Returns:
        Their costs, int64, (n,).
    """
    flagged = guarded.predict(x, batch_size=len(x), verbose=0)["is_adversarial"].mean()
    (attack,) = guarded.detector.attacks
    cost = attack(guarded.detector.classifier, x, slots=_SLOTS).cost
    print(f"{name}: {flagged:.0%} flagged, median cost {np.median(cost):.0f}", flush=True)
    return cost


if __name__ == "__main__":
    main()
