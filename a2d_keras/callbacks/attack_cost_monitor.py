"""`AttackCostMonitor`: measure how robust a model is while it is trained."""

import inspect
import math
import sys
from types import FrameType
from typing import Any

import keras
import numpy as np

from a2d_keras import inputs
from a2d_keras.adversarial_training import AdversarialTraining
from a2d_keras.attacks import BIM
from a2d_keras.attacks.base import Attack
from a2d_keras.classifier import Classifier
from a2d_keras.validation import require_slots
from a2d_keras.warn import warn

_INPUTS_TO_CHECK = 128  # enough to tell that a model has diverged


class AttackCostMonitor(keras.callbacks.Callback):
    """Measure after every epoch how many steps it takes to attack held-out inputs.

    The median cost goes into the epoch's `logs`, where the progress bar, `History` and the
    callbacks listed after this one find it. A higher cost means a more robust model, so give
    `EarlyStopping` and `ModelCheckpoint` `mode="max"`. The cost is NaN if the model's outputs are
    not finite.

    Args:
        x: Held-out inputs within the bounds: an array or tensor (n, *input_shape), or a
            `tf.data.Dataset` of batches of them, alone or as the first of a tuple.
        attack: An untargeted attack. Every epoch takes up to its `max_iterations` gradients per
            input. Defaults to `BIM()`.
        name: The name in `logs`. Defaults to `"val_attack_cost"`, which TensorBoard shows as
            `epoch_attack_cost` among the validation curves.
        slots: Inputs under attack at once, or `"auto"` for the fastest number on this machine;
            see `Attack`. Defaults to 128.
        **classifier_options: Other arguments of `Classifier`, such as `bounds`.

    Raises:
        TypeError: If `Classifier` does not take an option.
        ValueError: If an argument is invalid; when training begins, if the model is not a
            classifier or does not take the inputs.
        tf.errors.InvalidArgumentError: When training begins, if the inputs are a dataset that the
            model does not take.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.random.default_rng(0).uniform(size=(8, 4)), np.arange(8) % 3
        >>> monitor = AttackCostMonitor(x, attack=BIM(max_iterations=50))
        >>> stop = keras.callbacks.EarlyStopping("val_attack_cost", mode="max", patience=3)
        >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=[monitor, stop]).history
        >>> len(history["val_attack_cost"])
        2
    """

    def __init__(
        self,
        x: Any,
        *,
        attack: Attack | None = None,
        name: str = "val_attack_cost",
        slots: int | str = 128,
        **classifier_options: Any,
    ) -> None:
        super().__init__()
        attack = BIM() if attack is None else attack
        if not isinstance(attack, Attack) or attack.targeted:
            raise ValueError(f"`attack` must be an untargeted attack. Received: {attack}")
        if not isinstance(name, str) or not name:
            raise ValueError(f"`name` must be a non-empty string. Received: {name!r}")
        if inputs.count(x) == 0:
            raise ValueError("`x` must hold at least one input. Received: 0 inputs")
        require_slots(slots)
        inspect.signature(Classifier).bind(None, **classifier_options)  # refuse a typo now
        self.x = x
        self.attack = attack
        self.name = name
        self.slots = slots
        self.classifier_options = classifier_options
        self._classifier: Classifier | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Compile the attack, and refuse unsuitable inputs before an epoch is spent."""
        self._warn_of_order()
        self._classifier = None
        if self._trained.built:  # otherwise the first batch builds it
            self._median_cost(budget=1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Put the median cost into the logs."""
        logs = {} if logs is None else logs
        if self.name in logs:
            raise ValueError(f"`name` must be new in the logs. Received: {self.name!r}")
        logs[self.name] = self._median_cost()

    @property
    def _trained(self) -> keras.Model:
        """The classifier whose weights change."""
        return self.model.model if isinstance(self.model, AdversarialTraining) else self.model

    def _warn_of_order(self) -> None:
        """Warn of callbacks that are listed before this one, and so never find its number."""
        frame: FrameType | None = sys._getframe()
        while frame and not isinstance(frame.f_locals.get("self"), keras.callbacks.CallbackList):
            frame = frame.f_back
        listed = frame.f_locals["self"].callbacks if frame else []
        before = listed[: listed.index(self)] if self in listed else []
        early = [type(c).__name__ for c in before if getattr(c, "monitor", None) == self.name]
        if early:
            warn(
                f"List AttackCostMonitor before {' and '.join(early)}, which will not find "
                f"{self.name!r}. Received: callbacks in the order "
                f"{', '.join(type(callback).__name__ for callback in listed)}"
            )

    def _median_cost(self, budget: int | None = None) -> float:
        if self._classifier is None:
            self._classifier = Classifier(self._trained, **self.classifier_options)
        result = self.attack(self._classifier, self.x, budget=budget, slots=self.slots)
        some = inputs.first(self.x, self._classifier, _INPUTS_TO_CHECK)
        finite = np.isfinite(self._classifier.logits(some)).all()
        return float(np.median(result.cost)) if finite else math.nan  # NaN resists every attack
