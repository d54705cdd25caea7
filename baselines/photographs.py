"""Craft adversarial photographs: `python -m baselines.photographs --classifier mobilenet`.

The attacks are those of Env2 on ImageNet, and two of ours; see `models.imagenet`. They take
hours, so every few photographs are kept as soon as they are finished. A run that was stopped
continues, and one with a larger `--limit` crafts only what is missing. Other suites get the
examples from `Work`, which computes nothing that is kept.
"""

import argparse
import pathlib

import numpy as np

from a2d_keras import Classifier
from baselines.comparison import measurements
from baselines.comparison.checkpoints import Checkpoints
from models import imagenet

_TOGETHER = 20  # photographs in one checkpoint, and so under attack at once
# Attacks that take thousands of gradients a photograph get fewer photographs.
_FEW, _FEW_TOGETHER = 40, 5


def main(argv=None):
    """Craft the examples of several attacks, and print how many fool.

    Args:
        argv: Command line words. Defaults to those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m baselines.photographs", description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    work, benign, _ = start(arguments)
    for attack in arguments.attacks:
        x = few_enough(attack, benign)
        examples, fooled = work.craft(attack, x)
        changes = (examples - x).reshape(len(x), -1)[fooled]
        print(f"{attack}: {_summary(changes, fooled)}", flush=True)


def add_arguments(parser):
    """Add the arguments that say what to craft, for `start`.

    Args:
        parser: The `argparse.ArgumentParser`.
    """
    few = f"maximum photographs (200); {' and '.join(imagenet.SLOW)} get at most {_FEW}"
    parser.add_argument("--classifier", choices=imagenet.CLASSIFIERS, default="mobilenet")
    parser.add_argument(
        "--attacks", nargs="+", choices=imagenet.ATTACKS, default=list(imagenet.ATTACKS)
    )
    parser.add_argument("--limit", type=int, default=200, help=few)
    parser.add_argument("--data-dir", help="folder of the photographs and the weights")
    parser.add_argument("--out", help="folder for results (results/photographs/<classifier>)")


def start(arguments):
    """Load the classifier and the photographs that it gets right.

    Args:
        arguments: What a parser with `add_arguments` has parsed.

    Returns:
        The `Work`; the photographs to attack, float32, (at most limit, 224, 224, 3); and as many
        others to adapt on, or those that there are.
    """
    model = imagenet.load(arguments.classifier, arguments.data_dir)
    right = correct(model, *imagenet.photographs(arguments.data_dir))
    out = pathlib.Path(arguments.out or f"results/photographs/{arguments.classifier}")
    held_out = right[arguments.limit :][-arguments.limit :]
    return Work(Classifier(model), Checkpoints(out)), right[: arguments.limit], held_out


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


def few_enough(attack, x):
    """Choose the photographs for an attack: all, or the first few if it is slow.

    Args:
        attack: The attack, a key of `models.imagenet.ATTACKS`.
        x: Photographs, (n, ...).

    Returns:
        The first of them.
    """
    return x[:_FEW] if attack in imagenet.SLOW else x


class Work:
    """The work on the photographs of one classifier, of which every few are kept.

    Args:
        classifier: The `a2d_keras.Classifier`.
        checkpoints: The `Checkpoints` to keep results in.

    Attributes:
        classifier: As given.
        checkpoints: As given.
    """

    def __init__(self, classifier, checkpoints):
        self.classifier = classifier
        self.checkpoints = checkpoints
        self._work = measurements.Work(classifier, checkpoints)

    def craft(self, name, x):
        """Craft the examples of one attack, or read those that are kept.

        Args:
            name: The attack, a key of `models.imagenet.ATTACKS`.
            x: Photographs, float32, (n, height, width, 3).

        Returns:
            The examples, float32, like `x`, and whether each fools, bool, (n,).
        """
        together = _FEW_TOGETHER if name in imagenet.SLOW else _TOGETHER
        fields = ("adversarial", "success")
        return self._attack(name, imagenet.ATTACKS[name], x, fields, together)

    def costs(self, name, defence, x):
        """Measure exact attack costs, or read those that are kept.

        Args:
            name: The name of the checkpoints.
            defence: The `a2d_keras.Attack`.
            x: Photographs, float32, (n, height, width, 3).

        Returns:
            The steps, and the gradients, int64, (n,).
        """
        return self._attack(name, defence, x, ("cost", "gradient_evaluations"), _TOGETHER)

    def _attack(self, name, attack, x, fields, together):
        found = []
        for first in range(0, len(x), together):
            part = x[first : first + together]
            title = f"{name} {first}-{first + len(part) - 1}"
            found.append(self._work.attack(title, attack, part, {each: each for each in fields}))
        return tuple(np.concatenate([each[field] for each in found]) for field in fields)


def _summary(changes, fooled):
    if not fooled.any():
        return "fooled 0 %"
    lengths, largest = np.linalg.norm(changes, axis=1), np.abs(changes).max(axis=1)
    return (
        f"fooled {fooled.mean():.0%}, median change: L2 {np.median(lengths):.3f}, "
        f"largest {np.median(largest):.4f}"
    )


if __name__ == "__main__":
    main()
