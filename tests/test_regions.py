"""What may change of a face, on label maps made by hand."""

import math

import numpy as np
import pytest

from diffcam_jax.directions import Direction
from diffcam_jax.editing.regions import (
    FRAME,
    MARGIN,
    MISSED,
    VISIBLE,
    Face,
    in_front,
    kept_shapes,
    may_act,
    mouth_is_hidden,
)
from diffcam_jax.faces.hands import hand_mask
from diffcam_jax.nn.conventions import CLASSES

SIDE = 256
WHOLE = (0.0, 1.0, 0.0, 1.0)
LIPS = ("mouth", "upper_lip", "lower_lip")
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]


def direction(*classes: str, box=WHOLE, name="any") -> Direction:
    return Direction(
        name, np.zeros((1, 4), np.float32), (-2.0, 2.0), (0, 1), "", "", "", "", classes, box
    )


def face(hand=None, visible=1.0, **parts) -> Face:
    """Background with the named classes laid over it one after the other, as (rows, columns)
    slices.
    """
    labels = np.zeros((SIDE, SIDE), np.uint8)
    for name, place in parts.items():
        labels[place] = CLASSES.index(name)
    hands = np.zeros(labels.shape, bool)
    if hand is not None:
        hands[hand] = True
    return Face(labels, hands, visible)


def distance(where) -> np.ndarray:
    """Of every pixel to the nearest one where `where` is true, by looking at all of them (on a
    border that is enough).
    """
    border = where & ~(
        np.roll(where, 1, 0) & np.roll(where, -1, 0) & np.roll(where, 1, 1) & np.roll(where, -1, 1)
    )
    points = np.argwhere(
        border | (where & ((ROWS % (SIDE - 1) == 0) | (COLUMNS % (SIDE - 1) == 0)))
    )
    away = np.full((SIDE, SIDE), np.inf)
    for y, x in points:
        np.minimum(away, np.hypot(ROWS - y, COLUMNS - x), out=away)
    return np.where(where, 0.0, away)


def check_range(may):
    assert may.shape == (SIDE, SIDE) and may.dtype == np.float32
    assert may.min() >= 0 and may.max() <= 1 + 1e-6


def test_a_hat_and_what_is_near_it_never_change():
    given = face(skin=np.s_[60:220, 50:200], hair=np.s_[40:90, 40:210], hat=np.s_[20:70, 30:170])
    forbidden = ~np.isin(given.labels, [CLASSES.index("skin"), CLASSES.index("hair")])
    may = may_act(given, direction("skin", "hair"))
    check_range(may)
    away = distance(forbidden)
    assert (may[away <= MARGIN] == 0).all()
    assert (may[away > MARGIN + 1] > 0).all()
    np.testing.assert_allclose(may[away > 4 * MARGIN], 1, atol=1e-6)


def test_all_of_a_head_may_change_where_a_direction_names_no_class():
    names = (
        "skin",
        "hair",
        "neck",
        "eyeglasses",
        "hat",
        "cloth",
        "earring",
        "necklace",
        "background",
    )
    parts = {name: np.s_[:, 28 * i : 28 * i + 28] for i, name in enumerate(names)}
    may = may_act(face(**parts), direction())
    check_range(may)
    for i, name in enumerate(names):
        middle = may[:, 28 * i + 14]
        assert (middle == (1 if i < 4 else 0)).all(), name


def test_only_hair_changes_with_the_colour_of_hair():
    given = face(skin=np.s_[80:256, 60:196], hair=np.s_[20:80, 40:216], hat=np.s_[0:30, :])
    may = may_act(given, direction("hair"))
    check_range(may)
    assert (may[given.labels != CLASSES.index("hair")] == 0).all()
    assert may[55, 128] == pytest.approx(1) and (may[55, 44:212] > 0).all()


def test_a_region_fades_towards_its_box_and_reaches_the_pictures_own_sides():
    may = may_act(face(skin=np.s_[:, :]), direction("skin", box=(0.5, 1.0, 0.25, 0.75)))
    check_range(may)
    inside = (ROWS >= 128) & (COLUMNS >= 64) & (COLUMNS < 192)
    assert (may[~inside] == 0).all() and (may[inside] > 0).all()
    assert (may[140:, 77:179] == 1).all()  # 12 pixels in, and down to the last row
    rise = may[128:140, 128]
    np.testing.assert_allclose(rise, (np.arange(12) + 0.5) / 12, atol=1e-6)
    np.testing.assert_allclose(may[200, 180:192], rise[::-1], atol=1e-6)
    np.testing.assert_allclose(may_act(face(skin=np.s_[:, :]), direction("skin")), 1, atol=1e-6)


def test_a_hand_that_is_parsed_as_skin_and_what_is_near_it_stay():
    parts = {"skin": np.s_[30:250, 30:220], "mouth": np.s_[180:200, 90:130]}
    given, bare = face(np.s_[170:210, 120:170], **parts), face(**parts)
    away = distance(given.hands)
    smile = direction("skin", *LIPS)
    may, free = may_act(given, smile), may_act(bare, smile)
    check_range(may)
    assert (may[away <= MARGIN] == 0).all() and (free[away <= MARGIN] > 0.99).all()
    np.testing.assert_array_equal(may[away > 5 * MARGIN], free[away > 5 * MARGIN])
    assert may[190, 100] == pytest.approx(1)


