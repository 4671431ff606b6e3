"""`Editor` on a tiny generator with cached codes: photographs in, photographs out, nothing else
touched.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax import inversion
from diffcam_jax.editor.editor import Editor
from diffcam_jax.errors import UserError
from diffcam_jax.faces import align
from diffcam_jax.files.code_cache import CodeCache
from diffcam_jax.inversion import Inverter
from diffcam_jax.pretrained import store
from tests import small_editor
from tests.fast import fast
from tests.small_editor import CONFIG, GENERATOR, direction, photograph


@pytest.fixture(scope="module")
def editor():
    return small_editor.editor(encoded=False)


LANDMARKS = np.array([[90.0, 80.0], [130.0, 84.0], [110.0, 105.0], [94.0, 125.0], [124.0, 127.0]])


@pytest.fixture
def cached(editor, tmp_path, monkeypatch):
    """Puts codes of a crop into an empty cache, so that no inversion is needed."""
    monkeypatch.setenv("DIFFCAM_HOME", str(tmp_path))

    def put(pixels: np.ndarray, quad: np.ndarray) -> np.ndarray:
        crop = np.round(align.crop(pixels, quad, GENERATOR.resolution) * 255).astype(np.uint8)
        codes = np.random.default_rng(1).standard_normal((18, 512)).astype(np.float32)
        CodeCache(Inverter(editor.networks.generator).recipe).save(crop, codes)
        return codes

    return put


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_photograph_keeps_everything_outside_the_mask(editor, cached, dtype):
    pixels = photograph(dtype)
    quad = align.ffhq_quad(LANDMARKS)
    codes = cached(pixels, quad)
    result = editor.edit(pixels, {"smiling": 1.0}, landmarks=LANDMARKS)
    assert result.image.shape == pixels.shape and result.image.dtype == dtype
    touched = align.photo_mask(result.mask, quad, *pixels.shape[:2]) > 0
    assert 0.01 < touched.mean() < 0.9
    np.testing.assert_array_equal(result.image[~touched], pixels[~touched])
    assert (result.image != pixels).any(-1)[touched].mean() > 0.3
    np.testing.assert_array_equal(result.latents, codes)
    assert result.report["untouched_exact"] is True
    assert result.report["untouched_share"] == pytest.approx(1 - touched.mean(), abs=1e-5)
    assert result.report["weights"]["directions"] == {
        "smiling": editor.directions["smiling"].sha256
    }
    for picture in (result.aligned, result.inverted, result.edited, result.fused):
        assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8


def test_the_same_edit_gives_the_same_bytes(editor, cached):
    pixels = photograph(size=(128, 128))
    cached(pixels, align.frame_quad(128, 128))
    one, two = (editor.edit(pixels, {"old": 1.0, "smiling": -0.5}, aligned=True) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    assert set(one.report["faces"][0]["classifier"]) == {"old", "smiling"}


def test_aligned_input_needs_no_landmarks_and_the_blend_is_eq_5(editor, cached):
    pixels = photograph(size=(128, 128))
    cached(pixels, align.frame_quad(128, 128))
    result = editor.edit(pixels, {"smiling": 1.0}, aligned=True)
    np.testing.assert_array_equal(result.aligned, pixels)
    outside = result.mask == 0
    np.testing.assert_array_equal(result.fused[outside], pixels[outside])
    np.testing.assert_array_equal(result.image[outside], pixels[outside])
    full = result.mask == 1
    np.testing.assert_array_equal(result.fused[full], result.edited[full])


def test_user_mask_confines_the_edit(editor, cached):
    pixels = photograph(size=(128, 128))
    cached(pixels, align.frame_quad(128, 128))
    mask = np.zeros((128, 128), np.float32)
    mask[:, :64] = 1
    result = editor.edit(pixels, {"smiling": 1.0}, aligned=True, user_mask=mask)
    np.testing.assert_array_equal(result.image[:, 66:], pixels[:, 66:])
    assert (result.image != pixels)[:, :60].any()
    with pytest.raises(UserError, match="equal sizes"):
        editor.edit(pixels, {"smiling": 1.0}, aligned=True, user_mask=mask[:10])


@pytest.fixture(scope="module")
def encoded(editor):
    """The same with an encoder."""
    networks = editor.networks.replace(encoder=small_editor.encoder())
    return Editor(networks, editor.directions, CONFIG)


def test_a_refinement_begins_at_the_encoders_code_and_is_kept(encoded, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFCAM_HOME", str(tmp_path))
    # LPIPS is a weight of every day; the rest of the preset is as it ships.
    preset = dataclasses.replace(inversion.REFINEMENT, lpips=0.0, identity=0.0, pixel=1.0, size=64)
    monkeypatch.setattr(inversion, "REFINEMENT", preset)
    pixels = photograph(size=(128, 128))
    plain, refined = encoded.invert(pixels), encoded.invert(pixels, refine=8)
    recipes = [
        Inverter(
            encoded.networks.generator, encoded.networks.encoder, "in_domain", preset.with_steps(n)
        ).recipe
        for n in (8, 9)
    ]
    kept, other = (CodeCache(recipe).load(pixels) for recipe in recipes)
    np.testing.assert_array_equal(kept, refined)
    assert other is None and list((tmp_path / "codes").iterdir()) == [
        CodeCache(recipes[0]).path(pixels)
    ]

    target = pixels.reshape(64, 2, 64, 2, 3).mean((1, 3)) / 127.5 - 1
    draw = fast(lambda generator, codes: generator(codes, method="synthesis", size=64))
    drawn = draw(encoded.networks.generator, jnp.stack([plain, refined]))
    before, after = ((np.asarray(drawn) - target) ** 2).mean((1, 2, 3))
    assert after < before
    result = encoded.edit(pixels, {"smiling": 1.0}, aligned=True, refine=8)
    np.testing.assert_array_equal(result.latents, refined)
    assert result.report["refine"] == 8


def test_a_refinement_needs_an_encoder(editor, encoded):
    with pytest.raises(UserError, match="begins at an encoder's code"):
        editor.edit(photograph(size=(128, 128)), {"smiling": 1.0}, aligned=True, refine=5)
    with pytest.raises(UserError, match="refine=-1"):
        encoded.edit(photograph(size=(128, 128)), {"smiling": 1.0}, aligned=True, refine=-1)


@pytest.mark.parametrize(
    ("strengths", "options", "message"),
    [
        ({"smilin": 1.0}, {"aligned": True}, "did you mean smiling"),
        ({"smiling": 5.0}, {"aligned": True}, "out of range"),
        ({"smiling": 1.0}, {"aligned": True}, "not square"),
    ],
)
def test_bad_requests(editor, strengths, options, message):
    with pytest.raises(UserError, match=message):
        editor.edit(photograph(), strengths, **options)


def test_foreign_parts_are_refused(editor):
    foreign = {"smiling": direction("smiling", generator="another")}
    with pytest.raises(UserError, match="made for another generator"):
        Editor(editor.networks, foreign)
    unknown = Editor(editor.networks, {"beard": direction("beard")}, CONFIG)
    with pytest.raises(UserError, match="the classifier does not know beard"):
        unknown.edit(photograph(size=(128, 128)), {"beard": 1.0}, aligned=True)
    with pytest.raises(UserError, match="there is ffhq"):
        Editor.from_pretrained("cats")


def test_damaged_code_cache_counts_as_absent(editor, cached, tmp_path):
    pixels = photograph(size=(128, 128))
    cached(pixels, align.frame_quad(128, 128))
    cache = CodeCache(Inverter(editor.networks.generator).recipe)
    assert cache.load(pixels) is not None
    cache.path(pixels).write_bytes(b"damaged")
    assert cache.load(pixels) is None
    assert store.cache_dir() == tmp_path
