"""Wavelet-band energies: whether an image has more fine detail than benign ones."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from a2d_keras import inputs
from a2d_keras.classifier import Classifier
from a2d_keras.statistics import views
from a2d_keras.statistics.base import State, Statistic, Tensors
from a2d_keras.statistics.view import View
from a2d_keras.validation import require_whole
from a2d_keras.warn import warn

_BATCH = 256
_MAX_INPUTS = 1000  # benign inputs to learn from
_FLOOR = 1 / 255**2  # the energy of one grey level, below which differences count little
_VARIANCE = 1e-6  # of a band whose energy never varies
_BLOCK = 8  # pixels in a side of JPEG's blocks
_FEW = 200  # benign inputs to look for JPEG's blocks in
_EMPTIER = 0.05  # more cosine terms that are zero on JPEG's grid than off it
_FLAT = 0.1  # the share of constant 2×2 blocks that is a background


@keras.saving.register_keras_serializable(package="a2d_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Spectrum(Statistic):
    """The distance of an image's wavelet-band energies from those of benign images.

    The Haar wavelet splits each channel into bands: horizontal, vertical and diagonal detail at
    several scales. Two numbers describe a band: the logarithm of its mean energy, which edges
    govern, and the mean logarithm, which flat regions govern. The statistic is their Mahalanobis
    distance to those of benign images. It takes no pass of the classifier.

    It is no default, since it sees pixels and not what the classifier makes of them. It flags
    benign noise, blur and other changes of an image as it flags attacks. And it flatters itself
    on data that was coded as JPEG or has a background of one value, such as MNIST: there any
    change shows, whoever made it. `fit` warns of such data.

    Args:
        levels: The number of scales. Defaults to 2.
        tail: Which values are suspicious. Defaults to `"high"`.

    Raises:
        ValueError: If a parameter is out of range.

    Examples:
        >>> Spectrum(levels=3).levels
        3
    """

    levels: int = 2
    tail: str = "high"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("levels", self.levels)

    def require(self, classifier: Classifier) -> None:
        """Refuse inputs that are no images; see `Statistic.require`."""
        if not classifier.takes_images:
            raise ValueError(
                "`Spectrum` needs images, (rows, columns, channels); leave it out. "
                f"Received: inputs of shape {classifier.input_shape}"
            )

    def initial_state(self, classifier: Classifier) -> State:
        """Return zeros of the right shapes."""
        width = 6 * self.levels * (classifier.channels or 1)
        return {
            "mean": np.zeros(width, "float32"),
            "whitening": np.zeros((width, width), "float32"),
        }

    def fit(
        self, classifier: Classifier, benign: Any, false_positive_rate: float, slots: int | str
    ) -> State:
        """Learn mean and covariance, and warn of data that flatters; see `Statistic.fit`."""
        x = tf.constant(inputs.first(benign, classifier, _MAX_INPUTS))
        images = views.pixels(View.of(classifier, x)).numpy()
        _warn_of_flattery(images[:_FEW])
        starts = range(0, len(images), _BATCH)
        parts = [self._energies(tf.constant(images[at : at + _BATCH])) for at in starts]
        energies = np.concatenate(parts).astype("float64")
        # Shrinkage would hide what bands have in common, and with it weak perturbations.
        covariance = np.cov(energies.T, bias=True) + _VARIANCE * np.eye(energies.shape[1])
        return {
            "mean": energies.mean(axis=0).astype("float32"),
            "whitening": np.linalg.inv(np.linalg.cholesky(covariance)).T.astype("float32"),
        }

    def measure(self, view: View, state: Tensors) -> tf.Tensor:
        """Compute the distance; see `Statistic.measure`."""
        residuals = self._energies(views.pixels(view)) - state["mean"]
        return tf.norm(residuals @ state["whitening"], axis=-1)

    def _energies(self, images: tf.Tensor) -> tf.Tensor:
        """Compute the numbers that describe all bands, (n, 6 levels × channels)."""
        found = []
        for _ in range(self.levels):
            images, *details = _haar(images)
            for band in details:
                energy = band**2 + _FLOOR
                found.append(tf.math.log(tf.reduce_mean(energy, axis=(1, 2))))
                found.append(tf.reduce_mean(tf.math.log(energy), axis=(1, 2)))
        return tf.concat(found, axis=-1)


def _haar(images: tf.Tensor) -> list[tf.Tensor]:
    """Return means of 2×2 blocks, and their horizontal, vertical and diagonal detail."""
    low, high = _halves(images, 1)
    return [part for rows in (low, high) for part in _halves(rows, 2)]


def _halves(images: tf.Tensor, axis: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return half the sums and half the differences of pairs; an odd end is its own partner."""
    size = tf.shape(images)[axis]
    first = tf.gather(images, tf.range(0, size, 2), axis=axis)
    second = tf.gather(images, tf.minimum(tf.range(1, size + 1, 2), size - 1), axis=axis)
    return (first + second) / 2, (first - second) / 2


