"""The scores' formulas on made-up faces, their parts against scikit-image and SciPy, and all of
them on photographs.
"""

import json
import sys

import numpy as np
import pytest
import scipy.ndimage
import skimage.color

from diffcam_jax.errors import UserError
from diffcam_jax.faces import evidence, mesh, scorers, scorers_colours, scorers_expressions
from diffcam_jax.faces.chips import chip, lab, resized, similarity_transform
from diffcam_jax.faces.evidence import SIDE, Evidence
from diffcam_jax.metrics.identity import IDENTITY_TEMPLATE
from diffcam_jax.nn.conventions import CLASSES
from diffcam_jax.pretrained import store

SKIN, BROW, HAIR, GLASSES = (CLASSES.index(n) for n in ("skin", "left_brow", "hair", "eyeglasses"))


def face(**changes):
    """A frontal grey face: eye corners 100 pixels apart, a lower face and cheeks as polygons,
    everything skin.
    """
    points = np.full((478, 2), 128, np.float32)
    points[33], points[263], points[mesh.NOSE_TIP] = (78, 110), (178, 110), (128, 150)
    angles = np.linspace(np.pi, 0, 14)
    jaw = np.stack([128 + 60 * np.cos(angles), 170 + 60 * np.sin(angles)], 1)
    points[list(mesh.LOWER_FACE[:14])] = jaw
    points[list(mesh.LOWER_FACE[14:])] = np.linspace((188, 168), (68, 168), 8)
    for centre, rows in zip((85, 170), mesh.CHEEKS, strict=True):
        t = np.linspace(0, 2 * np.pi, len(rows), endpoint=False)
        points[list(rows)] = np.stack([centre + 12 * np.cos(t), 140 + 12 * np.sin(t)], 1)
    t = np.linspace(0, 2 * np.pi, len(mesh.OUTER_LIPS), endpoint=False)
    points[list(mesh.OUTER_LIPS)] = np.stack([128 + 20 * np.cos(t), 185 + 6 * np.sin(t)], 1)
    values = dict(
        picture=np.full((SIDE, SIDE, 3), 170, np.uint8),
        points=points,
        blendshapes={
            "mouthSmileLeft": 0.2,
            "mouthSmileRight": 0.4,
            "eyeBlinkLeft": 0.1,
            "eyeBlinkRight": 0.2,
        },
        labels=np.full((SIDE, SIDE), SKIN, np.uint8),
    )
    return Evidence(**(values | changes))


def value(name, e):
    return scorers.SCORERS[name].formula(e)


def test_blendshape_and_landmark_scores():
    e = face()
    assert value("smiling", e) == pytest.approx(0.3)
    assert value("eyes_closed", e) == pytest.approx(0.15)
    assert value("mouth_open", e) == 0
    e.points[mesh.INNER_LIP_BOTTOM] += (0, 25)
    assert value("mouth_open", e) == pytest.approx(0.25)


@pytest.mark.parametrize("roll", [0, 20])
@pytest.mark.parametrize("yaw", [-30, 0, 15])
def test_yaw_of_a_turned_head(yaw, roll):
    head = np.array(
        [[-50, 0, 0], [50, 0, 0], [0, 40, 100 * scorers_expressions.NOSE_HEIGHT]]
    )  # x, y, towards the camera
    a, r = np.radians(yaw), np.radians(roll)
    turned = head @ np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    flat = turned[:, :2] @ np.array([[np.cos(r), np.sin(r)], [-np.sin(r), np.cos(r)]])
    e = face()
    e.points[[33, 263, mesh.NOSE_TIP]] = flat + 128
    assert value("yaw", e) == pytest.approx(yaw, abs=1e-3)


def test_parsing_scores():
    labels = np.full((SIDE, SIDE), SKIN, np.uint8)
    labels[:26], labels[90:100, 80:120] = HAIR, BROW
    picture = np.full((SIDE, SIDE, 3), 170, np.uint8)
    picture[:26], picture[90:100, 80:120] = 40, 85
    e = face(labels=labels, picture=picture)
    dark, skin, hair = (
        float(skimage.color.rgb2lab(np.full((1, 1, 3), v, np.uint8))[0, 0, 0])
        for v in (85, 170, 40)
    )
    assert value("hair_color", e) == pytest.approx(hair, abs=0.01)
    assert value("bushy_eyebrows", e) == pytest.approx(
        10 * 40 * (1 - dark / skin) / 100**2, rel=1e-3
    )
    assert np.isnan(value("hair_color", face()))
    shares = np.zeros(len(CLASSES), np.float32)
    shares[[SKIN, GLASSES]] = 0.3, 0.1
    assert value("eyeglasses", face(shares=shares)) == pytest.approx(0.25)


def test_beard_is_darkness_greyness_or_roughness_around_the_mouth():
    rng = np.random.default_rng(0)
    bare = np.full((SIDE, SIDE, 3), (200, 160, 140), np.uint8)

    def bearded(change):
        picture = bare.copy()
        picture[165:] = change(picture[165:].astype(float)).clip(0, 255).astype(np.uint8)
        return value("beard", face(picture=picture))

    assert value("beard", face(picture=bare)) == pytest.approx(0, abs=1e-3)
    dark, darker = bearded(lambda p: p * 0.8), bearded(lambda p: p * 0.5)
    grey = bearded(lambda p: p * 0 + p.mean())
    rough = bearded(lambda p: p + rng.normal(0, 15, p.shape[:2])[..., None])
    assert 0.1 < dark < darker and grey > 0.2 and rough > 0.2
    assert np.isnan(value("beard", face(labels=np.zeros((SIDE, SIDE), np.uint8))))