def test_worn_glasses_keep_a_wider_margin_but_where_glasses_are_the_edit():
    given = face(
        skin=np.s_[30:250, 30:220], nose=np.s_[110:160, 118:132], eyeglasses=np.s_[110:140, 60:118]
    )
    away = distance(given.labels == CLASSES.index("eyeglasses"))
    may = may_act(given, direction("skin", "nose"))
    check_range(may)
    assert (may[away <= FRAME + MARGIN] == 0).all()
    assert may[125, 118 + FRAME + MARGIN] > 0
    free = may_act(given, direction("skin", "nose", "eyeglasses"))
    np.testing.assert_allclose(free[105:145, 60:130], 1, atol=1e-6)


def test_eyes_behind_new_glasses_keep_their_shapes_unless_another_edit_changes_them():
    given = face(
        skin=np.s_[30:250, 30:220],
        left_eye=np.s_[110:122, 70:100],
        right_brow=np.s_[90:98, 140:180],
    )
    glasses, old, mine = (direction(name=name) for name in ("Eyeglasses", "old", "of my own"))
    everywhere = np.ones((2, SIDE, SIDE), np.float32)
    kept = kept_shapes(given, [glasses], everywhere[:1])
    check_range(kept)
    away = distance(np.isin(given.labels, [CLASSES.index("left_eye"), CLASSES.index("right_brow")]))
    assert (kept[away == 0] > 0.5).all() and kept[116, 85] == kept[94, 160] == 1
    assert (kept[away > 3 * MARGIN] == 0).all()
    for other in (old, mine):
        assert not kept_shapes(given, [glasses, other], everywhere).any()
    # The other acts in the lower half alone.
    half = everywhere * np.stack([np.ones((SIDE, SIDE)), ROWS > 105]).astype(np.float32)
    kept = kept_shapes(given, [glasses, old], half)
    assert kept[94, 160] == 1 and not kept[106:].any()


def test_a_hand_is_its_landmarks_hull_with_the_width_of_fingers():
    # A hand that points up: the wrist below, knuckles in a row, five fingers of three further
    # points.
    hand = np.zeros((21, 2), np.float32)
    hand[0] = 0.5, 0.7
    for finger in range(5):
        x = 0.4 + 0.05 * finger
        hand[1 + 4 * finger : 5 + 4 * finger] = [(x, 0.5 - 0.05 * k) for k in range(4)]
    mask = hand_mask([hand], SIDE)
    points = np.round(hand * SIDE).astype(int)
    assert mask[points[:, 1], points[:, 0]].all()
    # The hull's sides are at 0.4, 0.6, 0.35 and 0.7; the palm is 0.15 wide and 0.2 long.
    away = 0.3 * 0.15 * SIDE
    assert (
        mask[: int(0.35 * SIDE - away) - 2].sum() == 0
        and mask[:, : int(0.4 * SIDE - away) - 2].sum() == 0
    )
    assert mask[:, int(0.6 * SIDE + away) + 3 :].sum() == 0
    assert mask[int(0.35 * SIDE - away) + 2, 128] and mask[110, int(0.4 * SIDE - away) + 2]
    # Of the forearm there is more than half a palm.
    assert mask[int(0.8 * SIDE), 128] and mask[int(0.9 * SIDE) :].sum() == 0
    np.testing.assert_array_equal(
        hand_mask([hand, hand + np.float32(2)], SIDE), mask
    )  # the other is off the picture
    assert hand_mask([], SIDE).shape == (SIDE, SIDE) and not hand_mask([], SIDE).any()


@pytest.mark.parametrize("visible", [0.0, VISIBLE - 0.01, VISIBLE, 1.0, math.nan])
def test_an_edit_of_the_mouth_needs_a_mouth(visible):
    given = face(None, visible, skin=np.s_[:, :])
    smile, beard, eyes, hair, old = (
        direction("skin", "nose", *LIPS),
        direction("skin", *LIPS, "neck"),
        direction("skin", "left_eye"),
        direction("hair"),
        direction("skin", *LIPS, "hair"),
    )
    hidden = visible < VISIBLE
    assert [mouth_is_hidden(given, d) for d in (smile, beard, eyes, hair, old)] == [
        hidden,
        hidden,
        False,
        False,
        False,
    ]
    assert (may_act(given, smile) == 0).all() == hidden
    assert may_act(given, eyes)[128, 128] == 1


def test_nothing_may_change_where_nothing_is_named():
    assert not may_act(face(hat=np.s_[:, :]), direction("skin")).any()
    assert not may_act(
        face(skin=np.s_[100:104, 100:104]), direction("skin")
    ).any()  # no wider than its margins


def test_specks_lie_before_nothing():
    missed = np.zeros((256, 256), np.float32)
    missed[40:44, 40:45] = missed[100:103, 60:90] = 0.5  # 20 pixels of a glint, 90 of a cable
    missed[200:, :] = MISSED
    found = in_front(missed)
    assert found[100:103, 60:90].all() and found.sum() == 90
