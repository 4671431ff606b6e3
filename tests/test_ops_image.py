"""Ranges and resizes against closed forms, SciPy and values computed with torch's F.interpolate."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from diffcam_jax.ops.image import from_unit, quantise, resize, to_unit

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integer_pictures_survive_the_round_trip(dtype):
    top = np.iinfo(dtype).max
    pixels = np.arange(top + 1, dtype=dtype).reshape(1, -1, 1).repeat(3, axis=2)
    images = to_unit(pixels)
    assert (
        images.dtype == np.float32
        and images.min() == -1
        and images.max() == pytest.approx(1, abs=1e-6)
    )
    np.testing.assert_array_equal(from_unit(images, dtype), pixels)
    np.testing.assert_array_equal(from_unit(np.float32([-3, 7]), dtype), [0, top])


def test_bilinear_matches_torch_at_the_borders():
    # torch: F.interpolate(tensor([0., 10, 20, 40]), scale_factor=2, mode="bilinear"): centres at
    # -0.25, 0.25, 0.75, ...
    x = jnp.array([[[0.0, 10.0, 20.0, 40.0]]]).transpose(0, 2, 1)
    expected = [0, 2.5, 7.5, 12.5, 17.5, 25, 35, 40]
    np.testing.assert_allclose(resize(x, (8, 1))[0, :, 0], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(37, 50), (16, 16), (5, 9), (12, 12)])
def test_bilinear_matches_scipy(size):
    x = RNG.standard_normal((2, 12, 16)).astype(np.float32)
    rows = (np.arange(size[0]) + 0.5) * 12 / size[0] - 0.5
    columns = (np.arange(size[1]) + 0.5) * 16 / size[1] - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    expected = np.stack([ndimage.map_coordinates(m, grid, order=1, mode="nearest") for m in x])
    np.testing.assert_allclose(resize(jnp.asarray(x), size), expected, atol=1e-5)


def test_nearest_repeats_and_drops_pixels():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    expected = np.kron([[0, 1, 2], [3, 4, 5]], np.ones((2, 2)))
    np.testing.assert_array_equal(resize(x, (4, 6), "nearest")[0, :, :, 0], expected)
    # floor(i * 5 / 3) = 0, 1, 3
    np.testing.assert_array_equal(
        resize(jnp.arange(5.0).reshape(1, 1, 5), (1, 3), "nearest")[0, 0], [0, 1, 3]
    )


def test_area_is_the_block_mean():
    x = RNG.standard_normal((1, 12, 8, 3)).astype(np.float32)
    expected = x.reshape(1, 3, 4, 2, 4, 3).mean((2, 4))
    np.testing.assert_allclose(resize(jnp.asarray(x), (3, 2), "area"), expected, atol=1e-6)
    # Adaptive cells of 5 -> 3: [0,2), [1,4), [3,5)
    np.testing.assert_allclose(
        resize(jnp.arange(5.0).reshape(1, 1, 5), (1, 3), "area")[0, 0], [0.5, 2, 3.5], atol=1e-6
    )


def test_unknown_method_is_named():
    with pytest.raises(ValueError, match="cubic"):
        resize(jnp.zeros((1, 2, 2)), (4, 4), "cubic")


def test_quantise_is_from_unit():
    images = np.random.default_rng(0).uniform(-1.2, 1.2, (4, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(quantise(jnp.asarray(images)), from_unit(images))
