"""Scores of expressions, shapes and colours: by hand on made-up faces, and what a mirror does."""

import numpy as np
import pytest
import skimage.color

from diffcam_jax.directions import ties
from diffcam_jax.faces import mesh, scorers
from diffcam_jax.faces import scorers_expressions as expressions
from diffcam_jax.faces.evidence import SIDE
from diffcam_jax.faces.scorers_shapes import polygon_area
from diffcam_jax.nn.conventions import CLASSES
from diffcam_jax.pretrained import store
from tests.test_scorers import HAIR, SKIN, face, value

SIGNED = {"yaw", "gaze", "roll", "light_side"}


def shapes(**blendshapes):
    stems = "mouthSmile eyeBlink browDown browOuterUp eyeWide eyeSquint"
    stems += " eyeLookUp eyeLookDown eyeLookIn eyeLookOut"
    names = [f"{stem}{side}" for stem in stems.split() for side in ("Left", "Right")]
    names += ["browInnerUp", "jawOpen", "mouthPucker", "mouthFunnel"]
    return dict.fromkeys(names, 0.0) | blendshapes


@pytest.mark.parametrize(
    ("name", "blendshapes", "expected"),
    [
        ("frown", {"browDownLeft": 0.4}, 0.2),
        ("squint", {"eyeSquintLeft": 0.2, "eyeSquintRight": 0.6}, 0.4),
        ("brow_raise", {"browInnerUp": 0.3, "browOuterUpRight": 0.6}, 0.3),
        ("pucker", {"mouthPucker": 0.8}, 0.4),
        ("surprise", {"browInnerUp": 0.9, "jawOpen": 0.3, "eyeWideLeft": 0.6}, 0.3),
        ("gaze_up", {"eyeLookUpLeft": 0.5, "eyeLookDownRight": 0.1}, 0.2),
        # The person's left eye, on the picture's right, looks out, and the other one in.
        ("gaze", {"eyeLookOutLeft": 0.6, "eyeLookInRight": 0.4}, 0.5),
        ("gaze", {"eyeLookOutRight": 0.6, "eyeLookInLeft": 0.4}, -0.5),
        ("closed_smile", {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}, 0.5),
    ],
)
def test_expressions(name, blendshapes, expected):
    assert value(name, face(blendshapes=shapes(**blendshapes))) == pytest.approx(expected)


def test_a_closed_smile_ends_where_teeth_show():
    e = face(blendshapes=shapes(mouthSmileLeft=0.5, mouthSmileRight=0.5))
    e.points[mesh.INNER_LIP_BOTTOM] += (0, 100 * expressions.TEETH)
    assert value("closed_smile", e) == pytest.approx(0.5 / np.e, rel=1e-4)


@pytest.mark.parametrize("pitch", [-25, 0, 10])
def test_pitch_and_roll_of_a_turned_head(pitch):
    """A nose of the canonical height over a plane through eyes and mouth, rotated and projected."""
    down, height = expressions.TIP_DOWN, expressions.TIP_HEIGHT
    head = np.array(
        [[-50, 0, 0], [50, 0, 0], [-25, 80, 0], [25, 80, 0], [0, 80 * down, 80 * height]]
    )
    a, r = np.radians(pitch), np.radians(12)
    # Towards the camera is +z: looking up moves the tip up, which is towards smaller y.
    turned = head @ np.array([[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]])
    flat = turned[:, :2] @ np.array([[np.cos(r), np.sin(r)], [-np.sin(r), np.cos(r)]])
    e = face()
    e.points[[33, 263, mesh.MOUTH_LEFT, mesh.MOUTH_RIGHT, mesh.NOSE_TIP]] = flat + 100
    assert value("pitch", e) == pytest.approx(pitch, abs=0.01)
    assert value("roll", e) == pytest.approx(12, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("nose_width", mesh.NOSE_LEFT, mesh.NOSE_RIGHT),
        ("nose_length", mesh.NOSE_BRIDGE, mesh.NOSE_BASE),
        ("mouth_width", mesh.MOUTH_LEFT, mesh.MOUTH_RIGHT),
        ("chin_length", mesh.OUTER_LIP_BOTTOM, mesh.CHIN),
    ],
)
def test_lengths_count_in_eye_distances(name, first, second):
    e = face()
    e.points[first], e.points[second] = (100, 120), (130, 160)
    assert value(name, e) == pytest.approx(0.5)


def test_shapes_of_a_face():
    e = face()
    places = {
        mesh.FACE_LEFT: (50, 128), mesh.FACE_RIGHT: (200, 128), mesh.FOREHEAD_TOP: (125, 40),
        mesh.CHIN: (125, 240), mesh.JAW_LEFT: (65, 190), mesh.JAW_RIGHT: (185, 190),
        mesh.BROW_LEFT: (100, 90), mesh.BROW_RIGHT: (150, 80), mesh.OUTER_LIP_TOP: (128, 180),
        mesh.INNER_LIP_TOP: (128, 190), mesh.INNER_LIP_BOTTOM: (128, 192),
        mesh.OUTER_LIP_BOTTOM: (128, 207),
    }  # fmt: skip
    for row, place in places.items():
        e.points[row] = place
    assert value("face_width", e) == pytest.approx(150 / 200)
    assert value("jaw_width", e) == pytest.approx(120 / 150)
    assert value("brow_height", e) == pytest.approx(0.25)  # 30 and 20 above eyes 100 apart
    assert value("lip_fullness", e) == pytest.approx(0.25)
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]])
    assert polygon_area(square) == 100
    for rows in mesh.EYES:
        t = np.linspace(0, 2 * np.pi, len(rows), endpoint=False)
        e.points[list(rows)] = np.stack([100 + 15 * np.cos(t), 110 + 6 * np.sin(t)], 1)
    polygon = 8 * np.sin(np.pi / 8) * 15 * 6  # of 16 corners on an ellipse
    assert value("eye_size", e) == pytest.approx(100 * polygon / 150**2, rel=1e-3)


