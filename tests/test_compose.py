"""Composition: exactness of the blend, mask operations against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from diffcam_jax.editing.compose import (
    MaskConfig,
    blend,
    combine,
    dilate,
    feather,
    refine,
    resize_mask,
    support,
    training_mask,
    with_user_mask,
)

RNG = np.random.default_rng(0)
MASK = jnp.asarray(np.pad(RNG.random((2, 20, 24)), ((0, 0), (20, 20), (20, 20))).astype(np.float32))


def test_blend_is_eq_5_and_exact_at_zero_and_one():
    original, edited = RNG.standard_normal((2, 1, 4, 5, 3)).astype(np.float32)
    mask = RNG.random((1, 4, 5)).astype(np.float32)
    mask[0, 0], mask[0, 1] = 0, 1
    fused = np.asarray(
        jax.jit(blend)(jnp.asarray(original), jnp.asarray(edited), jnp.asarray(mask))
    )
    expected = edited.astype(np.float64) * mask[..., None] + original * (
        1 - mask[..., None].astype(np.float64)
    )
    np.testing.assert_allclose(fused, expected, atol=1e-6)
    np.testing.assert_array_equal(fused[0, 0], original[0, 0])
    np.testing.assert_array_equal(fused[0, 1], edited[0, 1])
    broken = jnp.full_like(edited, jnp.nan)
    np.testing.assert_array_equal(
        blend(jnp.asarray(original), broken, jnp.zeros((1, 4, 5))), original
    )


def test_training_mask_folds_at_half():
    mask = jnp.array([[[0.0, 0.25, 0.5, 0.6, 1.0]]])
    np.testing.assert_allclose(training_mask(mask)[0, 0], [0, 0.25, 0.5, 0.4, 0], atol=1e-7)


def test_combine_and_user_mask():
    masks = jnp.asarray(RNG.random((3, 2, 4, 4)), jnp.float32)
    np.testing.assert_array_equal(combine(masks), np.max(masks, axis=0))
    user = (masks[1] > 0.5).astype(jnp.float32)
    np.testing.assert_array_equal(
        with_user_mask(masks[0], user, "union"), np.where(user == 1, 1, masks[0])
    )
    np.testing.assert_array_equal(
        with_user_mask(masks[0], user, "intersection"), np.where(user == 1, masks[0], 0)
    )
    with pytest.raises(ValueError, match="xor"):
        with_user_mask(masks[0], user, "xor")


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 7, 13])
def test_dilation_matches_scipy(radius):
    size = 2 * radius + 1
    np.testing.assert_array_equal(
        dilate(MASK, radius), ndimage.maximum_filter(MASK, (1, size, size), mode="nearest")
    )


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 8, 15])
def test_feather_matches_scipy(radius):
    expected = np.asarray(MASK, np.float64)
    for axis in (1, 2):
        for r in (radius // 2, radius - radius // 2):
            expected = ndimage.uniform_filter1d(expected, 2 * r + 1, axis=axis, mode="nearest")
    ours = np.asarray(jax.jit(feather, static_argnums=1)(MASK, radius))
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert ours.min() >= 0 and ours.max() <= 1


def test_refined_mask_is_exactly_zero_beyond_its_support():
    config = MaskConfig(low=0.5, high=0.9, dilation=3, feather=6)
    mask = np.zeros((1, 60, 60), np.float32)
    mask[0, 26:35, 24:33] = 0.95
    mask[0, 5, 5] = 0.45  # below the threshold
    refined = np.asarray(jax.jit(refine, static_argnums=1)(jnp.asarray(mask), config))[0]
    assert support(config) == 9
    rows, columns = np.nonzero(refined)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (17, 43, 15, 41)
    assert refined[30, 28] == pytest.approx(1, abs=1e-6)


def test_default_config_is_the_official_mask():
    np.testing.assert_array_equal(refine(MASK, MaskConfig()), MASK)
    up = resize_mask(MASK, (240, 256), "nearest")
    np.testing.assert_array_equal(up, np.asarray(MASK).repeat(4, 1).repeat(4, 2))


def test_a_mask_at_the_border_does_not_fade_there():
    mask = np.zeros((1, 16, 16), np.float32)
    mask[:, :, :8] = 1
    refined = np.asarray(refine(jnp.asarray(mask), MaskConfig(feather=4)))
    np.testing.assert_allclose(refined[0, :, 0], 1, atol=1e-6)


@pytest.mark.parametrize("bad", [{"low": 0.6, "high": 0.5}, {"low": -0.1}, {"feather": -1}])
def test_impossible_knobs_are_refused(bad):
    with pytest.raises(ValueError, match="mask"):
        MaskConfig(**bad)
