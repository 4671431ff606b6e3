"""Frechet and sliced Wasserstein distance against their laws and closed forms, and against SciPy
where it has the operator.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.special

from diffcam_jax.errors import UserError
from diffcam_jax.metrics import frechet, swd
from diffcam_jax.metrics.frechet import Statistics, frechet_distance, statistics

rng = np.random.default_rng(0)


def pictures(n=2, size=32, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (n, size, size, 3)).astype(np.float32)


# Frechet distance


def test_frechet_of_identical_sets_and_its_symmetry():
    x, y = rng.standard_normal((50, 8)), rng.standard_normal((40, 8)) * 2 + 1
    a, b = statistics(x), statistics(y)
    assert abs(frechet_distance(a, a)) < 1e-10
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    shifted = Statistics(a.mean + 3, a.covariance)
    assert frechet_distance(a, shifted) == pytest.approx(8 * 9)


def test_frechet_of_commuting_gaussians():
    """With a common basis: |mean|^2 and the squared distance of the standard deviations."""
    basis = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    deviations = np.array([1.0, 2, 0.5, 3, 0]), np.array([2.0, 2, 1, 0, 4])
    a, b = (Statistics(np.full(5, i), basis * s**2 @ basis.T) for i, s in enumerate(deviations))
    expected = 5 + np.sum((deviations[0] - deviations[1]) ** 2)
    assert frechet_distance(a, b) == pytest.approx(expected, abs=1e-6)


def test_frechet_is_that_of_the_matrix_square_root():
    a, b = statistics(rng.standard_normal((60, 12))), statistics(rng.uniform(-1, 2, (80, 12)))
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance).real
    expected = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance + b.covariance - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_moments_in_batches_far_from_zero():
    x = rng.standard_normal((100, 6)).astype(np.float32) + np.float32(3000)
    halves = []
    for part in (x[:60], x[60:]):
        state = frechet.init(6)
        for batch in (part[:1], part[1:33], part[33:33], part[33:]):
            state = frechet.update(state, batch)
        halves.append(state)
    merged = frechet.merge(*halves)
    mean, covariance = frechet.compute(merged)
    assert merged.count == 100
    np.testing.assert_allclose(mean, x.mean(0, dtype=np.float64))
    np.testing.assert_allclose(
        covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-9, atol=1e-12
    )
    assert (
        frechet.merge(frechet.init(6), merged) is merged is frechet.merge(merged, frechet.init(6))
    )


def test_statistics_that_do_not_exist():
    with pytest.raises(UserError, match="at least 2 pictures of each set, got 1"):
        statistics(np.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"\[n, d\], got \(4,\)"):
        statistics(np.zeros(4))
    with pytest.raises(ValueError, match=r"\[n, 3\], got \(2, 4\)"):
        frechet.update(frechet.init(3), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="not finite"):
        statistics(np.array([[0.0, np.nan], [1, 2]]))
    with pytest.raises(ValueError, match="of 3 and 4 numbers"):
        frechet_distance(statistics(np.eye(3)), statistics(np.eye(4)))


# Sliced Wasserstein distance


def test_pyramid_is_that_of_scipy():
    """Stuffing with zeros.

    The 5x5 binomial filter and mirrored borders as scipy.ndimage has them.
    """
    window = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    x = pictures(1, 32)
    levels = swd.laplacian_pyramid(jnp.asarray(x))
    assert [level.shape for level in levels] == [(1, 32, 32, 3), (1, 16, 16, 3)]
    for c in range(3):
        channel = x[0, :, :, c].astype(np.float64)
        small = scipy.ndimage.convolve(channel, window, mode="mirror")[::2, ::2]
        stuffed = np.zeros((32, 32))
        stuffed[::2, ::2] = small
        np.testing.assert_allclose(levels[1][0, ..., c], small, atol=1e-3)
        up = scipy.ndimage.convolve(stuffed, 4 * window, mode="mirror")
        np.testing.assert_allclose(levels[0][0, ..., c], channel - up, atol=1e-3)


def test_patches_and_their_normalisation():
    level = np.arange(2 * 9 * 10 * 2, dtype=np.float32).reshape(2, 9, 10, 2)
    found = swd.patches(level, np.array([[3, 4], [6, 5], [4, 3], [5, 5]])).reshape(4, 2, 7, 7)
    np.testing.assert_array_equal(found[1, 1], level[0, 2:9, 3:10, 1].T)
    np.testing.assert_array_equal(found[2, 0], level[1, 0:7, 1:8, 0].T)
    x = swd.normalised(found.reshape(4, -1)).reshape(4, 2, 49)
    np.testing.assert_allclose(x.mean((0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std((0, 2)), 1, rtol=1e-5)


def test_sliced_distance_of_shifted_sets():
    """A shift by v moves every projection on u by u.v, whatever the length of u.

    The order of a set does not matter.
    """
    a = rng.standard_normal((30, 4)).astype(np.float32)
    directions = np.diag([1.0, 5.0, 0.1, 2.0])
    shifted = (a + np.array([1, -2, 3, 0], np.float32))[::-1]
    assert swd.sliced_distance(a, shifted, directions) == pytest.approx(
        (1 + 2 + 3 + 0) / 4, rel=1e-5
    )


def test_sliced_wasserstein_looks_at_both_sets_in_the_same_places():
    x, key = pictures(6), jax.random.key(3)
    assert swd.sliced_wasserstein(x, x, key, 64, 2, 16)["mean"] == 0
    # Descriptors are normalised by their own set's mean and deviation: contrast and brightness of
    # the whole set do not count where both sides have the same patches.
    other = (0.5 * x + 20).astype(np.float32)
    assert swd.sliced_wasserstein(x, other, key, 64, 2, 16)["mean"] < 0.01


def test_sliced_wasserstein_of_plain_pictures_is_that_of_their_colours():
    # A patch of a plain picture is one number z, 147 times: its projection on a unit vector u is z
    # times the sum of u, whose mean length is sqrt(d) G(d/2) / sqrt(pi) G((d+1)/2).
    levels = np.float32([0, 10, 30, 200]), np.float32([0, 90, 100, 110])
    sets = [np.broadcast_to(x[:, None, None, None], (4, 16, 16, 3)) for x in levels]
    z = [np.sort((x - x.mean()) / x.std()) for x in levels]
    d = 3 * 49
    mean = np.exp(scipy.special.gammaln(d / 2) - scipy.special.gammaln((d + 1) / 2))
    expected = 1000 * np.abs(z[0] - z[1]).mean() * np.sqrt(d / np.pi) * mean
    found = swd.sliced_wasserstein(*sets, jax.random.key(0), 4, 4, 2048)
    assert found["mean"] == pytest.approx(expected, rel=0.03)
    plain = np.full((2, 16, 16, 3), 7, np.float32)
    assert swd.sliced_wasserstein(plain, plain, jax.random.key(0), 4, 1, 8)["mean"] == 0


def test_sliced_wasserstein_of_sets():
    real, fake, key = pictures(6), pictures(6, seed=1), jax.random.key(0)
    smooth = scipy.ndimage.gaussian_filter(fake, (0, 2, 2, 0))
    near, far = (swd.sliced_wasserstein(real, x, key, 64, 2, 16, batch=4) for x in (fake, smooth))
    assert set(near) == {"32", "16", "mean"} and near["mean"] == pytest.approx(
        (near["32"] + near["16"]) / 2
    )
    assert far["mean"] > 1.2 * near["mean"]
    assert swd.sliced_wasserstein(real, fake, key, 64, 2, 16, batch=5) == near
    assert swd.sliced_wasserstein(real, fake, jax.random.key(1), 64, 2, 16) != near


def test_identical_sets_of_patches_have_no_distance():
    x = rng.standard_normal((20, 147)).astype(np.float32)
    directions = [rng.standard_normal((147, 5)) for _ in range(2)]
    assert swd.level_distance(x, x[::-1], directions) < 1e-3
    y = rng.standard_normal((20, 147)).astype(np.float32)
    assert swd.level_distance(x, y, directions) == swd.level_distance(y, x, directions) > 1


def test_pictures_without_a_pyramid():
    for shape in ((1, 24, 24, 3), (1, 32, 16, 3), (1, 8, 8, 3)):
        with pytest.raises(ValueError, match="square, a power of two and at least 16 px"):
            swd.laplacian_pyramid(jnp.zeros(shape))
    with pytest.raises(ValueError, match="one shape, got"):
        swd.sliced_wasserstein(pictures(2), pictures(3), jax.random.key(0))
    with pytest.raises(ValueError, match="3 centres cannot be divided evenly among 2 pictures"):
        swd.patches(pictures(2), np.full((3, 2), 5))
    with pytest.raises(ValueError, match="sets of patches must have one shape"):
        swd.sliced_distance(np.zeros((2, 4), np.float32), np.zeros((3, 4), np.float32), np.eye(4))
