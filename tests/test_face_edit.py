"""The product's edit of a real photograph, by the parts that ship: what may not change does not,
and the report says what was done.
"""

import json

import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image

from diffcam_jax.editing import window_edit
from diffcam_jax.editing.config import WindowConfig
from diffcam_jax.editor import face_session
from diffcam_jax.editor.editor import Editor
from diffcam_jax.faces import evidence
from diffcam_jax.inversion import optimise
from diffcam_jax.nn.conventions import CLASSES
from tests.fast import fast

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def editor():
    """Its programs are compiled quickly, which is most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((window_edit, "draft"), (face_session, "edit_window")):
            patch.setattr(module, name, fast(getattr(module, name), static_argnames="config"))
        patch.setattr(
            optimise, "jitted_step", fast(optimise.step, static_argnums=0, donate_argnums=1)
        )
        yield Editor.from_pretrained("ffhq")


STRENGTHS = {"smiling": 1.0, "mouth_open": 0.3}
KEPT = 310  # column of the photograph from which on the mask by hand keeps it: right of the mouth


@pytest.fixture(scope="module")
def by_hand(hopper):
    """The same mask for both edits, which then are the same programs."""
    mask = np.zeros(hopper.shape[:2], np.float32)
    mask[:, :KEPT] = 1
    return mask


@pytest.fixture(scope="module")
def hopper():
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file).convert("RGB"))


def region(face, *names):
    """Of an aligned picture, at its size; every sample of the parsing is a square."""
    labels = evidence.parse(face.aligned[None], 1)[0][0]
    found = np.isin(labels, [CLASSES.index(name) for name in names])
    return found.repeat(4, 0).repeat(4, 1)


def strict(report):
    """Through JSON, which knows no NaN."""
    return json.loads(json.dumps(report, allow_nan=False))


def check_exact(result, pixels):
    face = result.faces[0]
    np.testing.assert_array_equal(face.fused[face.mask == 0], face.aligned[face.mask == 0])
    changed = (result.image != pixels).any(-1)
    # The crop of a mask is smooth over some pixels.
    assert not changed[:, KEPT + 4 :].any() and changed[:, KEPT - 4 : KEPT].any()
    assert (
        result.report["untouched_exact"]
        and 0 < changed.mean() < 1 - result.report["untouched_share"] + 1e-6
    )
    assert face.mask.min() == 0 and face.mask.max() <= 1
    hat = region(face, "hat", "cloth", "background")
    assert hat.mean() > 0.2 and not face.mask[hat].any()
    np.testing.assert_array_equal(face.fused[hat], face.aligned[hat])


def test_two_attributes_leave_the_hat_and_say_what_was_done(editor, hopper, by_hand):
    result = editor.edit(hopper, STRENGTHS, tune=3, cache=False, user_mask=by_hand)
    face = result.faces[0]
    check_exact(result, hopper)
    mouth = region(face, "mouth", "upper_lip", "lower_lip")
    assert (face.mask[mouth] > 0.5).mean() > 0.9
    assert (face.fused != face.aligned).any(-1)[mouth].mean() > 0.9
    # Off the window I' and T are the photograph.
    top, bottom, left, right = face.window_pixels
    outside = np.ones(mouth.shape, bool)
    outside[top:bottom, left:right] = False
    assert 0.1 < outside.mean() < 0.95 and not face.mask[outside].any()
    for picture in (face.inverted, face.edited):
        np.testing.assert_array_equal(picture[outside], face.aligned[outside])
        assert (picture != face.aligned).any(-1)[~outside].mean() > 0.5

    report = strict(result.report)
    assert report["tune"] == 3 and report["untouched_share"] > 0.5
    told = report["faces"][0]
    tuning = told["tuning"]
    assert tuning["steps"] == 3 and tuning["cached"] is False and tuning["loss"] < tuning["begun"]
    # Of a cell 16 pixels.
    assert [16 * x for x in tuning["window"]] == [top, left, bottom - top, right - left]
    assert set(told["strengths"]) == set(told["classifier"]) == set(STRENGTHS)
    for name, strength in told["strengths"].items():
        direction = editor.directions[name]
        assert strength["asked"] == STRENGTHS[name] and 0 < strength["factor"] <= direction.range[1]
        assert 1 <= len(strength["tries"]) <= 5 and strength["factor"] in [
            f for f, _ in strength["tries"]
        ]
        assert strength["after"] - strength["before"] == pytest.approx(
            strength["reached"] * direction.move, abs=1e-3
        )
    assert told["strengths"]["smiling"]["reached"] > 0.3
    codes = sum(
        told["strengths"][name]["factor"] * editor.directions[name].array for name in STRENGTHS
    )
    np.testing.assert_allclose(face.edited_latents - face.latents, codes, atol=1e-3)
    assert set(told["kept"]) >= {"parsing", "hands", "missed"} and isinstance(told["notes"], list)
    assert 0.3 < told["kept"]["parsing"] < 1 and told["kept"]["hands"] == 0


def test_an_edit_as_it_is_measures_nothing(editor, hopper, by_hand):
    result = editor.edit(
        hopper, STRENGTHS, tune=0, raw_strength=True, cache=False, user_mask=by_hand
    )
    check_exact(result, hopper)
    told = strict(result.report)["faces"][0]
    assert told["tuning"] is None and result.report["tune"] == 0
    for name, strength in told["strengths"].items():
        assert strength["factor"] == strength["asked"] == STRENGTHS[name]
        assert (
            strength["decided_by"] == "code"
            and strength["tries"] == []
            and strength["reached"] is None
        )
    codes = result.faces[0].edited_latents - result.faces[0].latents
    expected = sum(STRENGTHS[name] * editor.directions[name].array for name in STRENGTHS)
    np.testing.assert_allclose(codes, expected, atol=1e-5)


def test_light_is_evened_out_unless_it_is_meant(editor):
    known = editor.directions
    config = WindowConfig(share=0.2)
    local = [known["smiling"], known["eyeglasses"], known["old"]]
    assert face_session.blend_of(config, local) == config
    for name in ("beard", "hair_color"):
        found = face_session.blend_of(config, [known["smiling"], known[name]])
        assert found == WindowConfig(share=0.2, membrane=False)
    assert not face_session.blend_of(WindowConfig(membrane=False), local).membrane
