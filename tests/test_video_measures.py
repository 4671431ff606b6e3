"""Measures of steadiness on clips whose truth is known."""

import numpy as np
import pytest
import skimage.data

from diffcam_jax.video import measures


def panned(count=6, step=3):
    """A camera that pans over a photograph by whole pixels, and a square that is edited in it."""
    photo = skimage.data.astronaut()
    return [photo[60:300, 20 + step * i : 340 + step * i].copy() for i in range(count)]


def edited(frames, values, step=3):
    """A square that is painted onto the same place of the photograph, brighter by some value."""
    found = []
    for i, (frame, value) in enumerate(zip(frames, values, strict=True)):
        result, touched = frame.copy(), np.zeros(frame.shape[:2], bool)
        touched[80:140, 150 - step * i : 210 - step * i] = True
        result[touched] = np.minimum(result[touched].astype(int) + value, 255)
        found.append((frame, result, touched))
    return found


def test_flow_of_a_pan_is_the_pan():
    before, after = panned(2)
    offsets, seen = measures.flow(before, after)
    assert seen.mean() > 0.9
    np.testing.assert_allclose(np.median(offsets[seen], 0), [3, 0], atol=0.05)
    error = np.abs(measures.moved(before, offsets) - after)[20:-20, 20:-20]
    assert np.median(error) < 1


def test_an_edit_that_moves_with_the_picture_is_steady_and_one_that_blinks_is_not():
    frames = panned()
    steady = measures.steadiness(edited(frames, [30] * 6))
    blinking = measures.steadiness(edited(frames, [30, 10, 30, 10, 30, 10]))
    assert steady.flicker_outside == blinking.flicker_outside == 0
    assert steady.flicker_inside < 4 < 12 < blinking.flicker_inside < 25
    assert blinking.warping > 2 * steady.warping
    assert steady.warping_original == blinking.warping_original


def test_the_rim_is_told_from_what_it_surrounds():
    frames, values = panned(), [30, 10, 30, 10, 30, 10]
    faded = []
    for frame, result, touched in edited(frames, values):
        border = measures.rim(touched)
        assert border.sum() == 60 * 60 - 54 * 54
        faded.append((frame, np.where(border[..., None], frame, result), touched))
    assert measures.steadiness(edited(frames, values)).flicker_rim > 12
    calm = measures.steadiness(faded)
    assert calm.flicker_rim < 3 and calm.flicker_inside > 8


def test_what_changes_elsewhere_is_found():
    triples = edited(panned(3), [5, 5, 5])
    triples[1][1][0, 0] ^= 64
    assert measures.steadiness(triples).flicker_outside == 64


def test_consistency_is_relative_to_the_original():
    angles = np.linspace(0, 0.5, 8)
    person = np.column_stack([np.cos(angles), np.sin(angles)])
    assert measures.consistency(person, person) == pytest.approx((1.0, 1.0))
    restless = np.column_stack([np.cos(3 * angles), np.sin(3 * angles)])
    local, overall = measures.consistency(person, restless)
    assert local == pytest.approx(np.cos(3 * angles[1]) / np.cos(angles[1]))
    assert overall < local < 1
    person[3] = np.nan
    assert np.isfinite(measures.consistency(person, person)).all()
