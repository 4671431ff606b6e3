"""`inversion.invert` on small generators of every family: methods, masks, spaces, restarts, and
what is refused.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from diffcam_jax import inversion
from diffcam_jax.errors import UserError
from diffcam_jax.inversion import METHODS, PriorSettings, SearchSettings, fit
from diffcam_jax.inversion import start as starts
from diffcam_jax.inversion.encoding import Encoder, read
from diffcam_jax.losses import networks as perceptual
from diffcam_jax.nn.indomain_encoder import InDomainEncoder, encoder_widths
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.restyle import BackboneEncoder
from diffcam_jax.nn.stylegan1 import StyleGAN1Generator
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.train.distances import make_distances
from tests.fast import fast
from tests.random_variables import random_variables

K, ROWS = 8, 6  # all are generators of 16 pixels
ZEROS = np.zeros(K, np.float32)
# No VGG16: its pretrained weights are for the tests that are marked so.
PLAIN = SearchSettings(steps=30, rate=0.05, perceptual=0.0, size=16)


def network(module, *inputs, seed=0):
    return Network(module, random_variables(module, *inputs, seed=seed))


GENERATORS = {
    "mobile": network(MobileStyleGAN((8, 8), K, 2), jnp.zeros((1, K))),
    "stylegan2": network(StyleGAN2Generator((8, 8, 8), K, mapping_layers=2), jnp.zeros((1, K))),
    "stylegan1": network(StyleGAN1Generator((8, 8, 8), K, 2), jnp.zeros((1, K))),
}
STYLEGAN1 = GENERATORS["stylegan1"]
IN_DOMAIN = Encoder(
    network(InDomainEncoder(encoder_widths(16, 8, 8), ROWS, K), jnp.zeros((1, 16, 16, 3))),
    ZEROS,
    0,
    ROWS,
)


def drawn(generator, codes):
    return np.asarray(
        jax.jit(lambda v, c: generator.module.apply(v, c, method="synthesis"))(
            generator.variables, codes
        )
    )


@pytest.fixture(scope="module")
def images():
    codes = jnp.asarray(np.random.default_rng(5).normal(0, 0.4, (2, ROWS, K)), jnp.float32)
    return drawn(STYLEGAN1, codes)


@pytest.fixture(scope="module")
def found(images):
    return inversion.invert(STYLEGAN1, IN_DOMAIN, images, "in_domain", PLAIN)


def test_in_domain_begins_at_the_encoder_and_ends_below_it(images, found):
    start = read(STYLEGAN1, IN_DOMAIN, jnp.asarray(images))
    redrawn = drawn(STYLEGAN1, start)
    again = read(STYLEGAN1, IN_DOMAIN, jnp.asarray(redrawn))
    expected = ((redrawn - images) ** 2).mean((1, 2, 3)) + 2 * ((start - again) ** 2).mean((1, 2))
    np.testing.assert_allclose(found.history[0], expected, rtol=1e-4)
    assert np.all(found.loss < 0.9 * expected)
    assert (
        found.codes.shape == (2, ROWS, K)
        and found.steps == len(found.history) == 30
        and found.notes == ()
    )
    assert found.compile_seconds > 0 and found.seconds > 0


def test_the_encoders_agreement_pulls_both_ways(images):
    """Its gradient is that of (z - E(G(z)))^2 in z and in E(G(z)).

    Finite differences know no other way.
    """
    problem, frozen = fit.FitProblem(16, ROWS, agrees=True), fit.Frozen(STYLEGAN1, (), IN_DOMAIN)
    codes = jnp.asarray(np.random.default_rng(1).normal(0, 0.4, (1, ROWS, K)), jnp.float32)
    target = problem.target(frozen, jnp.asarray(images[:1]))
    loss = jax.jit(lambda c: problem.loss(frozen, target, fit.Weights(0.0, (), 1.0), (c,))[0])
    gradient = jax.jit(jax.grad(loss))(codes)
    direction = gradient / jnp.linalg.norm(gradient)
    slope = (loss(codes + 2e-3 * direction) - loss(codes - 2e-3 * direction)) / 4e-3
    np.testing.assert_allclose(slope, jnp.linalg.norm(gradient), rtol=0.02)


@pytest.mark.parametrize("family", GENERATORS)
def test_every_family_of_generators_is_inverted_from_the_mean(family):
    generator = GENERATORS[family]
    codes = starts.mean_code(generator, ROWS) + jnp.asarray(
        np.random.default_rng(2).normal(0, 0.5, (1, ROWS, K)), jnp.float32
    )
    result = inversion.invert(generator, None, drawn(generator, codes), "mse", PLAIN)
    assert result.codes.shape == (1, ROWS, K) and result.loss[0] < 0.7 * result.history[0, 0]


def test_restyle_agrees_through_all_of_its_passes(images):
    module = BackboneEncoder(
        ROWS, False, 16, K, counts=(1, 1, 1, 1), widths=(8, 8, 8, 8), squeeze=4
    )
    encoder = Encoder(network(module, jnp.zeros((1, 16, 16, 6))), ZEROS, 2, ROWS)
    settings = dataclasses.replace(PLAIN, steps=3)
    result = inversion.invert(STYLEGAN1, encoder, images[:1], "in_domain", settings)
    start = read(STYLEGAN1, encoder, jnp.asarray(images[:1]))
    again = read(STYLEGAN1, encoder, jnp.asarray(drawn(STYLEGAN1, start)))
    mse = ((drawn(STYLEGAN1, start) - images[:1]) ** 2).mean()
    np.testing.assert_allclose(
        result.history[0, 0], mse + 2 * ((start - again) ** 2).mean(), rtol=1e-3
    )


def test_the_encoder_alone(images):
    result = inversion.invert(STYLEGAN1, IN_DOMAIN, images, "encoder")
    np.testing.assert_allclose(
        result.codes, read(STYLEGAN1, IN_DOMAIN, jnp.asarray(images)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        result.loss, ((drawn(STYLEGAN1, result.codes) - images) ** 2).mean((1, 2, 3)), rtol=1e-4
    )
    assert result.steps == 0 and result.history.shape == (0, 2)
    shared = inversion.invert(STYLEGAN1, IN_DOMAIN, images, "encoder", space="w").codes
    np.testing.assert_allclose(
        shared, np.broadcast_to(result.codes.mean(1, keepdims=True), shared.shape), rtol=1e-4
    )


def test_a_cosine_brings_the_rate_to_rest():
    settings = dataclasses.replace(PLAIN, steps=10, rate=0.4, cosine=True)
    problem = fit.FitProblem(16, ROWS)
    found = [problem.step_settings(settings, "w+", index).rates[0] for index in (0, 5, 9)]
    np.testing.assert_allclose(found, [0.4, 0.2, 0.2 * (1 + np.cos(0.9 * np.pi))])


def test_rows_move_apart_at_a_rate_of_their_own(images):
    """With Adam the first step of every number is its rate: the mean of the rows moves by one, each
    row's offset by the other.
    """
    settings = dataclasses.replace(PLAIN, steps=1, rate=0.1, offsets=0.25, patience=0)
    problem = fit.FitProblem(16, ROWS, apart=True)
    assert problem.step_settings(settings, "w+", 0).rates == (0.1, 0.025) and problem.step_settings(
        settings, "w", 0
    ).rates == (0.1,)
    codes = np.random.default_rng(0).standard_normal((2, ROWS, K)).astype(np.float32)
    w, offsets = problem.unknown(jnp.asarray(codes), "w+")
    np.testing.assert_allclose(offsets.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(problem.codes((w, offsets)), codes, atol=1e-6)
    assert len(problem.unknown(jnp.asarray(codes), "w")) == 1
    spread = {}
    for share in (0.01, 1.0):
        chosen = dataclasses.replace(settings, steps=30, offsets=share)
        found = inversion.invert(
            STYLEGAN1, None, images, "mse", chosen, start=np.zeros((2, ROWS, K), np.float32)
        )
        spread[share] = found.codes.std(1).mean()
        assert np.all(found.loss < found.history[0])
    assert spread[0.01] < 0.2 * spread[1.0]


def test_a_refinement_ends_nearer_than_the_encoder(images):
    preset = dataclasses.replace(
        inversion.REFINEMENT, lpips=0.0, identity=0.0, pixel=1.0, domain=0.01, size=16
    )
    result = inversion.invert(STYLEGAN1, IN_DOMAIN, images, "in_domain", preset.with_steps(40))
    start = read(STYLEGAN1, IN_DOMAIN, jnp.asarray(images))
    before, after = (
        ((drawn(STYLEGAN1, c) - images) ** 2).mean((1, 2, 3)) for c in (start, result.codes)
    )
    assert result.steps == 40 and np.all(after < 0.8 * before)


def test_in_w_all_rows_are_the_same(images):
    codes = inversion.invert(STYLEGAN1, None, images, "mse", PLAIN, space="w").codes
    np.testing.assert_array_equal(codes, np.broadcast_to(codes[:, :1], codes.shape))


def test_only_what_the_mask_shows_counts(images):
    mask = np.zeros((2, 16, 16), np.float32)
    mask[:, 4:12, 4:12] = 1
    changed = np.where(mask[..., None] > 0, images, -images)
    first, second = (
        inversion.invert(
            STYLEGAN1,
            IN_DOMAIN,
            x,
            "in_domain",
            PLAIN,
            mask,
            start=np.zeros((2, ROWS, K)).astype(np.float32),
        )
        for x in (images, changed)
    )
    np.testing.assert_array_equal(first.codes, second.codes)
    # Without the encoder's agreement: the loss is the squared error inside, over all pixels.
    inside = (
        (drawn(STYLEGAN1, np.zeros((2, ROWS, K), np.float32)) - images) ** 2 * mask[..., None]
    ).mean((1, 2, 3))
    np.testing.assert_allclose(first.history[0], inside, rtol=1e-4)


def test_restarts_give_the_best_of_several_starts(images):
    once = inversion.invert(STYLEGAN1, None, images, "mse", PLAIN)
    result = inversion.invert(STYLEGAN1, None, images, "mse", PLAIN, restarts=2)
    assert result.steps == 90 and np.all(result.loss <= once.loss)
    np.testing.assert_array_equal(result.loss, result.history.min(0))
    np.testing.assert_array_equal(result.history[:30], once.history)
    again = inversion.invert(STYLEGAN1, None, images, "mse", PLAIN, restarts=2)
    np.testing.assert_array_equal(again.codes, result.codes)
    redrawn = ((drawn(STYLEGAN1, result.codes) - images) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(redrawn, result.loss, rtol=1e-4)


def test_a_photograph_that_is_no_number_and_time_that_ran_out_are_said(images):
    broken = images.copy()
    broken[1] = np.nan
    result = inversion.invert(STYLEGAN1, None, broken, "mse", PLAIN)
    assert (
        np.isfinite(result.loss[0]) and np.isnan(result.loss[1]) and np.isfinite(result.codes).all()
    )
    assert result.notes == (
        "picture 2: loss or gradient was not finite 4 times; given up, there is no code for it",
    )
    hurried = inversion.invert(STYLEGAN1, None, images, "mse", PLAIN, seconds=1e-6, restarts=3)
    assert hurried.steps == 2 and "stopped after 1e-06 s, at step 2 of 30" in hurried.notes
    assert hurried.notes[-1] == "1e-06 s had passed: 3 of 3 restarts were not made"


SIXTEEN = np.zeros((2, 16, 16, 3), np.float32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "indomain"}, "did you mean in_domain"),
        ({"space": "z"}, "choose w\\+ or w"),
        (
            {"method": "prior", "settings": SearchSettings()},
            "prior takes PriorSettings, not SearchSettings",
        ),
        ({"settings": PriorSettings()}, "takes SearchSettings"),
        ({"settings": dataclasses.replace(PLAIN, rate=-1.0)}, "rate=-1.0"),
        ({"settings": dataclasses.replace(PLAIN, rate=float("nan"))}, "rate=nan"),
        ({"settings": dataclasses.replace(PLAIN, steps=0)}, "at least one step"),
        ({"settings": dataclasses.replace(PLAIN, patience=129)}, "at most 128"),
        ({"settings": dataclasses.replace(PLAIN, size=100)}, "power of two"),
        ({"method": "in_domain", "encoder": None}, "needs an encoder"),
        ({"method": "encoder", "encoder": None}, "needs an encoder"),
        (
            {"encoder": IN_DOMAIN.replace(rows=8)},
            "gives 8 rows of W\\+, the generator of 16 pixels reads 6",
        ),
        (
            {"encoder": IN_DOMAIN.replace(latent_avg=np.zeros(9, np.float32))},
            "have 9 numbers, the generator's 8",
        ),
        (
            {"mask": np.ones((2, 8, 8), np.float32)},
            "mask is 2 x 8 x 8, the photographs are 2 x 16 x 16",
        ),
        ({"mask": np.zeros((2, 16, 16), np.float32)}, "mask is empty"),
        ({"mask": np.full((2, 16, 16), 2, np.float32)}, "outside \\[0, 1\\]"),
        ({"method": "encoder", "mask": np.ones((2, 16, 16), np.float32)}, "omit the mask"),
        ({"start": np.zeros((2, 7, K), np.float32)}, "this generator's are \\(2, 6, 8\\)"),
        ({"start": np.full((2, ROWS, K), np.inf, np.float32)}, "not finite"),
        ({"seconds": 0.0}, "seconds=0.0"),
        ({"restarts": -1}, "restarts=-1"),
        ({"images": np.zeros((2, 16, 8, 3), np.float32)}, "give aligned ones"),
        ({"images": SIXTEEN[:0]}, "give aligned ones"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, message):
    given = {"encoder": IN_DOMAIN, "images": SIXTEEN, "method": "mse", "settings": None} | arguments
    with pytest.raises(UserError, match=message) as error:
        inversion.invert(STYLEGAN1, **given)
    assert "\n" not in str(error.value)


def test_defaults_are_those_of_the_papers():
    default = METHODS["in_domain"].defaults
    assert (default.steps, default.rate, default.pixel, default.perceptual, default.domain) == (
        100,
        0.01,
        1,
        5e-5,
        2,
    )
    assert (METHODS["image2stylegan"].defaults.steps, METHODS["image2stylegan"].defaults.rate) == (
        5000,
        0.01,
    )
    assert perceptual.IMAGE2STYLEGAN_TAPS == ("conv1_1", "conv1_2", "conv3_2", "conv4_2")
    assert all(name == method.name for name, method in METHODS.items())


@pytest.mark.weights
@pytest.mark.parametrize("method", ["in_domain", "image2stylegan"])
def test_with_the_real_vgg16_the_loss_is_that_of_the_papers(images, method):
    settings = dataclasses.replace(METHODS[method].defaults, steps=2, size=16, domain=0.0)
    start = np.zeros((2, ROWS, K), np.float32)
    result = inversion.invert(STYLEGAN1, None, images, method, settings, start=start)
    features, variables = getattr(perceptual, method)()
    one, two = (features(variables, jnp.asarray(x)) for x in (drawn(STYLEGAN1, start), images))
    terms = [
        np.mean((np.asarray(a) - np.asarray(b)) ** 2, (1, 2, 3))
        for a, b in zip(one, two, strict=True)
    ]
    mse = ((drawn(STYLEGAN1, start) - images) ** 2).mean((1, 2, 3))
    assert len(terms) == {"in_domain": 1, "image2stylegan": 4}[method]
    np.testing.assert_allclose(result.history[0], mse + settings.perceptual * sum(terms), rtol=1e-3)
    assert np.all(result.history[1] < result.history[0])


@pytest.mark.weights
def test_the_loss_of_a_refinement_is_the_sum_of_its_terms(images):
    """LPIPS by the network that metrics use, identity by what trains encoders."""
    preset = dataclasses.replace(
        inversion.REFINEMENT.with_steps(2), size=16, pixel=0.7, lpips=1.3, identity=0.4, domain=0.6
    )
    result = inversion.invert(STYLEGAN1, IN_DOMAIN, images, "in_domain", preset)
    start = read(STYLEGAN1, IN_DOMAIN, jnp.asarray(images))
    first = jnp.asarray(drawn(STYLEGAN1, start))
    lpips = pretrained.load("lpips").network("lpips_vgg")
    expected = 0.7 * ((first - images) ** 2).mean((1, 2, 3))
    expected += 1.3 * fast(lpips.module.apply)(
        jax.device_put(lpips.variables), first, jnp.asarray(images)
    )
    expected += 0.6 * ((start - read(STYLEGAN1, IN_DOMAIN, first)) ** 2).mean((1, 2))
    variables, distance = make_distances(ConfigDict({"identity": "", "loss": {"identity": 1.0}}))[
        "identity"
    ]
    expected += 0.4 * fast(distance)(jax.device_put(variables), first, jnp.asarray(images))
    np.testing.assert_allclose(result.history[0], expected, rtol=2e-3)
