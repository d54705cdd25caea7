"""`AdaptDetector`: keep a detector up to date with a classifier in training."""

from typing import Any

import keras

from a2d_keras.detection.layer import DetectorLayer
from a2d_keras.validation import require_whole


class AdaptDetector(keras.callbacks.Callback):
    """Adapt a detector again when its classifier has been trained.

    What a detector learned holds for one set of weights only. List this callback after those that
    change the weights when training ends, such as `EarlyStopping(restore_best_weights=True)`.

    Args:
        layer: The `DetectorLayer`; of a guarded model, `guarded.detector`.
        benign: Benign inputs, as for `DetectorLayer.adapt`.
        every: Adapt after every this many epochs, and once more when training ends if the weights
            have changed since. By default, adapt only when training ends.
        adversarial: Adversarial inputs, as for `DetectorLayer.adapt`. Defaults to None.
        verbose: 1 shows progress and what was learned, 0 is silent. Defaults to 0.

    Raises:
        ValueError: If an argument is invalid, or adversarial inputs are missing or unwanted; after
            training, if the detector cannot learn from the inputs.

    Examples:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.random.default_rng(0).uniform(size=(100, 4)), np.arange(100) % 3
        >>> layer = DetectorLayer(model)
        >>> history = model.fit(x, y, verbose=0, callbacks=[AdaptDetector(layer, x)])
        >>> layer.up_to_date
        True
    """

    def __init__(
        self,
        layer: DetectorLayer,
        benign: Any,
        *,
        every: int | None = None,
        adversarial: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(layer, DetectorLayer):
            raise ValueError(
                "`layer` must be a DetectorLayer; of a guarded model, `guarded.detector`. "
                f"Received: {layer}"
            )
        if every is not None:
            require_whole("every", every)
        layer.rule.require_kinds(adversarial is not None)
        self.layer = layer
        self.benign = benign
        self.every = every
        self.adversarial = adversarial
        self.verbose = verbose

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adapt, if this epoch is one of `every`."""
        if self.every and (epoch + 1) % self.every == 0:
            self._adapt()

    def on_train_end(self, logs: Any = None) -> None:
        """Adapt, unless the last epoch did and the weights are still the same."""
        if not (self.every and self.layer.up_to_date):
            self._adapt()

    def _adapt(self) -> None:
        self.layer.adapt(self.benign, self.adversarial, verbose=self.verbose)
