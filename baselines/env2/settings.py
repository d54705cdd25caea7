"""The settings of Env2: parts, each a comparison with its own attacks, detectors and size."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from baselines.comparison import Published
from baselines.comparison.choices import NOTHING_PUBLISHED
from baselines.comparison.labels import correctly_classified
from baselines.env1.settings import rivals
from baselines.env2.attacks import (
    CarliniWagnerAsCoded,
    DeepFoolAsCoded,
    FGSMAsCoded,
    JSMAAsCoded,
)
from baselines.env2.black_box import BlackBox, BlackBoxAsCoded
from baselines.env2.paper import AS_CODED, FIGURES
from baselines.mutation_testing.detector import MutationTesting
from baselines.mutation_testing.operators import OPERATORS
from baselines.scored import GUARDS, Guard, Scored
from models import registry
from models.record import Dataset

CLASSIFIERS = {"mnist": "lenet5", "cifar10": "resnet20"}
FEW = 100  # CIFAR-10 images of a kind for DBA_d, which takes seconds for each
_SLOW_DEFENCE = "DBA_d"
_SEEDS = 200  # test images that a substitute starts from
_ADAPTING = 1000  # benign training images that a guard adapts to


class Part(NamedTuple):
    """One comparison of a run.

    Attributes:
        name: The name of its folder.
        attacks: The attacks that craft, by name.
        detectors: The detectors, by name, as for `baselines.comparison.compare`.
        limit: The largest number of test inputs.
        published: The paper's figures.
    """

    name: str
    attacks: dict
    detectors: dict
    limit: int
    published: Published


class Run(NamedTuple):
    """Everything that a run needs.

    Attributes:
        title: What the reports are about.
        data: The `models.record.Dataset`.
        parts: A list of `Part`s.
        work: A function from `Checkpoints` to the `Work` that keeps results in them.
        benign_accuracy: The share of benign inputs that the thresholds of Table 3 must keep.
    """

    title: str
    data: Dataset
    parts: list[Part]
    work: Callable
    benign_accuracy: float


def parts(name, data, limit):
    """List the parts for a data set with a training set.

    Args:
        name: A key of `CLASSIFIERS`.
        data: The `models.record.Dataset`.
        limit: The largest number of test inputs.

    Returns:
        A list of `Part`s. On MNIST the attacks as coded are a part of their own, and the paper's
        figures stand beside that one.
    """
    settings, published = registry.find(CLASSIFIERS[name]).settings, FIGURES[name]
    attacks, every = dict(settings.attacks), detectors(settings)
    if name == "mnist":
        every |= _other_operators(settings)
        seeds = data.x_test[-_SEEDS:]
        coded = {
            "FGSM": FGSMAsCoded(),
            "JSMA": JSMAAsCoded(),
            "DeepFool": DeepFoolAsCoded(),
            "C&W": CarliniWagnerAsCoded(),
            "BB": BlackBoxAsCoded(seeds=seeds),
        }
        coded = {f"{attack}{AS_CODED}": each for attack, each in coded.items()}
        figures = {f"{attack}{AS_CODED}": row for attack, row in published.table_2.items()}
        attacks["BB"] = BlackBox(seeds=seeds)
        return [
            Part("sound", attacks, every, limit, NOTHING_PUBLISHED),
            Part("as_coded", coded, every, limit, published._replace(table_2=figures)),
        ]
    slow = {_SLOW_DEFENCE: every.pop(_SLOW_DEFENCE)}
    return [
        Part("sound", attacks, every, limit, published),
        Part("dba", attacks, slow, min(limit, FEW), published),
    ]


def detectors(settings):
    """List the columns of Table 2: the paper's defences and rivals, and ours.

    Args:
        settings: The `models.record.Settings`.

    Returns:
        A dict, as `baselines.comparison.compare` takes it.
    """
    rivals_once = {name: once(make) for name, make in rivals(settings).items()}
    return {**settings.defences, **guards(_training), **rivals_once}


def guards(adapting):
    """Make our detectors: the default guard, and the cheap distance alone.

    Args:
        adapting: A function from the model and the data to the benign inputs to adapt to.

    Returns:
        A dict of functions from a model and its data to a `baselines.scored.Scored`.
    """

    def make(statistics, model, data):
        return Scored(Guard(model, statistics), adapting(model, data))

    return {name: once(functools.partial(make, statistics)) for name, statistics in GUARDS.items()}


def once(make):
    """Let all parts of a run share a detector, so that it is trained once.

    Args:
        make: A function from a model and its data to the detector.

    Returns:
        The same function, which makes one detector for a model.
    """
    made = {}

    def shared(model, data):
        if model not in made:
            made[model] = make(model, data)
        return made[model]

    return functools.update_wrapper(shared, make)


def _training(model, data):
    return correctly_classified(model, data.x_train, data.y_train, _ADAPTING)


def _other_operators(settings):
    """List mutation testing with the operators that the paper does not use."""
    options = settings.baselines.get(MutationTesting.name, {})
    return {
        f"BL3 {operator}": once(
            functools.partial(MutationTesting.from_data, operator=operator, **options)
        )
        for operator in OPERATORS
        if operator != "NAI"
    }
