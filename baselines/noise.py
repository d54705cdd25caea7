"""Noisy counterparts: benign inputs changed at random, as much as an attack changes them.

Feinman, Curtin, Shintre and Gardner 2017, "Detecting Adversarial Samples from Artifacts", Section
5; Ma et al. 2018 do the same. The noise teaches a baseline not to mistake noise for an attack.
"""

import numpy as np
from scipy.optimize import brentq

from a2d_keras import JSMA, LSA, PairJSMA

_FEW_PIXELS = (JSMA, LSA, PairJSMA)  # attacks that change a few pixels a lot
_FARTHEST = 1e3  # scale of noise, in ranges, that moves nearly every value to a bound


def noise_like(attack):
    """Choose the kind of noise that resembles an attack.

    Args:
        attack: The `a2d_keras.Attack`.

    Returns:
        `flipped_pixels` for attacks that change a few pixels, `gaussian_noise` for others.

    Examples:
        >>> noise_like(PairJSMA()).__name__
        'flipped_pixels'
    """
    return flipped_pixels if isinstance(attack, _FEW_PIXELS) else gaussian_noise


def gaussian_noise(benign, adversarial, *, bounds=(0.0, 1.0), seed=0):
    """Add Gaussian noise of the same mean L2 norm as the perturbations of adversarial inputs.

    Clipping to the bounds shortens the noise, so a root finder finds its scale, one for all
    inputs.

    Args:
        benign: Benign inputs, float32, (n, ...).
        adversarial: Their adversarial counterparts, like `benign`.
        bounds: The smallest and the largest value of an input. Defaults to (0.0, 1.0).
        seed: Seed of the noise. Defaults to 0.

    Returns:
        The noisy inputs, like `benign`; the mean L2 norm agrees to within 0.1 %.

    Raises:
        ValueError: If the shapes differ, or no noise within the bounds is that long.

    Examples:
        >>> benign = np.full((10, 8, 8, 1), 0.9, "float32")
        >>> noisy = gaussian_noise(benign, benign - 0.25)
        >>> print(mean_l2(noisy - benign).round(2), noisy.max())
        2.0 1.0
    """
    _require_same_shape(benign, adversarial)
    low, high = bounds
    noise = np.random.default_rng(seed).standard_normal(benign.shape, "float32")
    target = mean_l2(adversarial - benign)

    def add(scale):
        return np.clip(benign + np.float32(scale) * noise, low, high).astype(benign.dtype)

    def excess(scale):
        return mean_l2(add(scale) - benign) - target

    farthest = _FARTHEST * (high - low)
    if target == 0:
        return benign.copy()
    if excess(farthest) < 0:
        raise ValueError(
            f"Noise within the bounds {bounds} has a mean L2 norm of at most "
            f"{target + excess(farthest):.4g}. Received: adversarial inputs at {target:.4g}"
        )
    return add(brentq(excess, 0, farthest, xtol=1e-4 * target / benign[0].size, rtol=1e-4))


def flipped_pixels(benign, adversarial, *, bounds=(0.0, 1.0), seed=0):
    """Set as many pixels of each input to a bound as an attack changed in it.

    Pixels are single values, so a coloured pixel counts as three. Pixels and bounds are chosen at
    random, but a pixel at one bound is set to the other.

    Args:
        benign: Benign inputs, float32, (n, ...).
        adversarial: Their adversarial counterparts, like `benign`.
        bounds: The smallest and the largest value of an input. Defaults to (0.0, 1.0).
        seed: Seed of the choices. Defaults to 0.

    Returns:
        The noisy inputs, like `benign`.

    Raises:
        ValueError: If the shapes differ.

    Examples:
        >>> benign = np.zeros((2, 2, 2, 1), "float32")
        >>> adversarial = benign.copy()
        >>> adversarial[0, 0] = 0.5
        >>> noisy = flipped_pixels(benign, adversarial)
        >>> (noisy == 1).sum(axis=(1, 2, 3))
        array([2, 0])
    """
    _require_same_shape(benign, adversarial)
    generator = np.random.default_rng(seed)
    flat = benign.reshape(len(benign), -1)
    counts = (benign != adversarial).reshape(flat.shape).sum(axis=1)
    order = generator.permuted(np.broadcast_to(np.arange(flat.shape[1]), flat.shape), axis=1)
    low, high = np.array(bounds, benign.dtype)
    rises = (flat == low) | (flat != high) & (generator.random(flat.shape) < 0.5)
    flipped = np.where(rises, high, low)
    return np.where(order < counts[:, None], flipped, flat).reshape(benign.shape)


def mean_l2(perturbations):
    """Compute the mean over inputs of the L2 norm.

    Args:
        perturbations: Differences of inputs, float, (n, ...).

    Returns:
        The mean, a float64.
    """
    flat = perturbations.reshape(len(perturbations), -1)
    return np.linalg.norm(flat.astype("float64"), axis=1).mean()


def _require_same_shape(benign, adversarial):
    if benign.shape != adversarial.shape:
        raise ValueError(
            "Adversarial inputs must have the shape of the benign ones. "
            f"Received: {adversarial.shape} and {benign.shape}"
        )
