"""Where edits act, from pixels: changes, averages, and the prior of classes of a known place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from diffcam_jax.train import places

SIDE, CELLS = 256, 32
BOXES = {"top": (32, 96, 64, 192), "bottom": (160, 224, 64, 192)}
MIDDLE = (32, 224, 48, 208)
NAMES = (*BOXES, "all")


def face(seed):
    """A picture and three edits: noise at the top, at the bottom, or nearly everywhere."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(60, 190, (SIDE, SIDE, 3)).astype(np.float32)
    edits = [picture + rng.normal(0, 3, picture.shape) * rng.random() for _ in range(3)]
    for edit, (top, bottom, left, right) in zip(edits, [*BOXES.values(), MIDDLE], strict=True):
        edit[top:bottom, left:right] += rng.normal(0, 30, (bottom - top, right - left, 3))
    return np.rint(np.clip([picture, *edits], 0, 255)).astype(np.uint8)


def changes(seed):
    return np.asarray(places.sample_changes(jnp.asarray(face(seed))))


@pytest.fixture(scope="module")
def known():
    return places.learn((changes(i) for i in range(4)), NAMES, places.PlaceConfig(whole=("all",)))


def test_changes_have_mean_one_whatever_the_strength():
    images = jnp.asarray(face(9), jnp.float32) / 127.5 - 1
    before, after = jnp.broadcast_to(images[:1], images[1:].shape), images[1:]
    found = np.asarray(jax.jit(places.changes)(before, after))
    assert found.shape == (2, 3, CELLS, CELLS)
    np.testing.assert_allclose(found.mean((2, 3)), 1, rtol=1e-3)
    np.testing.assert_allclose(found, changes(9), atol=1e-5)
    weaker = np.asarray(jax.jit(places.changes)(before, before + 0.3 * (after - before)))
    np.testing.assert_allclose(weaker, found, atol=2e-3)
    np.testing.assert_array_equal(places.changes(before, before), 0)


def test_a_change_of_brightness_is_no_change_of_details():
    before = jnp.asarray(face(0)[:1], jnp.float32) / 127.5 - 1
    colour, detail = np.asarray(places.changes(before, before + 0.2))
    np.testing.assert_allclose(colour, 1, atol=1e-3)
    np.testing.assert_allclose(
        detail, 0, atol=0.3
    )  # rounding alone, scaled up to mean 1 at most where there is any


def test_smoothing_is_scipys():
    maps = np.random.default_rng(0).random((2, 9, 7))
    expected = maps
    for axis in (1, 2):
        expected = ndimage.convolve1d(expected, [0.25, 0.5, 0.25], axis=axis, mode="nearest")
    np.testing.assert_allclose(places.smoothed(maps), expected, atol=1e-12)


def test_the_prior_is_the_place_of_the_edit(known):
    prior = known.prior(changes(9), np.arange(3))
    assert (
        prior.shape == (3, CELLS, CELLS)
        and prior.dtype == np.float32
        and prior.min() >= 0
        and prior.max() <= 1
    )
    for of, (top, bottom, left, right) in zip(prior[:2], BOXES.values(), strict=True):
        inside = np.zeros((CELLS, CELLS), bool)
        inside[top // 8 : bottom // 8, left // 8 : right // 8] = True
        assert (
            of[inside].mean() > 0.8
            and of[~ndimage.binary_dilation(inside, iterations=2)].max() < 0.2
        )
    np.testing.assert_array_equal(prior[2], known.head)


def test_the_head_is_at_most_half_of_the_grid_and_where_faces_agree(known):
    assert (known.head > 0).mean() <= 0.51 and (known.head == 1).mean() >= 0.3
    centre = np.array(ndimage.center_of_mass(known.head))
    assert np.abs(centre - (CELLS - 1) / 2).max() < 3
