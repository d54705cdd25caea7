"""Env2 on ImageNet: the examples of `baselines.photographs`, and costs a few inputs at a time."""

import argparse

import numpy as np

from baselines import photographs
from baselines.compare.attacks import defences
from baselines.compare.sizes import sizes
from baselines.comparison.measurements import Work
from baselines.env2.paper import FIGURES
from baselines.env2.settings import Part, guards
from baselines.registry import LocalDimension
from models import imagenet
from models.record import Dataset

LIMIT = 200
BENIGN_ACCURACY = 0.886  # of the paper's threshold of JSMA_d
FEW = 40  # photographs for the attacks that take long, and for DBA_d
_ATTACKS = ("FGSM", "DeepFool", "JSMA", "C&W")
_SLOW_DEFENCE = "DBA_d"
_TOGETHER = 20  # photographs in one checkpoint


class Shared(Work):
    """The work on one classifier, with adversarial photographs that other suites craft too.

    Args:
        examples: The `baselines.photographs.Work` that crafts.
        checkpoints: The `Checkpoints` that keep everything else.
        verbose: 1 shows progress bars. Defaults to 0.
    """

    def __init__(self, examples, checkpoints, verbose=0):
        super().__init__(examples.classifier, checkpoints, verbose)
        self._examples = examples

    def craft(self, split, attacks, inputs):
        """Read or craft the examples of attacks of `models.imagenet.ATTACKS`."""
        found = {name: self._examples.craft(name, inputs[name]) for name in attacks}
        examples, fooled = ({name: pair[i] for name, pair in found.items()} for i in (0, 1))
        return examples, fooled

    def attack(self, name, attack, x, fields):
        """Run an attack on a few photographs at a time."""
        parts = [
            super(Shared, self).attack(
                f"{name} {first}", attack, x[first : first + _TOGETHER], fields
            )
            for first in range(0, len(x), _TOGETHER)
        ]
        return {field: np.concatenate([part[field] for part in parts]) for field in fields}


def start(name, limit, data_dir=None):
    """Load a classifier and the photographs.

    Args:
        name: One of `models.imagenet.CLASSIFIERS`.
        limit: The largest number of photographs to attack.
        data_dir: Folder of the photographs and the weights. Defaults to the environment variable
            `A2D_DATA_DIR`.

    Returns:
        The `baselines.photographs.Work`; a `models.record.Dataset` without training inputs, whose
        test inputs are all photographs; and benign photographs that are not attacked.
    """
    where = {"classifier": name, "limit": limit, "data_dir": data_dir, "out": None}
    work, _, others = photographs.start(argparse.Namespace(**where))
    x, y = imagenet.photographs(data_dir)
    return work, Dataset(x[:0], y[:0], x, y), others


def parts(classifier, others, limit):
    """List the parts: the quick attacks, the slow ones, and DBA_d on a few photographs.

    Args:
        classifier: The `a2d_keras.Classifier`.
        others: Benign photographs to adapt guards to, and to choose steps by.
        limit: The largest number of photographs.

    Returns:
        A list of `baselines.env2.settings.Part`s.
    """
    attacks = {name: imagenet.ATTACKS[name] for name in _ATTACKS}
    slow = {name: attacks[name] for name in imagenet.SLOW}
    quick = {name: each for name, each in attacks.items() if name not in slow}
    costs = defences(sizes(classifier, others))
    last = {_SLOW_DEFENCE: costs.pop(_SLOW_DEFENCE)}
    every = {
        **costs,
        **guards(lambda *_: others),
        "BL2": LocalDimension.from_data,
    }
    published, few = FIGURES["imagenet"], min(limit, FEW)
    return [
        Part("quick", quick, every, limit, published),
        Part("slow", slow, every, few, published),
        Part("dba", attacks, last, few, published),
    ]
