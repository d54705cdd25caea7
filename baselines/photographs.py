"""Craft adversarial photographs: `python -m baselines.photographs --classifier mobilenet`.

The attacks are those of Env2 on ImageNet, and two of ours; see `models.imagenet`. They take
hours, so every few photographs are kept as soon as they are finished. A run that was stopped
continues, and one with a larger `--limit` crafts only what is missing. Other suites read the
examples with `craft`, which computes nothing that is kept.
"""

import argparse
import functools
import pathlib

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import Classifier
from a2d_keras.version import __version__
from baselines.comparison.checkpoints import Checkpoints
from baselines.digests import digest
from models import imagenet

_TOGETHER = 20  # photographs in one checkpoint, and under attack at once
_FEW = 40  # photographs for attacks that take thousands of gradients


def main(argv=None):
    """Craft the examples of several attacks, and print how many fool.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    arguments = _parse(argv)
    model = imagenet.load(arguments.classifier, arguments.data_dir)
    classifier = Classifier(model)
    benign = correct(model, *imagenet.photographs(arguments.data_dir))[: arguments.limit]
    out = pathlib.Path(arguments.out or f"results/photographs/{arguments.classifier}")
    for name in arguments.attacks or imagenet.ATTACKS:
        x = benign[:_FEW] if name in imagenet.SLOW else benign
        examples, fooled = craft(classifier, name, x, Checkpoints(out))
        changes = (examples - x).reshape(len(x), -1)[fooled]
        print(f"{name}: {_summary(changes, fooled)}", flush=True)


def correct(model, x, y):
    """Choose the photographs that a classifier gets right.

    Args:
        model: The `keras.Model`.
        x: Photographs, float32, (n, height, width, 3).
        y: Their classes, int, (n,).

    Returns:
        Those that it gets right, in their order.
    """
    return x[model.predict(x, batch_size=_TOGETHER, verbose=0).argmax(axis=-1) == y]


def craft(classifier, name, x, checkpoints):
    """Craft the examples of one attack, or read those that are kept.

    Args:
        classifier: The `a2d_keras.Classifier`.
        name: The attack, a key of `models.imagenet.ATTACKS`.
        x: Photographs, float32, (n, height, width, 3).
        checkpoints: The `Checkpoints` to keep the examples in.

    Returns:
        The examples, float32, like `x`, and whether each fools, bool, (n,).
    """
    attack = imagenet.ATTACKS[name]

    def run(inputs):
        result = attack(classifier, inputs, slots=_TOGETHER)
        return {"adversarial": result.adversarial, "success": result.success}

    found = in_parts(classifier, name, x, run, checkpoints, origin={"attack": repr(attack)})
    return found["adversarial"], found["success"]


def in_parts(classifier, name, x, compute, checkpoints, *, origin):
    """Compute something of photographs, and keep every few of them.

    Args:
        classifier: The `a2d_keras.Classifier`.
        name: The name of the checkpoints.
        x: Photographs, float32, (n, height, width, 3).
        compute: A function that takes some photographs and returns a dict of arrays.
        checkpoints: The `Checkpoints`.
        origin: What the result depends on apart from classifier and photographs; see
            `Checkpoints.get`.

    Returns:
        The dict of arrays of all photographs.
    """
    basis = {
        "model": digest(*classifier.model.get_weights()),
        "a2d-keras": __version__,
        "Keras": keras.__version__,
        "TensorFlow": tf.__version__,
        **origin,
    }
    parts = []
    for start in range(0, len(x), _TOGETHER):
        part = x[start : start + _TOGETHER]
        title = f"{name} {start}-{start + len(part) - 1}"
        made_of = basis | {"inputs": digest(part)}
        parts.append(checkpoints.get(title, made_of, functools.partial(compute, part)))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _summary(changes, fooled):
    if not fooled.any():
        return "fooled 0 %"
    lengths, largest = np.linalg.norm(changes, axis=1), np.abs(changes).max(axis=1)
    return (
        f"fooled {fooled.mean():.0%}, median change: L2 {np.median(lengths):.3f}, "
        f"largest {np.median(largest):.4f}"
    )


def _parse(argv):
    parser = argparse.ArgumentParser(prog="python -m baselines.photographs", description=__doc__)
    parser.add_argument("--classifier", choices=imagenet.CLASSIFIERS, default="mobilenet")
    parser.add_argument("--attacks", nargs="+", choices=imagenet.ATTACKS, help="default: all")
    parser.add_argument(
        "--limit",
        type=int,
        default=200,
        help=f"maximum photographs (200); {', '.join(imagenet.SLOW)} take {_FEW} at most",
    )
    parser.add_argument("--data-dir", help="folder of the photographs and the weights")
    parser.add_argument("--out", help="folder for results (results/photographs/<classifier>)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
