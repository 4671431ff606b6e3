"""The product's edit of a window: where it acts, where the photograph stays, what a mask by hand
changes.
"""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.editing import window_edit
from diffcam_jax.editing.classifier import Classifier
from diffcam_jax.editing.config import EditConfig, WindowConfig
from diffcam_jax.editing.window_edit import Attributes
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.window import Window
from tests.fast import fast
from tests.random_variables import random_variables

missed = fast(window_edit.missed, static_argnums=3)
edit_window = fast(window_edit.edit_window, static_argnames="config")
SIDE, SIZE, PARTS = 128, 64, 64  # the photograph, the classifier's picture, cells
PLACE = Window(jnp.int32(10), jnp.int32(20), 28, 32)
WINDOW = WindowConfig(cam=0.05, rim=2)
NOTHING = jnp.zeros((2, SIZE, SIZE))  # of the shapes is kept


@functools.cache
def classifier():
    model = DiffClassifier(depth=18, width=4, num_classes=2, split=1)
    picture = jnp.zeros((1, SIZE, SIZE, 3))
    variables = random_variables(model, picture, picture)
    # Positive weights over positive activations: every map has something to show.
    variables["params"]["fc"]["kernel"] = jnp.abs(variables["params"]["fc"]["kernel"])
    return Classifier(Network(model, variables))


@functools.cache
def scene():
    """Photographs, the windows of I' and of two edits."""
    rng = np.random.default_rng(4)
    images = rng.uniform(-1, 1, (2, SIDE, SIDE, 3)).astype(np.float32)
    inverted = images[:, 20:76, 40:104] * np.float32(0.8)
    windows = [inverted]
    for where in (np.s_[:, 10:40, 10:30], np.s_[:, 20:50, 30:54]):
        windows.append(windows[-1].copy())
        windows[-1][where] += np.float32(0.7)
    return images, windows


def edited(may=None, window=WINDOW, place=PLACE, by_hand=None, **choices):
    images, windows = scene()
    may = np.ones((2, 2, SIZE, SIZE), np.float32) if may is None else may
    attributes = Attributes(jnp.array([0, 1]), jnp.array([False, True]), jnp.asarray(may), NOTHING)
    config = EditConfig(window=window, **choices)
    return edit_window(classifier(), images, windows, place, attributes, config, by_hand)


def test_outside_the_mask_is_the_photograph_bit_for_bit():
    images = scene()[0]
    found = edited()
    mask, fused, source = (np.asarray(x) for x in (found.mask, found.fused, found.source))
    assert (
        mask.shape == (2, SIDE, SIDE)
        and found.logits.shape == (2, 2, 2)
        and found.cam_mask.shape == (2, SIZE, SIZE)
    )
    assert (
        0.01 < (mask > 0).mean() < 0.215
        and (mask == 1).any()
        and mask.max() == 1
        and mask.min() == 0
    )
    np.testing.assert_array_equal(fused[mask == 0], images[mask == 0])
    around = np.ones((SIDE, SIDE), bool)
    around[20:76, 40:104] = False
    assert not mask[:, around].any()
    np.testing.assert_array_equal(source[:, around], images[:, around])
    # Eq. 5 within.
    blend = mask[..., None] * source + (1 - mask[..., None]) * images
    np.testing.assert_allclose(fused, blend, atol=1e-6)
    assert (fused != images).any(-1)[mask > 0.5].mean() > 0.9
    assert np.abs(source).max() <= 1


def test_a_mask_ends_at_the_sides_of_its_window():
    """Whatever the change at the border of the window: the mask rises from 0 within a cell."""
    window = WindowConfig(cam=0.0, rim=2, least=-1.0, share=-1.0)  # a core everywhere
    mask = np.asarray(edited(window=window).mask)
    within = mask[:, 20:76, 40:104]
    assert within[:, 10:-10, 10:-10].min() == 1
    for edge in (within[:, 0], within[:, -1], within[:, :, 0], within[:, :, -1]):
        assert edge.max() <= 0.26  # a quarter of a cell in
    # At the picture's own sides it does not end.
    corner = Window(jnp.int32(0), jnp.int32(0), 28, 32)
    mask = np.asarray(edited(window=window, place=corner).mask)
    assert mask[:, 0, :50].min() == 1 and mask[:, :40, 0].min() == 1
    assert not mask[:, 56:].any() and not mask[:, :, 64:].any()


@pytest.mark.parametrize("rim", [2, 9])
def test_where_nothing_may_change_the_mask_is_exactly_0(rim):
    may = np.zeros((2, 2, SIZE, SIZE), np.float32)
    may[:, 0, 15:24, 25:40] = 1
    may[:, 1, 20:28, 30:44] = 0.7
    window = WindowConfig(cam=0.05, rim=rim)
    found = edited(may, window)
    mask, images = np.asarray(found.mask), scene()[0]
    # A place is two pixels a side, and enlarging reaches one pixel beyond it.
    free = np.zeros((SIDE, SIDE), bool)
    free[29:49, 49:81] = free[39:57, 59:89] = True
    assert mask[:, free].max() > 0.9
    assert not mask[:, ~free].any()
    np.testing.assert_array_equal(np.asarray(found.fused)[:, ~free], images[:, ~free])
    nothing = edited(0 * may, window)
    assert not np.asarray(nothing.mask).any()
    np.testing.assert_array_equal(nothing.fused, images)


def test_a_mask_by_hand_confines_or_adds():
    images, plain = scene()[0], np.asarray(edited().mask)
    by_hand = np.zeros((2, SIDE, SIDE), np.float32)
    by_hand[:, :, :72] = 0.5
    found = edited(by_hand=jnp.asarray(by_hand))
    np.testing.assert_array_equal(found.mask, np.minimum(plain, by_hand))
    assert np.asarray(found.mask).any()
    np.testing.assert_array_equal(np.asarray(found.fused)[:, :, 72:], images[:, :, 72:])
    added = np.asarray(edited(by_hand=jnp.asarray(by_hand), user_mask="union").mask)
    within = np.s_[:, 20:76, 40:104]
    np.testing.assert_array_equal(added[within], np.maximum(plain, by_hand)[within])


def test_an_edit_that_is_undone_is_seen_the_other_way_round():
    """Taking an attribute away shows the classifier the pair with its pictures exchanged."""
    images, windows = scene()
    may, config = jnp.ones((2, 1, SIZE, SIZE)), EditConfig(window=WINDOW)
    there, back = (
        edit_window(
            classifier(),
            images,
            given,
            PLACE,
            Attributes(jnp.array([1]), jnp.array([undo]), may, NOTHING),
            config,
        )
        for given, undo in ((windows[:2], False), (windows[1::-1], True))
    )
    np.testing.assert_allclose(there.logits, back.logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(there.cam_mask, back.cam_mask, atol=1e-5)
    assert np.asarray(there.cam_mask).max() == 1


def test_what_the_window_misses_is_known():
    images = scene()[0]
    drawn = images[:, 20:76, 40:104].copy()
    drawn[:, 20:40, 20:44] += np.float32(0.5)
    found = np.asarray(missed(images, drawn, PLACE, SIZE))
    # The rows 20 to 29 and columns 30 to 41, smoothed over a pixel.
    np.testing.assert_allclose(found[:, 21:29, 31:41], 0.5, atol=1e-5)
    far = np.ones((SIZE, SIZE), bool)
    far[19:31, 29:43] = False
    np.testing.assert_allclose(found[:, far], 0, atol=1e-6)