def test_lab_equals_scikit_image():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image[0, :4] = [[0, 0, 0], [255, 255, 255], [1, 2, 3], [255, 0, 0]]
    np.testing.assert_allclose(lab(image), skimage.color.rgb2lab(image), atol=0.02)


def test_box_blur_equals_scipy():
    x = np.random.default_rng(0).normal(size=(9, 12)).astype(np.float32)
    np.testing.assert_allclose(
        scorers_colours.box_blur(x, 2),
        scipy.ndimage.uniform_filter(x, 5, mode="nearest"),
        atol=1e-6,
    )


def test_similarity_transform_solves_the_least_squares_problem():
    """Linear in a, b, s, t of x' = a x - b y + s, y' = b x + a y + t."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    (x, y), one, zero = source.T, np.ones(5), np.zeros(5)
    equations = np.stack([np.r_[x, y], np.r_[-y, x], np.r_[one, zero], np.r_[zero, one]], 1)
    a, b, s, t = np.linalg.lstsq(equations, target.T.ravel(), rcond=None)[0]
    expected = [[a, -b, s], [b, a, t]]
    np.testing.assert_allclose(similarity_transform(source, target), expected, atol=1e-12)


def test_chip_puts_the_points_where_the_template_has_them():
    """A bright dot at each point of a turned face lights up the template's place in the chip."""
    template = IDENTITY_TEMPLATE
    r = np.radians(25)
    points = (template - 56) @ np.array([[np.cos(r), np.sin(r)], [-np.sin(r), np.cos(r)]]) * 4 + (
        500,
        520,
    )
    rows, columns = np.mgrid[:1024, :1024] + 0.5
    picture = np.zeros((1024, 1024), np.float32)
    for x, y in points:
        picture += 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 12**2))
    crop = chip(
        np.repeat(picture.clip(0, 255).astype(np.uint8)[..., None], 3, 2),
        points / 1024,
        template,
        112,
    )
    assert crop.shape == (112, 112, 3)
    for x, y in template:
        patch = crop[int(y) - 5 : int(y) + 7, int(x) - 5 : int(x) + 7, 0].astype(float)
        rows, columns = np.mgrid[: patch.shape[0], : patch.shape[1]] + 0.5
        centre = np.array([(columns * patch).sum(), (rows * patch).sum()]) / patch.sum() + (
            int(x) - 5,
            int(y) - 5,
        )
        np.testing.assert_allclose(centre, (x, y), atol=0.35)


def test_resized_averages_when_shrinking():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(resized(image, 4), image.reshape(4, 2, 4, 2, 3).mean((1, 3)), atol=1)
    assert resized(image, 8) is image


def test_unknown_score_is_named():
    with pytest.raises(UserError, match=r"handsome.*smiling"):
        scorers.score(np.zeros((1, 256, 256, 3), np.uint8), ["smiling", "handsome"])


def test_missing_onnxruntime_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    evidence.session.cache_clear()
    with pytest.raises(UserError, match="pip install onnxruntime"):
        evidence.session("age")


@pytest.fixture(scope="module")
def photographs():
    from PIL import Image

    folder = store.fetch("ffhq_photos")
    images = [
        np.asarray(Image.open(folder / f"{i:05d}.png").convert("RGB").reduce(2)) for i in range(11)
    ]
    labels = [
        json.loads((folder / f"{i:05d}.json").read_text())[0]["faceAttributes"] for i in range(11)
    ]
    return np.stack(images), labels


@pytest.mark.weights
def test_scores_agree_with_the_labels_of_photographs(photographs):
    images, labels = photographs
    found = scorers.score(images, batch_size=6)

    def labelled(pick):
        return np.array([pick(label) for label in labels])

    smile = labelled(lambda a: a["smile"] > 0.5)
    assert (
        np.mean([[a > b for a in found["smiling"][smile]] for b in found["smiling"][~smile]]) > 0.9
    )
    glasses = labelled(lambda a: a["glasses"] != "NoGlasses")
    assert found["eyeglasses"][glasses].min() > 5 * found["eyeglasses"][~glasses].max()
    assert np.corrcoef(found["age"], labelled(lambda a: a["age"]))[0, 1] > 0.85
    assert np.corrcoef(found["yaw"], labelled(lambda a: a["headPose"]["yaw"]))[0, 1] > 0.9
    blond = labelled(lambda a: a["hair"]["hairColor"][0]["color"] == "blond")
    black = labelled(lambda a: a["hair"]["hairColor"][0]["color"] == "black")
    assert found["hair_color"][blond].mean() > found["hair_color"][black].mean() + 10
    grown_up = labelled(lambda a: a["age"] > 18)
    male = labelled(lambda a: a["gender"] == "male")
    assert found["gender"][grown_up & male].mean() > found["gender"][grown_up & ~male].mean() + 5


@pytest.mark.weights
def test_a_picture_without_a_face_scores_nan(photographs):
    images = np.stack([np.full((512, 512, 3), 90, np.uint8), photographs[0][8]])
    found = scorers.score(images, ["smiling", "age", "hair_color"])
    for name in ("smiling", "age", "hair_color"):
        assert np.isnan(found[name][0]) and np.isfinite(found[name][1])
