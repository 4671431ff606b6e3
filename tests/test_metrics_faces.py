"""Identity, attribute changes and regions on photographs, and features and LPIPS with the published
weights.
"""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image

from diffcam_jax.errors import UserError
from diffcam_jax.faces import chips, evidence, scorers
from diffcam_jax.faces.landmarks import FaceLandmarker
from diffcam_jax.metrics import attributes, masks
from diffcam_jax.metrics.features import InceptionFeatures
from diffcam_jax.metrics.identity import IDENTITY_TEMPLATE, Identity
from diffcam_jax.metrics.perceptual import Lpips
from diffcam_jax.pretrained import store

pytestmark = pytest.mark.weights
GREY = np.full((256, 256, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def photographs():
    """Four FFHQ photographs at 512 px with what their labels say."""
    folder = store.fetch("ffhq_photos")
    images = [
        np.asarray(Image.open(folder / f"{i:05d}.png").convert("RGB").reduce(2))
        for i in (1, 4, 8, 10)
    ]
    return images, [
        json.loads((folder / f"{i:05d}.json").read_text())[0]["faceAttributes"]
        for i in (1, 4, 8, 10)
    ]


@pytest.fixture(scope="module")
def identity():
    return Identity(batch=2)


def test_embeddings_are_those_of_the_published_program(photographs, identity):
    """SFace's own file in onnxruntime, on the crop that its landmarks ask for."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(
        str(store.fetch("sface")), options, providers=["CPUExecutionProvider"]
    )
    images, expected = photographs[0][:2], []
    with FaceLandmarker() as landmarker:
        for image in images:
            points = evidence.find_face(landmarker, image)[0]
            eyes = [points[[33, 133, 159, 145]].mean(0), points[[362, 263, 386, 374]].mean(0)]
            crop = chips.chip(
                image, np.stack([*eyes, *points[[1, 61, 291]]]), IDENTITY_TEMPLATE, 112
            )
            vector = session.run(None, {"data": crop.astype(np.float32).transpose(2, 0, 1)[None]})[
                0
            ][0]
            expected.append(vector / np.linalg.norm(vector))
    np.testing.assert_allclose(identity.embed(images), expected, atol=1e-5)


def test_identity_of_one_person_of_two_and_of_nobody(photographs, identity):
    images = photographs[0]
    small = [chips.resized(image, 256) for image in images]
    same = identity(images, small)  # sizes differ within pairs
    other = identity(iter(images), [*small[1:], small[0]])
    assert same.min() > 0.9 and other.max() < 0.4
    found = identity([images[0], GREY, images[1]], [images[0]] * 3)
    assert found[0] == pytest.approx(1, abs=1e-5) and np.isnan(found[1]) and found[2] < 0.4
    assert np.isnan(identity([GREY], [GREY])).all()


def test_changes_of_attributes(photographs):
    images = photographs[0][:2]
    moved = attributes.change([*images, GREY], [*images[::-1], GREY], ["smiling", "skin_lightness"])
    assert moved["smiling"][0] == pytest.approx(-moved["smiling"][1]) and moved["smiling"][0] != 0
    assert np.isnan(moved["skin_lightness"][2])
    darker = [(image * 0.7).astype(np.uint8) for image in images]
    assert np.all(attributes.change(images, darker, ["skin_lightness"])["skin_lightness"] < -5)
    with pytest.raises(UserError, match="2 pictures before and 1 after"):
        attributes.change(images, images[:1], ["smiling"])
    with pytest.raises(UserError, match="handsome"):
        attributes.scores(images, ["handsome"])


def test_scores_that_need_onnxruntime_are_named_where_it_is_missing(monkeypatch):
    names, note = attributes.available()
    assert set(names) == set(scorers.SCORERS) and note == ""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    names, note = attributes.available()
    assert set(scorers.SCORERS) - set(names) == {"age", "gender"}
    assert note.startswith("not scored: age, gender") and "pip install onnxruntime" in note


def test_regions_of_photographs(photographs):
    images, labels = photographs
    found = masks.regions([*images, GREY], list(masks.REGIONS))
    for name, region in found.items():
        assert region.shape == (5, 256, 256) and not region[4].any()
        # An FFHQ crop has the eyes near row 122 and the mouth near row 178 of 256.
        rows = np.argwhere(region[:4].any((0, 2)))
        if name in ("smiling", "mouth_open"):
            assert rows.min() > 140 and rows.max() < 225
        if name in ("eyes_closed", "bushy_eyebrows", "eyeglasses"):
            assert rows.min() > 80 and rows.max() < 170
    share = {name: region[:4].mean((1, 2)) for name, region in found.items()}
    assert np.all(share["old"] > share["eyeglasses"]) and np.all(
        share["eyeglasses"] > share["eyes_closed"]
    )
    assert np.all((share["smiling"] > 0.002) & (share["smiling"] < 0.06)) and np.all(
        share["beard"] > 0.02
    )
    # The lower face is the face's, the eyes lie where glasses would.
    assert np.all(masks.inside(found["beard"][:4], found["old"][:4]) > 0.7)
    assert np.all(masks.coverage(found["eyeglasses"][:4], found["eyes_closed"][:4]) > 0.95)
    assert (
        any(label["glasses"] != "NoGlasses" for label in labels) or share["eyeglasses"].min() > 0.02
    )


def test_features_do_not_depend_on_batches_and_take_mixed_sizes(photographs):
    look = InceptionFeatures(batch=2)
    images = [*photographs[0][:2], chips.resized(photographs[0][2], 300)]
    found = look(images)
    assert found.shape == (3, 2048) and found.dtype == np.float32 and np.ptp(found) > 0.5
    np.testing.assert_allclose(look(iter(images[2:])), found[2:], atol=1e-4)
    assert look([]).shape == (0, 2048)


def test_lpips_orders_what_is_near_and_far(photographs):
    a = np.stack(photographs[0][:2])
    noise = np.random.default_rng(0).normal(0, 1, a.shape)
    near, far = (np.clip(a + amount * noise, 0, 255).astype(np.uint8) for amount in (4, 60))
    metric = Lpips("alex", batch=2)
    values = [metric(a, b) for b in (a, near, far, a[::-1])]
    assert (
        np.all(values[0] < 1e-6) and np.all(values[0] < values[1]) and np.all(values[1] < values[2])
    )
    assert values[3].min() > 0.4
