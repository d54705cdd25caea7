"""Guard MobileNet on ImageNet photographs: `python -m benchmarks.imagenet --data-dir D`.

D holds `imagenet1000.npz` (`x`, uint8, (n, 224, 224, 3), and `y`, the labels, (n,)) and the
ImageNet weights `mobilenet_075_224.weights.h5` of `keras.applications.MobileNet(alpha=0.75)`.
As in Env1, only photographs that the classifier gets right count as benign, unless `--all` is
given.
"""

import argparse
import pathlib
import time

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

import a2d_keras as a2d

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
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    parser.add_argument("--adapt", type=int, default=200, help="photographs to adapt on (200)")
    parser.add_argument("--score", type=int, default=100, help="photographs to judge (100)")
    parser.add_argument("--all", action="store_true", help="also those that are misclassified")
    arguments = parser.parse_args(argv)
    model = mobilenet(arguments.data_dir)
    photographs, labels = load(arguments.data_dir)
    if not arguments.all:
        photographs = photographs[model.predict(photographs, verbose=0).argmax(-1) == labels]
    photographs = photographs[: arguments.adapt + arguments.score]

    guarded = a2d.guard(model, bounds=(-1, 1), slots=_SLOTS)
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


def mobilenet(data_dir, side=224):
    """Build MobileNet with its ImageNet weights.

    Args:
        data_dir: The folder of `mobilenet_075_224.weights.h5`, a `pathlib.Path`.
        side: Height and width of an input in pixels, at least 32. Defaults to 224, the size that
            the weights were trained on.

    Returns:
        The `keras.Model`.

    Raises:
        FileNotFoundError: If the file is missing.
    """
    path = data_dir / "mobilenet_075_224.weights.h5"
    if not path.is_file():
        raise FileNotFoundError(f"The weights of MobileNet are missing. Received: {path}")
    model = keras.applications.MobileNet((side, side, 3), alpha=0.75, weights=None)
    model.load_weights(path)
    return model


def load(data_dir, max_count=None):
    """Load photographs in a seeded order.

    Args:
        data_dir: The folder of `imagenet1000.npz`, a `pathlib.Path`.
        max_count: The largest number of photographs to load. Defaults to all.

    Returns:
        The photographs, float32 in [-1, 1], (n, 224, 224, 3), and their labels, int, (n,).
    """
    with np.load(data_dir / "imagenet1000.npz", allow_pickle=False) as arrays:
        x, y = arrays["x"], arrays["y"]
    order = np.random.default_rng(0).permutation(len(x))[:max_count]
    return x[order].astype("float32") / 127.5 - 1, y[order]


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
