"""Craft adversarial examples and measure them. This takes long; every result is kept."""

import functools
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from a2d_keras import Attack
from a2d_keras.version import __version__
from baselines.digests import digest
from baselines.noise import noise_like


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


class Measurements(NamedTuple):
    """Everything that the tables are computed from.

    Attributes:
        test: The `Split` of test inputs. Input i of every kind was made from benign input i.
        training: The `Split` of training inputs. Each attack has its own.
        extra_steps: A dict from each extra attack of the `Halves` to the steps on its examples of
            the test inputs, int64, (n,).
        baselines: A dict from the baseline's name to the `Baseline`, not fitted.
        characteristics: A dict from the baseline's name to a dict from the kind of test input,
            such as "FGSM" or "noisy FGSM", to its characteristics, float64, (n, any number).
    """

    test: Split
    training: Split
    extra_steps: dict
    baselines: dict
    characteristics: dict


def correctly_classified(model, x, y, limit):
    """Return the first inputs that the classifier gets right.

    Args:
        model: The classifier, a `keras.Model`.
        x: Inputs, float32, (n, *input shape).
        y: Their classes, int, (n,).
        limit: The largest number of inputs to return.

    Returns:
        The inputs, float32, (at most `limit`, *input shape).
    """
    predicted = model.predict(x, batch_size=512, verbose=0).argmax(axis=-1)
    return x[predicted == y][:limit]


def measure(classifier, data, *, attacks, detectors, checkpoints, options):
    """Craft adversarial examples, and measure them with every detector.

    Args:
        classifier: The `a2d_keras.Classifier`.
        data: The `models.record.Dataset`.
        attacks: As for `baselines.comparison.compare`.
        detectors: As for `baselines.comparison.compare`.
        checkpoints: The `Checkpoints` that keep what is finished.
        options: The `Options`.

    Returns:
        The `Measurements`.
    """
    model, limit = classifier.model, options.limit
    defences = {name: each for name, each in detectors.items() if isinstance(each, Attack)}
    makers = {name: each for name, each in detectors.items() if name not in defences}
    work = Work(classifier, checkpoints, options.verbose)

    benign = correctly_classified(model, data.x_test, data.y_test, limit)
    examples, fooled = work.craft("test", attacks, dict.fromkeys(attacks, benign))
    inputs = {"benign": benign, **examples}
    extra_steps = work.extra(options.halves, benign, defences)
    baselines = {name: make(model, data) for name, make in makers.items()}
    characteristics = {
        name: work.characterise(name, baseline, inputs, attacks)
        for name, baseline in baselines.items()
    }
    test = Split(inputs, fooled, *work.attack_again("test", inputs, defences))

    correct = correctly_classified(model, data.x_train, data.y_train, 2 * limit)
    benign, rest = correct[: len(correct) // 2], correct[len(correct) // 2 :]
    shares = dict(zip(attacks, np.array_split(rest, len(attacks)), strict=True))
    examples, fooled = work.craft("training", attacks, shares)
    inputs = {"benign": benign, **examples}
    training = Split(inputs, fooled, *work.attack_again("training", inputs, defences))
    return Measurements(test, training, extra_steps, baselines, characteristics)


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
