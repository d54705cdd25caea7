"""What Env1 crafts and measures: the long part, every finished piece of which is kept."""

import functools
import itertools
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from a2d_keras import Classifier
from a2d_keras.version import __version__
from baselines.digests import digest
from baselines.env1.settings import DEEPFOOL
from baselines.kernel_density import KernelDensityUncertainty
from baselines.local_dimension import LocalDimension
from baselines.noise import flipped_pixels, gaussian_noise


class Split(NamedTuple):
    """Benign inputs, what attacks made of them, and what all of them cost to attack again.

    Attributes:
        inputs: A dict from the kind of input ("benign", or the attack's name) to the inputs,
            float32, (n, height, width, channels).
        fooled: A dict from the attack's name to whether each of its examples fools, bool, (n,).
        steps: A dict from the kind to a `pandas.DataFrame` of int64, a column for each defence.
        queries: The same of queries.
    """

    inputs: dict
    fooled: dict
    steps: dict
    queries: dict


class Measurements(NamedTuple):
    """All that the tables are made of.

    Attributes:
        test: The `Split` of test inputs; number i of every kind was made from benign number i.
        training: That of training inputs, of which each attack has others.
        deepfool_steps: JSMA_d's steps on what DeepFool made of the test inputs, int64, (n,).
        baselines: KD+BU as "BL1" and LID as "BL2", which have learned nothing yet.
        characteristics: A dict from "BL1" and "BL2" to a dict from the kind of test input, such
            as "FGSM" or "noisy FGSM", to its characteristics, float64, (n, characteristics).
    """

    test: Split
    training: Split
    deepfool_steps: np.ndarray
    baselines: dict
    characteristics: dict


def correctly_classified(model, x, y, limit):
    """Take the first inputs that the classifier gets right.

    Args:
        model: The classifier.
        x: Inputs, float32, (n, height, width, channels).
        y: Their classes, int, (n,).
        limit: How many to take at most.

    Returns:
        The inputs, float32, (at most `limit`, height, width, channels).
    """
    predicted = model.predict(x, batch_size=512, verbose=0).argmax(axis=-1)
    return x[predicted == y][:limit]


def measure(model, data, setting, limit, pieces, verbose=0):
    """Craft adversarial examples, and measure what defences and baselines see in them.

    Args:
        model: The classifier.
        data: The `models.datasets.Dataset`.
        setting: The `baselines.env1.settings.Setting`.
        limit: How many test inputs to take at most, how many benign training inputs, and how many
            adversarial ones of all attacks together.
        pieces: The `baselines.env1.pieces.Pieces` that keep what is finished.
        verbose: 1 shows progress bars. Defaults to 0.

    Returns:
        The `Measurements`.
    """
    work = _Work(model, pieces, verbose)
    attacks, defences = setting.attacks, setting.defences
    benign = correctly_classified(model, data.x_test, data.y_test, limit)
    examples, fooled = work.craft("test", attacks, dict.fromkeys(attacks, benign))
    deepfool, _ = work.craft("test", {"DeepFool": DEEPFOOL}, {"DeepFool": benign})
    inputs = {"benign": benign, **examples}
    baselines, made_from = _baselines(model, data, setting.bandwidth)
    characteristics = work.characterise(inputs, baselines, made_from)
    jsma = {"JSMA_d": defences["JSMA_d"]}
    deepfool_steps = work.attack_again("test", deepfool, jsma)[0]["DeepFool"]["JSMA_d"].to_numpy()
    test = Split(inputs, fooled, *work.attack_again("test", inputs, defences))

    own = correctly_classified(model, data.x_train, data.y_train, 2 * limit)
    benign, rest = own[: len(own) // 2], own[len(own) // 2 :]
    shares = dict(zip(attacks, np.array_split(rest, len(attacks)), strict=True))
    examples, fooled = work.craft("training", attacks, shares)
    inputs = {"benign": benign, **examples}
    training = Split(inputs, fooled, *work.attack_again("training", inputs, defences))
    return Measurements(test, training, deepfool_steps, baselines, characteristics)


class _Work:
    """What is done with one classifier, piece by piece."""

    def __init__(self, model, pieces, verbose):
        self.model = model
        self.classifier = Classifier(model)
        self.pieces = pieces
        self.verbose = verbose
        self.basis = {
            "model": digest(model.name, *model.get_weights()),
            "a2d-keras": __version__,
            "Keras": keras.__version__,
            "TensorFlow": tf.__version__,
        }

    def craft(self, split, attacks, inputs):
        """Give what each attack makes of its inputs, and whether that fools: two dicts."""
        examples, fooled = {}, {}
        for kind, attack in attacks.items():
            fields = {"adversarial": "adversarial", "success": "success"}
            piece = self._attack(f"{split} {kind}", attack, inputs[kind], fields)
            examples[kind], fooled[kind] = piece["adversarial"], piece["success"]
        return examples, fooled

    def attack_again(self, split, inputs, defences):
        """Give the steps and the queries of every defence on every kind of input: two dicts."""
        steps, queries = ({kind: {} for kind in inputs} for _ in range(2))
        for name, defence in defences.items():
            for kind, x in inputs.items():
                fields = {"steps": "cost", "queries": "queries"}
                piece = self._attack(f"{split} {kind} {name}", defence, x, fields)
                steps[kind][name], queries[kind][name] = piece["steps"], piece["queries"]
        frames = ({k: pd.DataFrame(v) for k, v in found.items()} for found in (steps, queries))
        return tuple(frames)

    def characterise(self, inputs, baselines, made_from):
        """Give the characteristics of benign, noisy and adversarial inputs: a dict of dicts."""
        benign = inputs["benign"]
        noisy = {f"noisy {k}": _noisy(k, benign, x) for k, x in inputs.items() if k != "benign"}
        found = {name: {} for name in baselines}
        for name, kind in itertools.product(baselines, inputs | noisy):
            x = (inputs | noisy)[kind]
            origin = {"benign": digest(benign), "inputs": digest(x)}
            make = functools.partial(_computed, baselines[name], x, benign)
            piece = self.pieces.get(f"{kind} {name}", self.basis | made_from | origin, make)
            found[name][kind] = piece["characteristics"]
        return found

    def _attack(self, name, attack, x, fields):
        def run():
            result = attack(self.classifier, x, verbose=self.verbose)
            return {key: getattr(result, field) for key, field in fields.items()}

        return self.pieces.get(
            name, self.basis | {"attack": repr(attack), "inputs": digest(x)}, run
        )


def _baselines(model, data, bandwidth):
    """Make both, and say what they were made of."""
    density = KernelDensityUncertainty.from_data(model, data, bandwidth=bandwidth)
    dimension = LocalDimension(model)
    made_from = {
        "training": digest(data.x_train, data.y_train),
        "bandwidth": density.bandwidth,
        "passes": density.passes,
        "k": dimension.k,
        "batch_size": dimension.batch_size,
    }
    return {"BL1": density, "BL2": dimension}, made_from


def _computed(baseline, x, benign):
    return {"characteristics": baseline.characteristics(x, benign=benign)}


def _noisy(kind, benign, adversarial):
    return (flipped_pixels if kind == "JSMA" else gaussian_noise)(benign, adversarial)
