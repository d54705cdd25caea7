"""Re-encoding: what is left of the best examples once they are files."""

import abc
import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from a2d_keras.redteam.adversary import Adversary, Case, Crafted
from a2d_keras.statistics import views
from a2d_keras.statistics.view import View
from a2d_keras.validation import require_fraction, require_whole

_LEVELS = np.float32(255)


class _Reencoding(Adversary):
    """Save the best examples of earlier attacks, and read them again."""

    @abc.abstractmethod
    def encode(self, case: Case) -> np.ndarray:
        """Encode and decode `case.best`, scaled to [0, 1]; float32, (n, *input_shape)."""

    def craft(self, case: Case) -> Crafted:
        """Encode and decode; see `Adversary.craft`."""
        unit = case.defence.classifier.unit
        u = np.clip(unit.bounds[0] + unit.range * self.encode(case), *unit.bounds)
        x = np.asarray(case.defence.classifier.from_unit(u.astype("float32")))
        nothing = np.zeros(len(x), "int64")
        return Crafted(x, case.defence.judge(x), nothing, nothing)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EightBits(_Reencoding):
    """Round the best examples of earlier attacks to 8 bits, as a PNG file does.

    An attacker who hands in a file cannot send every float32 number. Where rounding would leave
    the distance `eps`, it goes the other way.

    Args:
        eps: The largest change of a value, as a fraction of the input range. Defaults to 8/255.

    Examples:
        >>> EightBits().name
        'eight_bits'
    """

    eps: float = 8 / 255

    def __post_init__(self) -> None:
        require_fraction("eps", self.eps)

    def encode(self, case: Case) -> np.ndarray:
        """Round to whole levels within reach."""
        x, best = (
            views.scaled(View.of(case.defence.classifier, tf.constant(each))).numpy() * _LEVELS
            for each in (case.x, case.best)
        )
        reach = self.eps * _LEVELS + 1e-4
        low, high = np.ceil(x - reach), np.floor(x + reach)
        found: np.ndarray = np.where(low <= high, np.clip(np.round(best), low, high), best)
        return found / _LEVELS


@dataclasses.dataclass(frozen=True, kw_only=True)
class JPEG(_Reencoding):
    """Save the best examples of earlier attacks as JPEG, which changes them within any distance.

    Args:
        quality: The quality, 1 to 100. Defaults to 90.

    Examples:
        >>> JPEG(quality=75).name
        'jpeg'
    """

    limited: ClassVar[bool] = False

    quality: int = 90

    def __post_init__(self) -> None:
        require_whole("quality", self.quality)
        if self.quality > 100:
            raise ValueError(f"`quality` must be at most 100. Received: {self.quality}")

    def suits(self, case: Case) -> bool:
        """Return whether the inputs are grey or coloured images."""
        classifier = case.defence.classifier
        return classifier.takes_images and classifier.channels in (1, 3)

    def encode(self, case: Case) -> np.ndarray:
        """Encode and decode each image."""
        classifier = case.defence.classifier
        images = views.pixels(View.of(classifier, tf.constant(case.best))).numpy()
        pixels = np.round(images * _LEVELS).astype("uint8")
        found = np.stack([self._decoded(each) for each in pixels]) / _LEVELS
        return found if classifier.data_format == "channels_last" else np.moveaxis(found, -1, 1)

    def _decoded(self, pixels: np.ndarray) -> np.ndarray:
        return np.asarray(tf.io.decode_jpeg(tf.io.encode_jpeg(pixels, quality=self.quality)))
