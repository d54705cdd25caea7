"""Craft adversarial examples and measure them. This takes long; every result is kept."""

import functools
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from a2d_keras.version import __version__
from baselines.digests import digest
from baselines.noise import noise_like

_UNIT = [0.0, 1.0]  # the usual bounds, which results do not name


class Split(NamedTuple):
    """Benign inputs, their adversarial counterparts, and the costs of all.

    Attributes:
        inputs: A dict from the kind of input ("benign", or the attack's name) to the inputs,
            float32, (n, *input shape).
        fooled: A dict from the attack's name to whether each of its examples fools, bool, (n,).
        steps: A dict from the kind to a `pandas.DataFrame` of int64, a column for each defence.
        queries: The queries, like `steps`.
    """

    inputs: dict
    fooled: dict
    steps: dict
    queries: dict

    @property
    def defences(self):
        """The names of the defences, a list."""
        return list(self.steps["benign"])

    def fooling(self):
        """Keep only the adversarial examples that fool.

        Returns:
            Another `Split`.
        """
        every = slice(None)
        kept = [
            {kind: values[self.fooled.get(kind, every)] for kind, values in each.items()}
            for each in (self.inputs, self.fooled, self.steps, self.queries)
        ]
        return Split(*kept)


class Measurements(NamedTuple):
    """Everything that the tables are computed from.

    Attributes:
        test: The `Split` of test inputs. Input i of every kind was made from benign input i.
        training: The `Split` of training inputs. Each attack has its own. None if there are none.
        extra_steps: A dict from each extra attack of the `Halves` to the steps on its examples of
            the test inputs, int64, (n,).
        baselines: A dict from the baseline's name to the `Baseline`, not fitted.
        characteristics: A dict from the baseline's name to a dict from the kind of test input,
            such as "FGSM" or "noisy FGSM", to its characteristics, float64, (n, any number).
        bounds: The bounds of an input. Defaults to (0.0, 1.0).
        fooled_only: Whether the paper's protocol counts only examples that fool. Defaults to
            False.
        left_out: What is missing, a dict from its name to the reason. Defaults to nothing.
    """

    test: Split
    training: Split | None
    extra_steps: dict
    baselines: dict
    characteristics: dict
    bounds: Any = (0.0, 1.0)
    fooled_only: bool = False
    left_out: Mapping[str, str] = types.MappingProxyType({})

    def counted(self):
        """Keep only the adversarial examples that count: all, or those that fool.

        Returns:
            Other `Measurements`, whose rows of different kinds no longer belong together.
        """
        if not self.fooled_only:
            return self
        training = self.training and self.training.fooling()
        return self._replace(test=self.test.fooling(), training=training)


