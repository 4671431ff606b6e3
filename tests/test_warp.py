"""Warps and resizes against NumPy that goes pixel by pixel, and against what they must do by
definition.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from diffcam_jax.ops.warp import grid_sample, resize, shifted

RNG = np.random.default_rng(0)


def pixel(x, row, column):
    """A map's value, zero outside."""
    inside = 0 <= row < x.shape[0] and 0 <= column < x.shape[1]
    return x[row, column] if inside else np.zeros(x.shape[2])


def sampled(x, places, align_corners):
    """[h, w, c] float64 at places [h2, w2, 2], one after the other."""
    h, w, c = x.shape
    out = np.zeros((*places.shape[:2], c))
    for i, j in np.ndindex(*places.shape[:2]):
        u, v = places[i, j]
        column, row = (
            ((u + 1) / 2 * (w - 1), (v + 1) / 2 * (h - 1))
            if align_corners
            else ((u * w + w - 1) / 2, (v * h + h - 1) / 2)
        )
        for k, m in np.ndindex(2, 2):
            r, s = int(np.floor(row)) + k, int(np.floor(column)) + m
            out[i, j] += pixel(x, r, s) * (1 - abs(row - r)) * (1 - abs(column - s))
    return out


def cubic(t):
    """Keys' kernel with a = -3/4, written out."""
    t = abs(t)
    return (
        1.25 * t**3 - 2.25 * t**2 + 1
        if t <= 1
        else -0.75 * t**3 + 3.75 * t**2 - 6 * t + 3
        if t < 2
        else 0.0
    )


def resized(x, size, method, align_corners):
    """One axis after the other, one sample after the other, the border's pixel repeated."""
    for axis, target in enumerate(size):
        source, rows = x.shape[axis], []
        for i in range(target):
            place = (
                i * (source - 1) / (target - 1)
                if align_corners
                else (i + 0.5) * source / target - 0.5
            )
            low = int(np.floor(place))
            near = range(low, low + 2) if method == "bilinear" else range(low - 1, low + 3)
            weights = [
                1 - abs(place - k) if method == "bilinear" else cubic(place - k) for k in near
            ]
            rows.append(
                sum(w * np.take(x, min(max(k, 0), source - 1), axis) for k, w in zip(near, weights))
            )
        x = np.stack(rows, axis)
    return x


@pytest.mark.parametrize("align_corners", [False, True])
def test_sampling_pixel_by_pixel(align_corners):
    x = RNG.standard_normal((2, 5, 7, 3)).astype(np.float32)
    places = RNG.uniform(-1.6, 1.6, (2, 4, 6, 2)).astype(np.float32)  # outside as well
    ours = grid_sample(jnp.asarray(x), jnp.asarray(places), align_corners)
    expected = [sampled(a.astype(float), b.astype(float), align_corners) for a, b in zip(x, places)]
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_resizing_sample_by_sample(method, align_corners):
    x = RNG.standard_normal((5, 7, 2)).astype(np.float32)
    for size in ((10, 14), (13, 7), (3, 4)):
        ours = resize(jnp.asarray(x[None]), size, method, align_corners)[0]
        np.testing.assert_allclose(
            ours, resized(x.astype(float), size, method, align_corners), atol=1e-5
        )


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_corners_meet(method):
    x = jnp.asarray(RNG.standard_normal((1, 4, 5, 1)), jnp.float32)
    wide = resize(x, (7, 13), method, align_corners=True)
    np.testing.assert_allclose(wide[:, ::6, ::12], x[:, ::3, ::4], atol=1e-6)
    np.testing.assert_allclose(
        wide[:, ::2, ::3], x, atol=1e-6
    )  # every grid line of the coarse map is one of the fine map


@given(
    st.integers(1, 9), st.integers(1, 9), st.sampled_from(["bilinear", "bicubic"]), st.booleans()
)
@settings(max_examples=25, deadline=None)
def test_a_constant_stays(height, width, method, align_corners):
    x = jnp.full((1, 4, 3, 2), 2.5)
    np.testing.assert_allclose(resize(x, (height, width), method, align_corners), 2.5, rtol=1e-6)


def test_another_method_is_refused():
    with pytest.raises(
        ValueError, match="resize method 'nearest': allowed are bilinear and bicubic"
    ):
        resize(jnp.zeros((1, 2, 2, 1)), (4, 4), "nearest")


@given(st.integers(-3, 3), st.integers(-3, 3))
@settings(max_examples=20, deadline=None)
def test_whole_pixels_are_moved_as_they_are(rows, columns):
    x = np.random.default_rng(1).standard_normal((1, 6, 8, 2)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)))
    shift = jnp.broadcast_to(
        jnp.asarray([columns * 2 / 7, rows * 2 / 5], jnp.float32), (1, 6, 8, 2)
    )
    expected = padded[:, 3 + rows : 9 + rows, 3 + columns : 11 + columns]
    np.testing.assert_allclose(shifted(jnp.asarray(x), shift), expected, atol=2e-5)


def test_the_official_convention_is_no_identity():
    """Places of one convention read by the other: enlarged by w / (w - 1) about the centre, halves
    of zeros in the corners.
    """
    x = jnp.ones((1, 5, 5, 1))
    ours = np.asarray(shifted(x, jnp.zeros((1, 5, 5, 2)), align_corners=False))[0, :, :, 0]
    line = np.array([0.5, 1, 1, 1, 0.5])
    np.testing.assert_allclose(ours, np.outer(line, line), atol=1e-6)
    np.testing.assert_allclose(shifted(x, jnp.zeros((1, 5, 5, 2))), x, atol=1e-6)


@pytest.mark.parametrize("align_corners", [False, True])
def test_gradients_are_those_of_small_changes(align_corners):
    x = jnp.asarray(RNG.standard_normal((2, 4, 5, 2)), jnp.float32)
    # Between pixels, where the map is smooth; some places outside.
    cells = RNG.integers(-2, 6, (2, 3, 4, 2)) + RNG.uniform(0.2, 0.8, (2, 3, 4, 2))
    size = np.array([5, 4])
    places = cells * 2 / (size - 1) - 1 if align_corners else (2 * cells + 1) / size - 1
    places = jnp.asarray(places, jnp.float32)

    def sample(x, places):
        return grid_sample(jnp.asarray(x), jnp.asarray(places), align_corners)

    check_grads(sample, (x, places), 1, ["rev"], eps=1e-2)
    check_grads(
        lambda x: resize(jnp.asarray(x), (7, 6), "bicubic", align_corners),
        (x,),
        1,
        ["rev"],
        eps=1e-1,
    )


def test_a_batch_is_sampled_picture_by_picture():
    x, places = (
        jnp.asarray(RNG.standard_normal((3, 4, 4, 2)), jnp.float32),
        jnp.asarray(RNG.uniform(-1, 1, (3, 5, 5, 2)), jnp.float32),
    )
    together = jax.jit(grid_sample)(x, places)
    one = [grid_sample(x[i : i + 1], places[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(together, jnp.stack(one), atol=1e-6)
