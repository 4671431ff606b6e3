"""Inversion on a small generator with a known answer, and its code cache."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax import inversion
from diffcam_jax.code_cache import CodeCache
from diffcam_jax.inversion import InversionConfig
from diffcam_jax.latents import latent_stats, to_wplus, truncate, whiten
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN

MODEL = MobileStyleGAN(widths=(16, 16, 8, 8), latent_size=8, mapping_layers=2)
CONFIG = InversionConfig(steps=80, w_steps=40, prior=1e-4, size=64)
# Two heads: LPIPS then ends at its second tap, and the rest of VGG16 is not needed.
CONVOLUTIONS = {"conv1_1": (3, 64), "conv1_2": (64, 64), "conv2_1": (64, 128), "conv2_2": (128, 128)}


@jax.jit
def draw(variables, codes):
    return MODEL.apply(variables, codes, method="synthesis")


@pytest.fixture(scope="module")
def nets():
    params = jax.jit(MODEL.init)(jax.random.key(0), jnp.zeros((1, 8)))["params"]
    rng = np.random.default_rng(0)
    trunk = {
        name: {
            "kernel": jnp.asarray(rng.normal(0, (2 / (9 * a)) ** 0.5, (3, 3, a, b)), jnp.float32),
            "bias": jnp.zeros(b),
        }
        for name, (a, b) in CONVOLUTIONS.items()
    }
    heads = {f"lin{i}": jnp.full(c, 1 / c) for i, c in enumerate((64, 128))}
    stats = jax.jit(latent_stats, static_argnums=(0, 3))(MODEL, {"params": params}, jax.random.key(1), 256)
    return inversion.networks({"params": params}, {"vgg16": {"trunk": trunk, "heads": heads}}, stats)


@pytest.fixture(scope="module")
def known(nets):
    """Two codes, truncated as the untrained generator's pictures are wild far from the mean, and their pictures."""
    w = MODEL.apply(nets.generator, jax.random.normal(jax.random.key(7), (2, 8)), method="mapping")
    w = truncate(w, nets.stats.mean, 0.4)
    return w, draw(nets.generator, to_wplus(w))


@pytest.fixture(scope="module")
def found(nets, known):
    return inversion.invert(MODEL, nets, known[1], CONFIG)


def test_pictures_of_the_generator_are_found_again(nets, known, found):
    images = known[1]
    assert found.codes.shape == (2, 18, 8)
    assert np.all(found.loss < 0.15 * found.history[0])
    np.testing.assert_array_equal(found.loss, np.minimum.reduce(found.history))
    redrawn = draw(nets.generator, found.codes)
    mean = draw(nets.generator, to_wplus(jnp.broadcast_to(nets.stats.mean, (2, 8))))
    assert np.mean((redrawn - images) ** 2) < 0.1 * np.mean((mean - images) ** 2)


def test_the_same_photograph_gives_the_same_codes_alone_or_in_a_batch(nets, known, found):
    alone = inversion.invert(MODEL, nets, known[1][1:], CONFIG)
    np.testing.assert_array_equal(alone.codes, inversion.invert(MODEL, nets, known[1][1:], CONFIG).codes)
    np.testing.assert_allclose(alone.history[:10], found.history[:10, 1:], rtol=2e-3)


def test_offsets_rest_until_w_had_its_steps(nets, known):
    first = inversion.invert(MODEL, nets, known[1], dataclasses.replace(CONFIG, steps=40))
    np.testing.assert_array_equal(first.codes, to_wplus(first.codes[:, 0]))
    assert inversion.rates(CONFIG, 0) == (CONFIG.w_rate, 0)
    assert inversion.rates(CONFIG, 39)[1] == 0 < inversion.rates(CONFIG, 41)[1] < CONFIG.offset_rate
    np.testing.assert_allclose(inversion.rates(CONFIG, 40), (CONFIG.w_rate / 2, CONFIG.offset_rate))
    assert CONFIG.with_steps(20) == dataclasses.replace(CONFIG, steps=20, w_steps=10)


def test_the_prior_keeps_codes_near_the_distribution(nets, known, found):
    near = inversion.invert(MODEL, nets, known[1], dataclasses.replace(CONFIG, prior=1.0))

    def distance(codes):
        return float((whiten(codes - nets.stats.mean, nets.stats) ** 2).mean())

    assert distance(near.codes) < 0.5 * distance(found.codes)


