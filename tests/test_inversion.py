"""The product's inversion on a small generator with a known answer."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.inversion import PriorSettings, prior
from diffcam_jax.inversion.optimise import minimise
from diffcam_jax.nn.latents import latent_stats, to_wplus, truncate, whiten
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network

MODEL = MobileStyleGAN(widths=(16, 16, 8, 8), latent_size=8, mapping_layers=2)
ROWS = 10
CONFIG = PriorSettings(steps=80, w_steps=40, prior=1e-4, size=64)
# Two heads: LPIPS then ends at its second tap, and the rest of VGG16 is not needed.
CONVOLUTIONS = {
    "conv1_1": (3, 64),
    "conv1_2": (64, 64),
    "conv2_1": (64, 128),
    "conv2_2": (128, 128),
}


def invert(nets, images, config, start=None, space="w+"):
    """The method without its pretrained parts: the codes too, for each picture."""
    problem = prior.PriorProblem(config.size)
    start = jnp.broadcast_to(nets.stats.mean, (len(images), ROWS, 8)) if start is None else start
    found = minimise(
        problem,
        nets,
        jax.jit(problem.target)(nets, images),
        problem.weights(config),
        problem.unknown(start, space),
        config.steps,
        functools.partial(problem.step_settings, config, space),
    )
    return found, np.asarray(problem.codes(found.best))


@jax.jit
def draw(generator, codes):
    return generator(codes, method="synthesis")


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
    stats = jax.jit(latent_stats, static_argnums=(0, 3))(
        MODEL, {"params": params}, jax.random.key(1), 256
    )
    generator = Network(MODEL, {"params": params})
    return prior.Frozen(generator, {"trunk": trunk, "heads": heads}, stats)


@pytest.fixture(scope="module")
def known(nets):
    """Two codes, truncated as the untrained generator's pictures are wild far from the mean, and
    their pictures.
    """
    w = nets.generator(jax.random.normal(jax.random.key(7), (2, 8)), method="mapping")
    w = truncate(w, nets.stats.mean, 0.4)
    return w, draw(nets.generator, to_wplus(w))


@pytest.fixture(scope="module")
def found(nets, known):
    return invert(nets, known[1], CONFIG)


def test_pictures_of_the_generator_are_found_again(nets, known, found):
    result, codes = found
    assert codes.shape == (2, ROWS, 8)
    assert np.all(result.loss < 0.15 * result.history[0])
    np.testing.assert_array_equal(result.loss, result.history.min(0))
    redrawn = draw(nets.generator, codes)
    mean = draw(nets.generator, to_wplus(jnp.broadcast_to(nets.stats.mean, (2, 8))))
    assert np.mean((redrawn - known[1]) ** 2) < 0.1 * np.mean((mean - known[1]) ** 2)


def test_the_same_photographs_give_the_same_codes(nets, known, found):
    np.testing.assert_array_equal(invert(nets, known[1], CONFIG)[1], found[1])


def test_offsets_rest_until_w_had_its_steps_and_always_in_w(nets, known):
    for codes in (
        invert(nets, known[1], dataclasses.replace(CONFIG, steps=40))[1],
        invert(nets, known[1], CONFIG, space="w")[1],
    ):
        np.testing.assert_array_equal(codes, np.broadcast_to(codes[:, :1], codes.shape))
    assert prior.rates(CONFIG, 0) == (CONFIG.w_rate, 0)
    assert prior.rates(CONFIG, 39)[1] == 0 < prior.rates(CONFIG, 41)[1] < CONFIG.offset_rate
    np.testing.assert_allclose(prior.rates(CONFIG, 40), (CONFIG.w_rate / 2, CONFIG.offset_rate))
    assert CONFIG.with_steps(20) == dataclasses.replace(CONFIG, steps=20, w_steps=10)


def test_the_prior_keeps_codes_near_the_distribution(nets, known, found):
    _, near = invert(nets, known[1], dataclasses.replace(CONFIG, prior=1.0))

    def distance(codes):
        return float((whiten(codes - nets.stats.mean, nets.stats) ** 2).mean())

    assert distance(near) < 0.5 * distance(found[1])


def test_loss_is_the_sum_of_its_terms(nets, known):
    """At the picture's own code the fit is perfect, and what is left is the prior."""
    w, images = known
    offsets = jnp.zeros((2, ROWS, 8)).at[:, 8:].set(0.3)  # rows that this generator does not read
    problem = prior.PriorProblem(64)
    values = jax.jit(
        lambda nets, images: problem.loss(
            nets, problem.target(nets, images), prior.Weights(0.5, 1.0, 1e-4), (w, offsets)
        )
    )(nets, images)
    spread = nets.stats.eigenvalues + 1e-3
    white_w = ((w - nets.stats.mean) @ nets.stats.eigenvectors) ** 2 / spread
    white_d = (offsets @ nets.stats.eigenvectors) ** 2 / spread
    np.testing.assert_allclose(
        values, 1e-4 * (white_w.mean(1) + 2 * white_d.mean((1, 2))), rtol=1e-3, atol=1e-6
    )


def test_a_start_code_is_where_the_search_begins(nets, known, found):
    w, images = known
    config = dataclasses.replace(CONFIG, steps=2, w_steps=1)
    guessed, _ = invert(nets, images, config, start=to_wplus(w, ROWS))
    assert np.all(guessed.history[0] < 0.1 * found[0].history[0])


def test_a_broken_picture_stands_still_and_spoils_nobody(nets, known, found):
    result, codes = invert(nets, known[1].at[0].set(jnp.nan), CONFIG)
    assert np.isinf(result.loss[0])
    np.testing.assert_allclose(
        codes[0], np.broadcast_to(nets.stats.mean, (ROWS, 8)), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(result.loss[1], found[0].loss[1], rtol=0.2)


def test_stops_when_nothing_improves_but_not_before_the_offsets_had_their_chance(nets, known):
    config = dataclasses.replace(CONFIG, w_steps=5, patience=4, tolerance=1.0)
    assert len(invert(nets, known[1], config)[0].history) == 9


def test_views_show_the_whole_picture_and_the_face():
    image = jnp.arange(64 * 64 * 3, dtype=jnp.float32).reshape(1, 64, 64, 3)
    whole, face = prior.views(image)
    assert whole.shape == (1, 16, 16, 3) and face.shape == (1, 32, 32, 3)
    np.testing.assert_allclose(whole[0, 2, 5], image[0, 8:12, 20:24].mean((0, 1)))
    np.testing.assert_array_equal(face[0, 0, 0], image[0, 24, 16])