def _warn_of_flattery(images: np.ndarray) -> None:
    why = []
    if (share := _flat_share(images)) > _FLAT:
        why.append(f"{share:.0%} of their 2×2 blocks have one value")
    if (excess := _excess_on_grid(images)) > _EMPTIER:
        why.append(
            f"{excess:.0%} more cosine terms than elsewhere are zero on JPEG's grid of 8×8 blocks"
        )
    if why:
        warn(
            "Any change shows on these images, be it an attack or harmless, so `Spectrum` will "
            f"find more here than on other data. Received: images in which {' and '.join(why)}"
        )


def _flat_share(images: np.ndarray) -> float:
    """Return the share of neighbouring 2×2 pixels that are all equal."""
    same = (images[:, 1:] == images[:, :-1]).all(axis=-1)
    equal = same[:, :, 1:] & same[:, :, :-1]
    equal &= (images[:, :-1, 1:] == images[:, :-1, :-1]).all(axis=-1)
    return float(equal.mean()) if equal.size else 0.0


def _excess_on_grid(images: np.ndarray) -> float:
    """Return how many more near-zero coefficients 8×8 blocks have on JPEG's grid than off it.

    JPEG rounds the coefficients of its blocks, most of them to zero. Blocks that begin 4 pixels
    off its grid hold edges between its blocks. On images that were never coded, both are alike.
    It misses images that were cropped or resized after coding.
    """
    if min(images.shape[1:3]) < 2 * _BLOCK:
        return 0.0
    weights = (0.299, 0.587, 0.114) if images.shape[-1] == 3 else 1 / images.shape[-1]
    brightness = 255 * (images * weights).sum(axis=-1)
    half = _BLOCK // 2
    return _empty_share(brightness) - _empty_share(brightness[:, half:, half:])


def _empty_share(brightness: np.ndarray) -> float:
    """Return the share of coefficients of 8×8 blocks that round to zero."""
    count, rows, columns = brightness.shape
    rows, columns = rows // _BLOCK, columns // _BLOCK
    blocks = brightness[:, : rows * _BLOCK, : columns * _BLOCK]
    blocks = blocks.reshape(count, rows, _BLOCK, columns, _BLOCK)
    waves = _cosines()
    coefficients = np.einsum("ui,nricj,vj->nrcuv", waves, blocks, waves, optimize=True)
    return float((np.abs(coefficients) < 0.5).mean())


def _cosines() -> np.ndarray:
    """Return the orthonormal discrete cosine transform of 8 values, as JPEG takes it."""
    frequency, place = np.arange(_BLOCK)[:, None], np.arange(_BLOCK)
    waves: np.ndarray = np.cos(np.pi * frequency * (2 * place + 1) / (2 * _BLOCK)) * np.sqrt(
        2 / _BLOCK
    )
    waves[0] /= np.sqrt(2)
    return waves
