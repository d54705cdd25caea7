"""The classifiers to measure, and their inputs."""

import functools
from typing import NamedTuple

import numpy as np

import a2d_keras as a2d
from a2d_keras.statistics.attack_cost import measure
from baselines.comparison.labels import correctly_classified
from models import datasets, registry, zoo


class Sizes(NamedTuple):
    """The sizes of a run.

    Attributes:
        datasets: Names of the data sets. Measurements on a single one take the first.
        inputs: Inputs of each kind, for the counts of verdicts and the time of the loop.
        adapt: Benign inputs to adapt on.
        peers: Benign inputs to compare peers on.
        few: Inputs of each kind for attacks that take thousands of queries.
        single: Inputs that are attacked one at a time.
        scaling: Numbers of inputs at which time and memory are measured.
        photographs: The numbers of photographs to adapt on and to judge.
        repeats: The number of repeats.
    """

    datasets: tuple
    inputs: int
    adapt: int
    peers: int
    few: int
    single: int
    scaling: tuple
    photographs: tuple
    repeats: int


FULL = Sizes(
    datasets=tuple(name for name, record in registry.RECORDS.items() if not record.bundled),
    inputs=1000,
    adapt=200,
    peers=100,
    few=50,
    single=5,
    scaling=(100, 1000, 10_000),
    photographs=(40, 40),
    repeats=3,
)
QUICK = Sizes(
    datasets=tuple(name for name, record in registry.RECORDS.items() if record.bundled),
    inputs=200,
    adapt=100,
    peers=40,
    few=40,
    single=3,
    scaling=(100, 300, 1000),
    photographs=(20, 2),
    repeats=3,
)


class Bench(NamedTuple):
    """The setting of every part.

    Attributes:
        sizes: The `Sizes`.
        data_dir: The folder of the data, or None; see `models.datasets.load`.
        out: The folder of results, a `pathlib.Path`.
    """

    sizes: Sizes
    data_dir: str | None
    out: object

    def subjects(self):
        """Load the classifiers, each with its inputs.

        Yields:
            A `Subject` for each data set.

        Raises:
            FileNotFoundError: If a data set is not available.
        """
        for name in self.sizes.datasets:
            yield Subject(name, self.sizes, self.data_dir)

    def first_subject(self):
        """Load the first classifier, for measurements on a single one."""
        return next(self.subjects())


class Subject:
    """A classifier of Env1, and inputs of every kind.

    Args:
        name: The data set.
        sizes: The `Sizes`.
        data_dir: As in `Bench`.

    Attributes:
        model: The `keras.Model`.
        classifier: The `a2d_keras.Classifier`.
        settings: Its `models.record.Settings`.
        benign: Test inputs that it gets right, float32, (inputs, height, width, channels).
        held_out: Other such inputs, to adapt on, (adapt, height, width, channels).
    """

    def __init__(self, name, sizes, data_dir):
        data = datasets.load(name, data_dir)
        self.name = name
        self.model = zoo.load(name)
        self.classifier = a2d.Classifier(self.model)
        self.settings = registry.find(name).settings
        inputs = sizes.inputs
        right = correctly_classified(self.model, data.x_test, data.y_test, inputs + sizes.adapt)
        self.benign, self.held_out = right[:inputs], right[inputs:]

    @property
    def bim(self):
        """The defence BIM_d."""
        return self.settings.defences["BIM_d"]

    @functools.cached_property
    def kinds(self):
        """The benign inputs, and the examples of the first two attacks: a dict."""
        chosen = list(self.settings.attacks)[:2]
        crafted = {kind: self.craft(kind, self.benign) for kind in chosen}
        return {"benign": self.benign, **crafted}

    @functools.cached_property
    def mixed(self):
        """Inputs of every kind, in a seeded order."""
        return np.random.default_rng(0).permutation(np.concatenate(list(self.kinds.values())))

    def costs(self, x):
        """Measure the costs of BIM_d on inputs, int64, (n,)."""
        return measure(self.classifier, [self.bim], x, options=a2d.RunOptions(slots="auto")).costs[
            :, 0
        ]

    def labels(self, x):
        """Predict the classes of inputs, int64, (n,)."""
        return self.model.predict(x, batch_size=512, verbose=0).argmax(axis=-1)

    def craft(self, kind, x):
        """Make adversarial inputs.

        Args:
            kind: The name of an attack of Env1.
            x: Inputs.

        Returns:
            The adversarial counterparts, an array like `x`.
        """
        return self.settings.attacks[kind](self.classifier, x).adversarial

    def guarded(self, benign=None, **parameters):
        """Guard the classifier with BIM_d, in calibrated slots, and adapt it.

        Args:
            benign: Inputs to adapt on. Defaults to `held_out`.
            **parameters: Other parameters of `a2d_keras.guard`.

        Returns:
            The `a2d_keras.GuardedModel`.
        """
        benign = self.held_out if benign is None else benign
        guarded = a2d.guard(self.model, **{"attacks": [self.bim], "slots": "auto", **parameters})
        attacked = guarded.detector.rule.needs_adversarial
        guarded.adapt(benign, self.craft("FGSM", benign) if attacked else None, verbose=0)
        return guarded
