"""Masks against regions, untouched pixels, seconds and memory: shares that are known beforehand."""

import time

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcam_jax.errors import UserError
from diffcam_jax.faces.evidence import SIDE, Evidence
from diffcam_jax.metrics import masks
from diffcam_jax.metrics.resources import Clock, peak_memory
from diffcam_jax.nn.conventions import CLASSES


def box(top, bottom, left, right, side=16):
    mask = np.zeros((1, side, side), bool)
    mask[0, top:bottom, left:right] = True
    return mask


def test_shares_of_boxes_that_overlap():
    mask, region = box(0, 8, 0, 8), box(4, 12, 0, 16)  # 64 and 128 pixels, 32 in both
    assert masks.iou(mask, region) == 32 / 160
    assert masks.coverage(mask, region) == 32 / 128
    assert masks.inside(mask, region) == 32 / 64
    assert masks.area(mask.astype(np.float32)) == 64 / 256


def test_a_mask_of_another_size_is_averaged_and_thresholded():
    fine = np.zeros((1, 32, 32), np.float32)
    fine[0, :8, :8] = 1  # four times four pixels of the region's size
    fine[0, 8, 8] = 1  # a quarter of a pixel
    assert masks.iou(fine, box(0, 4, 0, 4)) == 1
    assert masks.iou(fine, box(0, 4, 0, 4), threshold=0.25) == 16 / 17
    assert masks.coverage(np.full((1, 32, 32), 0.4, np.float32), box(0, 4, 0, 4)) == 0


def test_empty_regions_and_masks():
    nothing, something = np.zeros((1, 16, 16), bool), box(0, 2, 0, 2)
    for measure in (masks.iou, masks.coverage, masks.inside):
        assert np.isnan(measure(something, nothing))
    assert masks.iou(nothing, something) == 0 and masks.coverage(nothing, something) == 0
    assert np.isnan(masks.inside(nothing, something))
    with pytest.raises(ValueError, match=r"got \(1, 16, 16\) and \(2, 16, 16\)"):
        masks.iou(nothing, np.zeros((2, 16, 16), bool))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_laws_of_shares(seed):
    mask, region = np.random.default_rng(seed).random((2, 3, 8, 8)) < 0.4
    iou, coverage, inside = (f(mask, region) for f in (masks.iou, masks.coverage, masks.inside))
    np.testing.assert_allclose(1 / iou, 1 / coverage + 1 / inside - 1)
    np.testing.assert_array_equal(coverage, masks.inside(region, mask))


def test_untouched_pixels():
    original = np.random.default_rng(0).integers(0, 200, (2, 10, 10, 3), dtype=np.uint8)
    result, mask = original.copy(), np.zeros((2, 10, 10), np.float32)
    mask[:, :5] = 0.01
    result[:, :3, :, 1] += 1  # inside the mask: allowed
    result[1, 9, :5] += 1  # outside: a broken promise
    found = masks.untouched(original, result, mask)
    np.testing.assert_allclose(found.share, [0.7, 0.65])
    np.testing.assert_allclose(found.exact, [1, 0.9])
    without = masks.untouched(original.astype(np.uint16), result.astype(np.uint16))
    np.testing.assert_allclose(without.share, found.share)
    assert (
        np.isnan(without.exact).all()
        and np.isnan(masks.untouched(original, result, mask + 1).exact).all()
    )
    alone = masks.only_outside(original, result, mask)
    np.testing.assert_array_equal(alone[0], original[0])
    np.testing.assert_array_equal(alone[1, 9], result[1, 9])


def test_untouched_wants_pictures_as_they_are_saved():
    whole = np.zeros((1, 4, 4, 3), np.uint8)
    for other in (whole.astype(np.float32), whole.astype(np.uint16), whole[:, :2]):
        with pytest.raises(ValueError, match="one unsigned type and shape"):
            masks.untouched(whole, other)
    with pytest.raises(ValueError, match=r"the mask must be \(1, 4, 4\)"):
        masks.untouched(whole, whole, np.zeros((1, 2, 2), np.float32))


def drawn(*areas):
    """Evidence of a face whose parsing is skin but for stripes of classes.

    Landmarks in the middle, two irises in the corners.
    """
    points = np.full((478, 2), 128, np.float32)
    points[[476, 477]] = [[0, 0], [255, 255]]
    labels = np.full((SIDE, SIDE), CLASSES.index("skin"), np.uint8)
    for name, (top, bottom) in areas:
        labels[top:bottom] = CLASSES.index(name)
    return Evidence(np.zeros((SIDE, SIDE, 3), np.uint8), points, {}, labels)


@pytest.mark.parametrize(
    ("attribute", "classes"),
    [
        ("smiling", ("upper_lip",)),
        ("mouth_open", ("mouth",)),
        ("eyes_closed", ("left_eye",)),
        ("bushy_eyebrows", ("right_brow",)),
        ("hair_color", ("hair",)),
        ("eyeglasses", ("eyeglasses",)),
        ("old", ("skin", "nose")),
    ],
)
def test_regions_are_the_parsed_classes(attribute, classes):
    everywhere = [(name, (i * 8, i * 8 + 8)) for i, name in enumerate(CLASSES)]
    e = drawn(*everywhere)
    region, expected = masks.REGIONS[attribute](e), e.has(*classes)
    assert np.all(region[expected])
    away = np.ones_like(region)
    away[126:131, 126:131] = False  # polygons of landmarks that are one point
    for other in {"background", "cloth", "hat", "hair", "neck"} - set(classes):
        assert not np.any(region & e.has(other) & away)


def test_the_eyes_of_another_face_do_not_count():
    e = drawn(("left_eye", (100, 140)), ("right_eye", (220, 230)))
    e.points[[476, 477]] = [[80, 60], [180, 200]]
    region = masks.REGIONS["eyes_closed"](e)
    assert region[100:140, 80:181].all() and region.sum() == 40 * 101


def test_an_attribute_without_a_region_is_named():
    with pytest.raises(
        UserError, match="no region is known for yaw; choose from smiling, mouth_open"
    ):
        masks.regions([], ["smiling", "yaw"])


# Seconds and memory


def test_a_clock_leaves_the_first_lap_out():
    clock = Clock()
    assert np.isnan(clock.compute().each)
    for seconds, pictures in ((0.2, 1), (0.02, 2), (0.02, 2)):
        with clock.lap(pictures):
            time.sleep(seconds)
    with pytest.raises(ZeroDivisionError), clock.lap():
        raise ZeroDivisionError
    found = clock.compute()
    assert found.pictures == 5 and 0.01 <= found.each < 0.1 and found.first >= 0.2
    assert found.total >= found.first + 0.04


def test_peak_memory_holds_what_was_touched():
    before = peak_memory()
    held = np.ones(before.host // 8 + 64 * 2**20, np.uint8)
    after = peak_memory()
    assert after.host >= before.host and 50 * 2**20 < after.host < 64 * 2**30
    assert after.device is None or after.device > 0
    assert (after.device is None) == (jax.local_devices()[0].memory_stats() is None)
    assert held.all()