def test_loss_is_the_sum_of_its_terms(nets, known):
    """At the picture's own code the fit is perfect, and what is left is the prior."""
    w, images = known
    offsets = jnp.zeros((2, 18, 8)).at[:, 16:].set(0.3)  # rows that this generator does not read
    target = inversion.make_target(nets, images, 64)
    scales = inversion.Scales(pixel=0.5, face=1.0, prior=1e-4, w_rate=0.0, offset_rate=0.0)
    values = jax.jit(inversion.loss, static_argnums=0)(MODEL, nets, target, scales, w, offsets)
    spread = nets.stats.eigenvalues + 1e-3
    white_w = ((w - nets.stats.mean) @ nets.stats.eigenvectors) ** 2 / spread
    white_d = (offsets @ nets.stats.eigenvectors) ** 2 / spread
    np.testing.assert_allclose(values, 1e-4 * (white_w.mean(1) + 2 * white_d.mean((1, 2))), rtol=1e-3, atol=1e-6)


def test_a_start_code_is_where_the_search_begins(nets, known):
    w, images = known
    config = dataclasses.replace(CONFIG, steps=2, w_steps=1)
    guessed = inversion.invert(MODEL, nets, images, config, start=to_wplus(w))
    assert np.all(guessed.history[0] < 0.1 * inversion.invert(MODEL, nets, images, config).history[0])


def test_a_broken_picture_stands_still_and_spoils_nobody(nets, known, found):
    images = known[1].at[0].set(jnp.nan)
    result = inversion.invert(MODEL, nets, images, CONFIG)
    assert np.isnan(result.loss[0])
    np.testing.assert_allclose(result.codes[0], np.broadcast_to(nets.stats.mean, (18, 8)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(result.loss[1], found.loss[1], rtol=0.2)


def test_stops_when_nothing_improves(nets, known):
    config = dataclasses.replace(CONFIG, w_steps=5, patience=4, tolerance=1.0)
    assert len(inversion.invert(MODEL, nets, known[1], config).history) == 9


def test_views_show_the_whole_picture_and_the_face():
    image = jnp.arange(64 * 64 * 3, dtype=jnp.float32).reshape(1, 64, 64, 3)
    whole, face = inversion.views(image)
    assert whole.shape == (1, 16, 16, 3) and face.shape == (1, 32, 32, 3)
    np.testing.assert_allclose(whole[0, 2, 5], image[0, 8:12, 20:24].mean((0, 1)))
    np.testing.assert_array_equal(face[0, 0, 0], image[0, 24, 16])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFCAM_HOME", str(tmp_path))
    return CodeCache("a" * 64, CONFIG)


def test_codes_come_back_for_this_picture_and_recipe_only(cache):
    aligned = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    codes = np.random.default_rng(1).normal(size=(18, 8)).astype(np.float32)
    assert cache.load(aligned) is None
    cache.save(aligned, codes)
    np.testing.assert_array_equal(CodeCache("a" * 64, CONFIG).load(aligned), codes)
    changed = aligned.copy()
    changed[3, 3, 0] ^= 1
    assert cache.load(changed) is None
    assert CodeCache("b" * 64, CONFIG).load(aligned) is None
    assert CodeCache("a" * 64, CONFIG.with_steps(7)).load(aligned) is None
    assert CodeCache("a" * 64, CONFIG, start="encoder").load(aligned) is None


def test_a_damaged_file_is_replaced(cache):
    aligned, codes = np.zeros((4, 4, 3), np.uint8), np.ones((18, 8), np.float32)
    cache.save(aligned, codes)
    cache.path(aligned).write_bytes(cache.path(aligned).read_bytes()[:-5])
    assert cache.load(aligned) is None
    cache.save(aligned, codes)
    np.testing.assert_array_equal(cache.load(aligned), codes)


def test_a_folder_that_cannot_be_written_fails_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIFFCAM_HOME", str(tmp_path / "file"))
    cache = CodeCache("a" * 64, CONFIG)
    cache.save(np.zeros((4, 4, 3), np.uint8), np.ones((18, 8), np.float32))
    assert cache.load(np.zeros((4, 4, 3), np.uint8)) is None