class Work:
    """The work on one classifier, checkpoint by checkpoint.

    Args:
        classifier: The `a2d_keras.Classifier`.
        checkpoints: The `Checkpoints` that keep what is finished.
        verbose: 1 shows progress bars. Defaults to 0.

    Attributes:
        basis: What every result depends on, a dict that JSON can hold: the classifier, and the
            versions.
    """

    def __init__(self, classifier, checkpoints, verbose=0):
        self.classifier = classifier
        self.checkpoints = checkpoints
        self.verbose = verbose
        model = classifier.model
        self.basis = {
            "model": digest(model.name, *model.get_weights()),
            "a2d-keras": __version__,
            "Keras": keras.__version__,
            "TensorFlow": tf.__version__,
        }
        bounds = [np.asarray(bound).tolist() for bound in classifier.bounds]
        if bounds != _UNIT:
            self.basis["bounds"] = bounds

    def craft(self, split, attacks, inputs):
        """Craft adversarial examples.

        Args:
            split: Begins the names of the checkpoints, such as "test".
            attacks: The attacks, a dict by name.
            inputs: The benign inputs for each attack, a dict by its name.

        Returns:
            The examples of each attack, and whether each fools: two dicts.
        """
        examples, fooled = {}, {}
        for kind, attack in attacks.items():
            fields = {"adversarial": "adversarial", "success": "success"}
            found = self.attack(f"{split} {kind}", attack, inputs[kind], fields)
            examples[kind], fooled[kind] = found["adversarial"], found["success"]
        return examples, fooled

    def attack_again(self, split, inputs, defences):
        """Measure what every defence costs on every kind of input.

        Args:
            split: Begins the names of the checkpoints.
            inputs: The inputs, a dict by kind.
            defences: The attacks that defend, a dict by name.

        Returns:
            The steps and the queries: two dicts from the kind to a `pandas.DataFrame`.
        """
        steps, queries = ({kind: {} for kind in inputs} for _ in range(2))
        for name, defence in defences.items():
            for kind, x in inputs.items():
                fields = {"steps": "cost", "queries": "queries"}
                found = self.attack(f"{split} {kind} {name}", defence, x, fields)
                steps[kind][name], queries[kind][name] = found["steps"], found["queries"]
        frames = ({k: pd.DataFrame(v) for k, v in found.items()} for found in (steps, queries))
        return tuple(frames)

    def extra(self, halves, benign, defences):
        """Measure one defence on the examples of extra attacks.

        Args:
            halves: The `baselines.comparison.choices.Halves`, or None.
            benign: The benign inputs.
            defences: As for `attack_again`.

        Returns:
            The steps, a dict by attack.
        """
        if halves is None:
            return {}
        examples, _ = self.craft("test", halves.extra, dict.fromkeys(halves.extra, benign))
        one = {halves.defence: defences[halves.defence]}
        steps, _ = self.attack_again("test", examples, one)
        return {kind: frame[halves.defence].to_numpy() for kind, frame in steps.items()}

    def characterise(self, name, baseline, inputs, attacks):
        """Compute a baseline's characteristics of benign, noisy and adversarial inputs.

        Args:
            name: The name of the baseline.
            baseline: The `baselines.base.Baseline`.
            inputs: The inputs, a dict by kind that holds "benign".
            attacks: The attacks, a dict by name.

        Returns:
            The characteristics, a dict by kind, such as "FGSM" or "noisy FGSM".
        """
        benign, bounds = inputs["benign"], self.classifier.bounds
        noisy = {
            f"noisy {kind}": noise_like(attack)(benign, inputs[kind], bounds=bounds)
            for kind, attack in attacks.items()
        }
        return {
            kind: self.characteristics(f"{kind} {name}", baseline, x, benign)
            for kind, x in (inputs | noisy).items()
        }

    def characteristics(self, name, baseline, x, benign):
        """Compute a baseline's characteristics of one kind of input.

        Args:
            name: The name of the checkpoint.
            baseline: The `baselines.base.Baseline`.
            x: The inputs.
            benign: The benign inputs that they were made from, in the same order.

        Returns:
            The characteristics, float64, (n, any number).
        """
        origin = {"benign": digest(benign), "inputs": digest(x), **baseline.parameters()}
        compute = functools.partial(_computed, baseline, x, benign)
        return self.checkpoints.get(name, self.basis | origin, compute)["characteristics"]

    def attack(self, name, attack, x, fields):
        """Run an attack.

        Args:
            name: The name of the checkpoint.
            attack: The `a2d_keras.Attack`.
            x: The inputs.
            fields: What to keep, a dict from its name to a field of `AttackResult`.

        Returns:
            A dict of arrays by those names.
        """

        def run():
            result = attack(self.classifier, x, verbose=self.verbose)
            return {key: getattr(result, field) for key, field in fields.items()}

        origin = self.basis | {"attack": repr(attack), "inputs": digest(x)}
        return self.checkpoints.get(name, origin, run)


def _computed(baseline, x, benign):
    return {"characteristics": baseline.characteristics(x, benign=benign)}
