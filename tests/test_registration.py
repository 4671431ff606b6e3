"""Where pictures that were edited elsewhere lie in their photographs, and how they are tinted.

The truth is how the pictures were made.
"""

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from benchmarks.made_up_edits import EDITS, SAVINGS, similarity, warped
from diffcam_jax.errors import UserError
from diffcam_jax.faces import appearance
from diffcam_jax.faces.photo import read_photo
from diffcam_jax.faces.registration import register
from diffcam_jax.faces.samples import hopper
from diffcam_jax.faces.views import frame, inside, scale_of, turn_of, view

HOPPER = read_photo(hopper()).pixels
ASTRONAUT = skimage.data.astronaut()
# Squares around the faces: corner at the top left, and the side that leads to the top right.
QUADS = {
    "hopper": ((88.8, 40.0), (334.7, 16.7)),
    "astronaut": ((143.7, 25.0), (171.2, -8.7)),
}


def square(name: str) -> np.ndarray:
    (x, y), (a, b) = QUADS[name]
    return np.array([[x, y], [x - b, y + a], [x + a - b, y + b + a], [x + a, y + b]])


def error(found: np.ndarray, truth: np.ndarray, quad: np.ndarray) -> float:
    """The largest error in pixels of the photograph at the corners of the face."""
    corners = quad.mean(0) + 0.7 * (quad - quad.mean(0))
    places = np.c_[corners, np.ones(4)].T
    return float(np.abs(np.linalg.inv(found) @ truth @ places - places)[:2].max())


@pytest.mark.parametrize("saving", SAVINGS)
def test_an_edited_picture_is_found_below_half_a_pixel(saving):
    quad = square("hopper")
    picture, truth = SAVINGS[saving](EDITS["mouth"](HOPPER, quad), quad)
    found = register(HOPPER, picture, quad)
    assert error(found.matrix, truth, quad) < 0.2
    assert found.kind == ("face crop" if saving == "face crop" else "photograph")
    assert found.agreement > 0.8 and found.matches > 100
    assert found.scale == pytest.approx(scale_of(truth), rel=1e-3)
    assert found.turn == pytest.approx(turn_of(truth), abs=0.05)
    np.testing.assert_allclose(found.shift, np.linalg.inv(truth)[:2, 2], atol=0.5)


@settings(max_examples=8, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(
    st.floats(0.45, 1.8),
    st.floats(-5, 5),
    st.tuples(st.floats(-8, 30), st.floats(-8, 30)),
    st.sampled_from(sorted(EDITS)),
)
def test_any_scale_turn_and_shift(scale, degrees, shift, edit):
    quad = square("astronaut")
    truth = similarity(scale, degrees, shift)
    picture = warped(EDITS[edit](ASTRONAUT, quad), truth, *[round(512 * scale)] * 2)
    found = register(ASTRONAUT, picture, quad)
    assert error(found.matrix, truth, quad) < 0.2


def test_16_bits_and_sides_rounded_to_multiples_of_64():
    quad = square("hopper")
    picture = cv2.resize(EDITS["nose"](HOPPER, quad), (512, 576), interpolation=cv2.INTER_AREA)
    deep = picture.astype(np.uint16) * 257
    found = register(HOPPER.astype(np.uint16) * 257, deep, quad)
    assert error(found.matrix, np.diag([1, 576 / 600, 1]), quad) < 0.2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ASTRONAUT, "does not match the photograph; give an edit of this very"),
        (lambda: HOPPER[:, ::-1], "is mirrored; flip it back"),
        (lambda: np.rot90(HOPPER), "is turned by -90 degrees"),
        (lambda: np.rot90(HOPPER, 2), "is turned by"),
        (lambda: cv2.resize(HOPPER, (51, 60)), "has 51x60 pixels; give it with 64 or more"),
        (lambda: cv2.resize(HOPPER, (90, 105)), "face's square is 59 pixels wide"),
        (lambda: cv2.resize(HOPPER, (512, 690)), "is stretched by 15%"),
        (lambda: HOPPER[:, :260], "% of the face; give one that shows all of it"),
        (lambda: HOPPER[330:], "of the face; give one"),
        (lambda: cv2.resize(HOPPER[20:400, 60:460], None, fx=9, fy=9), "9 times as large"),
        (lambda: np.full_like(HOPPER, 128), "does not match"),
    ],
    ids=[
        "another photograph",
        "mirrored",
        "turned",
        "upside down",
        "tiny",
        "small face",
        "stretched",
        "half the face",
        "no face",
        "huge",
        "plain",
    ],
)
def test_pictures_that_cannot_be_taken(make, words):
    with pytest.raises(UserError) as caught:
        register(HOPPER, np.ascontiguousarray(make()), square("hopper"))
    message = str(caught.value)
    assert words in message and message.count(";") == 1 and "\n" not in message


def test_a_view_of_the_same_pixels_is_exact():
    part, shown = view(HOPPER, similarity(1, 0, (100, 30)), 64)
    np.testing.assert_array_equal(np.rint(part * 255), HOPPER[30:94, 100:164])
    assert shown.all()
    beyond = inside(similarity(2, 0, (-10, 0)), 32, 600, 512)
    assert not beyond[:, :5].any() and beyond[:, 6:].all()
    # Reduced, it is what is left of what it covers.
    smooth = cv2.GaussianBlur(HOPPER, (0, 0), 8)
    small, _ = view(smooth, similarity(8, 0, (0, 0)), 32)
    means = cv2.resize(smooth[:256, :256], (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(small * 255 - means)[1:-1, 1:-1].mean() < 1


@pytest.mark.parametrize(
    ("gain", "offset", "gamma"),
    [((1.1, 1.1, 1.1), -8, 1), ((1.12, 1.0, 0.9), 0, 1), ((0.6, 0.6, 0.6), 5, 1), (1, 0, 1.15)],
)
def test_colours_are_restored_within_two_levels(gain, offset, gamma):
    quad = square("astronaut")
    edited = EDITS["beard"](ASTRONAUT, quad)
    shifted = (edited / np.float32(255)) ** gamma * np.broadcast_to(gain, 3) * 255 + offset
    tinted = np.clip(np.rint(shifted), 0, 255).astype(np.uint8)
    to_photo = frame(quad, 256)
    picture, photo, truth = (view(x, to_photo, 256)[0] for x in (tinted, ASTRONAUT, edited))
    colours = appearance.match_colours(picture, photo, np.ones((256, 256), bool))
    found = colours.restored(picture, photo)
    same = np.abs(truth - photo).max(-1) == 0
    assert 0.6 < same.mean() < 1
    assert np.abs(found - truth).mean(-1)[same].mean() * 255 < 0.6
    assert np.quantile(np.abs(cv2.GaussianBlur(found - truth, (0, 0), 2))[same], 0.97) * 255 < 2
    # Colours that only the edit shows come along.
    assert np.abs(found - truth)[~same].mean() * 255 < 2
    if gamma == 1:
        np.testing.assert_allclose(colours.gain, np.broadcast_to(gain, 3), atol=0.03)
        np.testing.assert_allclose(colours.offset, offset, atol=4)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 2.5])
def test_softness_is_measured(sigma):
    photo = view(HOPPER, frame(square("hopper"), 320), 320)[0]
    noise = np.random.default_rng(0).normal(0, 0.01, photo.shape).astype(np.float32)
    picture = appearance.soft(photo, sigma) + noise
    found = appearance.softness(picture, photo, np.ones(photo.shape[:2], bool))
    assert found == pytest.approx(sigma, abs=0.26)
