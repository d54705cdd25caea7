"""`Record`: one data set, its classifier, and the settings of the comparisons on it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from a2d_keras import Attack


def adam(steps: int) -> keras.optimizers.Optimizer:
    """Make Adam, whose rate falls from 1e-3 to zero on a cosine.

    Args:
        steps: The number of steps.

    Returns:
        The optimizer.
    """
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps))


class Dataset(NamedTuple):
    """Images, float32 in [0, 1], (n, height, width, channels), and labels, int64, (n,)."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adversary:
    """Adversarial training, and the attack that measures what came of it.

    Args:
        training: Arguments of `AdversarialTraining`, without `warmup_steps`.
        warmup_epochs: Epochs over which the attack grows to its size.
        test: Arguments of an `AdversarialTraining` whose attack measures the robust accuracy.
    """

    training: Mapping[str, Any]
    warmup_epochs: int
    test: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Denoising:
    """Training of an autoencoder that takes noise away, in place of a classifier.

    Args:
        noise: The standard deviation of the noise, as a fraction of the input range.
        held_out: How many training images, the first ones, it never sees: for thresholds.
    """

    noise: float
    held_out: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What the comparisons run on a data set, after the paper (Zhao et al. 2021, Table 5).

    Args:
        attacks: The attacks that craft adversarial examples, by name.
        defences: The attacks whose cost detects them, by name.
        baselines: Options of baselines for this data set, by the baseline's name. Defaults to
            none.
        strong: Attacks that the paper does not compare on, by name.
        benign_accuracy: The share of benign inputs that the thresholds of Table 3 must keep.
    """

    attacks: Mapping[str, Attack]
    defences: Mapping[str, Attack]
    baselines: Mapping[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    strong: Mapping[str, Attack]
    benign_accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One data set: its data, its classifier, the training, and the settings of Env1.

    Other records have a classifier of the same data, or an autoencoder.

    Args:
        title: The name to print.
        load: A function that takes the folder of the data, or None, and returns a `Dataset`.
        layers: A function without arguments that returns the layers of the classifier, from the
            input on.
        epochs: Epochs of training.
        batch_size: Inputs in a step of training. Defaults to 128.
        optimizer: A function that takes the number of steps and returns the optimizer. Defaults
            to `adam`.
        augmentation: A function without arguments that returns the layers that change images in
            training only. Defaults to no layers.
        adversary: The `Adversary` that it is trained against. Defaults to none.
        denoising: The `Denoising` that makes it an autoencoder. Defaults to none.
        settings: The `Settings`.
        bundled: Whether the data is available without a download. Defaults to False.
        copies: Titles of known copies of the data that differ from it, by their digest. Defaults
            to none.
    """

    title: str
    load: Callable[[str | None], Dataset]
    layers: Callable[[], list[Any]]
    epochs: int
    batch_size: int = 128
    optimizer: Callable[[int], keras.optimizers.Optimizer] = adam
    augmentation: Callable[[], list[Any]] = list
    adversary: Adversary | None = None
    denoising: Denoising | None = None
    settings: Settings
    bundled: bool = False
    copies: Mapping[str, str] = dataclasses.field(default_factory=dict)
