import numpy as np
import pytest

from baselines.noise import flipped_pixels, gaussian_noise, mean_l2

pytestmark = pytest.mark.checkout

BOUNDS = [(0.0, 1.0), (-1.0, 0.7)]


def images(bounds, half_at_bounds=False):
    """Benign and adversarial images. In each image, two thirds of the values differ, or none."""
    generator = np.random.default_rng(3)
    benign = generator.uniform(*bounds, size=(50, 8, 8, 3)).astype("float32")
    if half_at_bounds:
        chosen = generator.random(benign.shape) < 0.5
        benign = np.where(chosen, generator.choice(bounds, benign.shape), benign).astype("float32")
    perturbation = 0.2 * (bounds[1] - bounds[0]) * generator.choice([-1, 0, 1], benign.shape)
    perturbation[10:20] = 0
    return benign, np.clip(benign + perturbation, *bounds).astype("float32")


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("half_at_bounds", [False, True])
def test_gaussian_noise_is_as_long_as_the_perturbations_after_clipping(bounds, half_at_bounds):
    benign, adversarial = images(bounds, half_at_bounds)
    noisy = gaussian_noise(benign, adversarial, bounds=bounds)
    lengths = [
        np.sqrt(((x - benign) ** 2).sum(axis=(1, 2, 3))).mean() for x in (noisy, adversarial)
    ]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-3)
    assert noisy.dtype == "float32"
    assert noisy.min() >= np.float32(bounds[0])
    assert noisy.max() <= np.float32(bounds[1])
    inside = (noisy > bounds[0]) & (noisy < bounds[1])
    assert len(np.unique((noisy - benign)[inside])) > 2000  # the noise never repeats


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("half_at_bounds", [False, True])
def test_as_many_pixels_are_flipped_as_were_changed(bounds, half_at_bounds):
    benign, adversarial = images(bounds, half_at_bounds)
    noisy = flipped_pixels(benign, adversarial, bounds=bounds)
    changed = noisy != benign
    expected = [(x != y).sum() for x, y in zip(adversarial, benign, strict=True)]
    assert changed.sum(axis=(1, 2, 3)).tolist() == expected
    assert set(expected[10:20]) == {0} < set(expected)
    assert set(noisy[changed]) == {np.float32(bound) for bound in bounds}
    assert 0.4 < (noisy[changed] == np.float32(bounds[1])).mean() < 0.6
    assert noisy.dtype == "float32"


def test_every_pixel_may_be_flipped_and_all_of_them():
    benign = np.random.default_rng(0).integers(0, 2, (400, 4, 4, 1)).astype("float32")
    np.testing.assert_array_equal(flipped_pixels(benign, benign + 1), 1 - benign)
    adversarial = benign.copy()
    adversarial[:, 0, 0] = 0.5
    changed = (flipped_pixels(benign, adversarial) != benign).sum(axis=0)
    assert 5 < changed.min() < 25 < changed.max() < 50  # 400 flips over 16 pixels


def test_on_digits(benign, adversarial):
    for noise in (gaussian_noise, flipped_pixels):
        noisy = noise(benign, adversarial)
        assert 0 <= noisy.min() < noisy.max() <= 1
    noisy = gaussian_noise(benign, adversarial)
    assert mean_l2(noisy - benign) == pytest.approx(mean_l2(adversarial - benign), rel=1e-3)


@pytest.mark.parametrize("noise", [gaussian_noise, flipped_pixels])
def test_is_seeded(noise):
    benign, adversarial = images((0.0, 1.0))
    first, same, other = (noise(benign, adversarial, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).mean() > 0.3


@pytest.mark.parametrize("noise", [gaussian_noise, flipped_pixels])
def test_what_was_not_changed_gets_no_noise(noise):
    benign, _ = images((0.0, 1.0))
    np.testing.assert_array_equal(noise(benign, benign), benign)


@pytest.mark.parametrize("noise", [gaussian_noise, flipped_pixels])
def test_refuses_what_was_not_made_from_the_benign_inputs(noise):
    benign, adversarial = images((0.0, 1.0))
    with pytest.raises(ValueError, match="must have the shape of the benign.* Received: "):
        noise(benign, adversarial[1:])


def test_refuses_perturbations_longer_than_any_noise_in_the_bounds():
    benign = np.zeros((4, 8, 8, 1), "float32")
    with pytest.raises(ValueError, match="at most 5.* Received: adversarial inputs at 8"):
        gaussian_noise(benign, benign + 1)
