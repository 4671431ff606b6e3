"""Adaptive augmentation: known maps by NumPy and SciPy, the distribution of the draws, exact
gradients.
"""

import colorsys
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from diffcam_jax.ops.ada import augment, draw_affine, draw_colours, recolour, resample


def pictures(b: int, h: int, w: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (b, h, w, 3)), jnp.float32)


def matrix(rows: list[list[float]]) -> jax.Array:
    return jnp.array([[*rows, [0.0, 0.0, 1.0]]])


def test_resampling_is_scipys_with_mirrored_borders():
    image = pictures(1, 7, 9)
    rows = [[0.8, -0.5, 2.3], [0.6, 1.4, -1.7]]
    y, x = np.mgrid[:7, :9]
    places = np.asarray(rows) @ np.stack([x.ravel() - 4, y.ravel() - 3, np.ones(63)]) + [[4], [3]]
    expected = [
        map_coordinates(
            np.asarray(image[0, ..., c], np.float64), places[::-1], order=1, mode="mirror"
        ).reshape(7, 9)
        for c in range(3)
    ]
    np.testing.assert_allclose(resample(image, matrix(rows))[0], np.stack(expected, -1), atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "known"),
    [
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], lambda x: x),
        ([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], lambda x: x[:, :, ::-1]),
        ([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]], lambda x: np.rot90(x, axes=(1, 2))),
        (
            [[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]],
            lambda x: np.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)), "reflect")[:, :-1, 2:],
        ),
    ],
)
def test_flips_turns_and_whole_shifts_move_pixels_only(rows, known):
    image = pictures(1, 6, 6)
    np.testing.assert_allclose(resample(image, matrix(rows)), known(np.asarray(image)), atol=1e-6)


def test_without_probability_nothing_changes():
    images = pictures(3, 8, 8)
    np.testing.assert_allclose(jax.jit(augment)(jax.random.key(0), images, 0.0), images, atol=1e-5)


def test_each_picture_has_draws_of_its_own_and_the_key_decides():
    images = jnp.broadcast_to(pictures(1, 8, 8), (4, 8, 8, 3))
    run = jax.jit(augment)
    first, again, other = (run(jax.random.key(k), images, 1.0) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert float(jnp.abs(first - other).max()) > 0.1
    assert min(float(jnp.abs(first[i] - first[j]).max()) for i in range(4) for j in range(i)) > 0.1


def test_affine_draws_follow_the_paper():
    count = 20000
    matrices = np.asarray(
        jax.jit(lambda k: draw_affine(k, count, (64, 64), 1.0))(jax.random.key(0)), np.float64
    )
    linear = matrices[:, :2, :2]
    area = np.abs(np.linalg.det(linear))
    # The isotropic zoom alone changes the area: its base-2 logarithm is twice a normal number of
    # deviation 0.2.
    assert np.log2(area).mean() == pytest.approx(0, abs=0.01)
    assert np.log2(area).std() == pytest.approx(0.4, abs=0.01)
    assert np.mean(np.linalg.det(linear) < 0) == pytest.approx(0.5, abs=0.02)
    stretch = np.linalg.svd(linear, compute_uv=False)
    assert np.log2(stretch[:, 0] / stretch[:, 1]).mean() == pytest.approx(
        2 * 0.2 * math.sqrt(2 / math.pi), abs=0.01
    )
    angle = np.arctan2(linear[:, 1, 0], linear[:, 0, 0])
    assert np.abs(np.exp(1j * angle).mean()) < 0.03
    # Shifts in the old picture's pixels: whole ones uniform in +-8, parts normal with deviation 8,
    # the latter seen through the zoom.
    spread = 8**2 / 3 + 8**2 * np.mean(stretch**2)
    assert matrices[:, :2, 2].var() == pytest.approx(spread, rel=0.05)


def test_affine_changes_are_as_likely_as_asked():
    matrices = np.asarray(
        jax.jit(lambda k: draw_affine(k, 20000, (64, 64), 0.3))(jax.random.key(1))
    )
    linear = matrices[:, :2, :2]
    assert np.mean(np.linalg.det(linear) < 0) == pytest.approx(0.15, abs=0.01)
    # Untouched: no flip, no turn (a quarter of the turns is none), no zoom, no stretch, no rotation
    # before or after.
    untouched = (np.abs(linear - np.eye(2)) < 1e-6).all((1, 2))
    assert untouched.mean() == pytest.approx(
        (1 - 0.15) * (1 - 0.3 * 3 / 4) * 0.7 * 0.7 * 0.7, abs=0.012
    )
    still = (np.abs(matrices[:, :2, 2]) < 1e-6).all(1)
    assert still.mean() == pytest.approx(0.7 * 0.7, abs=0.015)


def test_colours_keep_what_they_should():
    matrices = np.asarray(draw_colours(jax.random.key(0), 4000, 1.0), np.float64)
    grey = np.array([0.3, 0.3, 0.3, 1.0])
    assert np.ptp((matrices @ grey)[:, :3], axis=1).max() < 1e-5  # grey stays grey
    np.testing.assert_array_equal(matrices[:, 3], np.tile([0, 0, 0, 1], (4000, 1)))
    linear = matrices[:, :3, :3]
    contrast = linear.sum(2).mean(1)  # what lightness is multiplied by
    assert np.mean(contrast < 0) == pytest.approx(0.5, abs=0.03)
    assert np.log2(np.abs(contrast)).std() == pytest.approx(0.5, abs=0.02)
    # The determinant holds the contrast three times, the saturation twice, each with its deviation.
    saturation = np.log2(np.abs(np.linalg.det(linear) / contrast**3)) / 2
    assert saturation.std() == pytest.approx(1.0, abs=0.04)
    assert (matrices[:, 0, 3] / contrast).std() == pytest.approx(0.2, abs=0.01)
    red = linear[:, :, 0] / contrast[:, None]
    across = red - red.mean(1, keepdims=True)
    hues = np.array([colorsys.rgb_to_hsv(*(0.5 + 0.3 * c / np.abs(c).max()))[0] for c in across])
    assert np.abs(np.exp(2j * np.pi * hues).mean()) < 0.05  # all as likely
    assert np.histogram(hues, 6, (0, 1))[0].min() > 500


def test_recolouring_is_the_matrix_on_every_pixel():
    rng = np.random.default_rng(0)
    images, matrices = pictures(2, 3, 4), jnp.asarray(rng.standard_normal((2, 4, 4)), jnp.float32)
    homogeneous = np.concatenate([images, np.ones((2, 3, 4, 1))], -1)
    expected = np.einsum("bij,bhwj->bhwi", np.asarray(matrices), homogeneous)[..., :3]
    np.testing.assert_allclose(recolour(images, matrices), expected, atol=1e-5)


def test_gradients_are_exact_to_second_order():
    """The augmentation is affine: the squared norm of the gradient of k * sum(result * g) is k^2
    times a constant.
    """
    images, g, key = pictures(2, 6, 6), pictures(2, 6, 6, seed=1), jax.random.key(4)

    @jax.jit
    def derivatives(k):
        def gradient(k):
            return jax.grad(lambda x: k * (augment(key, x, 1.0) * g).sum())(images)

        change = augment(key, images, 1.0) - augment(key, jnp.zeros_like(images), 1.0)
        return gradient(1.0), (change * g).sum(), jax.grad(lambda k: (gradient(k) ** 2).sum())(k)

    gradient, change, slope = derivatives(3.0)
    np.testing.assert_allclose((gradient * images).sum(), change, rtol=1e-4)
    np.testing.assert_allclose(slope, 6 * (gradient**2).sum(), rtol=1e-4)