def test_hair_by_place():
    labels = np.full((SIDE, SIDE), SKIN, np.uint8)
    labels[:60], labels[150:200, :50] = HAIR, HAIR
    e = face(labels=labels)  # the eyes are in row 110
    assert value("hair_length", e) == pytest.approx(50 * 50 / 100**2)
    assert value("baldness", e) == pytest.approx(-60 * SIDE / 100**2)
    e.points[list(mesh.FOREHEAD)] = 0
    for row, place in zip(mesh.FOREHEAD[:4], ((80, 20), (180, 20), (180, 100), (80, 100))):
        e.points[row] = place
    e.points[list(mesh.FOREHEAD[4:])] = (80, 100)
    assert value("bangs", e) == pytest.approx(0.5, abs=0.02)
    e.labels[:20] = CLASSES.index("hat")
    assert np.isnan(value("bangs", e)) and np.isnan(value("baldness", e))
    assert value("hat", e) == pytest.approx(20 / SIDE)
    e.labels[200:210, 40:50] = CLASSES.index("earring")
    assert value("earrings", e) == pytest.approx(100 / 100**2)


def test_colours_of_hair():
    lab = skimage.color.rgb2lab(np.uint8([[[150, 110, 60]]]))[0, 0]
    labels = np.full((SIDE, SIDE), SKIN, np.uint8)
    labels[:60] = HAIR
    picture = np.full((SIDE, SIDE, 3), 170, np.uint8)
    picture[:60] = (150, 110, 60)
    e, chroma = face(labels=labels, picture=picture), np.hypot(lab[1], lab[2])
    assert value("red_hair", e) == pytest.approx(lab[1], abs=0.05)
    assert value("blond_hair", e) == pytest.approx(lab[2] + lab[0] / 2, abs=0.05)
    assert value("grey_hair", e) == pytest.approx(lab[0] / 2 - chroma, abs=0.05)
    assert value("black_hair", e) == pytest.approx(100 - lab[0] - chroma, abs=0.05)
    smooth = value("curly_hair", e)
    picture[:60:2] = (120, 80, 30)
    assert value("curly_hair", face(labels=labels, picture=picture)) > smooth + 0.05


def test_colours_of_skin_and_lips():
    labels = np.full((SIDE, SIDE), SKIN, np.uint8)
    labels[180:190] = CLASSES.index("lower_lip")
    picture = np.full((SIDE, SIDE, 3), (200, 160, 140), np.uint8)
    e = face(labels=labels, picture=picture)
    lab = skimage.color.rgb2lab(picture[:1, :1])[0, 0]
    assert value("skin_lightness", e) == pytest.approx(lab[0], abs=0.05)
    hue = np.degrees(np.arctan2(lab[2], lab[1]))
    assert value("skin_undertone", e) == pytest.approx(hue, abs=0.2)
    assert value("lipstick", e) == pytest.approx(0, abs=1e-3)
    picture[180:190] = (190, 40, 60)
    red = skimage.color.rgb2lab(picture[182:183, :1])[0, 0]
    assert value("lipstick", face(labels=labels, picture=picture)) == pytest.approx(
        red[1] - lab[1], abs=0.1
    )
    picture[:, SIDE // 2 :] = (230, 200, 190)
    right = skimage.color.rgb2lab(picture[:1, -1:])[0, 0]
    assert value("light_side", face(picture=picture)) == pytest.approx(right[0] - lab[0], abs=0.1)


def test_ties_are_mutual_and_name_scores():
    for score in scorers.SCORERS:
        assert score in ties.tied(score) and ties.tied(score) <= set(scorers.SCORERS)
        assert all(score in ties.tied(other) for other in ties.tied(score))
        assert not set(ties.still(score)) & ties.tied(score)
    assert set(scorers.SCORERS) >= ties.RARE


@pytest.mark.weights
def test_a_mirror_changes_the_sign_of_some_scores_only():
    """The networks are not quite symmetric: within a share of the spread over photographs."""
    from PIL import Image

    folder = store.fetch("ffhq_photos")
    images = np.stack(
        [
            np.asarray(Image.open(folder / f"{i:05d}.png").convert("RGB").reduce(2))
            for i in range(11)
        ]
    )
    names = [name for name in scorers.SCORERS if name not in ("age", "gender")]
    found = scorers.score(images, names)
    mirrored = scorers.score(np.ascontiguousarray(images[:, :, ::-1]), names)
    for name in names:
        sign, spread = (-1 if name in SIGNED else 1), np.nanstd(found[name])
        off = np.nanmedian(np.abs(mirrored[name] - sign * found[name]))
        assert off < 0.6 * spread, f"{name}: {off:g} of {spread:g}"
