"""The small deghosting network: it starts as the identity, its five factors, the prior inside it,
what is trained, its size.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.files import model_folder
from diffcam_jax.nn.mobile_deghosting import MobileDeghoster, Views
from diffcam_jax.nn.mobile_stylegan import Block, MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from tests.random_variables import random_variables

GENERATOR = MobileStyleGAN(
    widths=(16, 12, 8), latent_size=6, mapping_layers=1
)  # 32 pixels, features up to 16
NETWORK = MobileDeghoster(in_size=32, out_size=32, widths=(5, 6, 7), prior_side=16, rank=3)


@pytest.fixture(scope="module")
def prior():
    return random_variables(GENERATOR, jnp.zeros((1, 6)))


def views(side=32, count=2, seed=0):
    rng = np.random.default_rng(seed)
    pictures = (
        jnp.asarray(rng.uniform(-1, 1, (count, side, side, 3)), jnp.float32) for _ in range(4)
    )
    mask = jnp.asarray(rng.uniform(0, 1, (count, side, side)), jnp.float32)
    return Views(*pictures, mask, jnp.asarray(rng.standard_normal((count, 8, 6)), jnp.float32))


@pytest.fixture(scope="module")
def variables(prior):
    """Random ones: nothing of an untrained network's zeros is left."""
    return random_variables(NETWORK, views(), GENERATOR, prior)


@pytest.fixture(scope="module")
def apply(prior):
    return jax.jit(lambda variables, seen: NETWORK.apply(variables, seen, GENERATOR, prior))


def test_an_untrained_network_returns_the_blend_bit_for_bit(prior, apply):
    untrained = jax.jit(lambda key, seen: NETWORK.init(key, seen, GENERATOR, prior))(
        jax.random.key(0), views()
    )
    for side in (32, 96):
        np.testing.assert_array_equal(apply(untrained, views(side)), views(side).fused)


def with_last_layer(variables, kernel, bias):
    params = {
        **variables["params"],
        "leave": {"kernel": kernel, "bias": jnp.asarray(bias, jnp.float32)},
    }
    return {"params": params}


@pytest.mark.parametrize("side", [32, 64])
def test_the_five_factors(variables, apply, side):
    """Constant factors: F + a (T - I) + b (I - I') + d, at the network's own side and at a larger
    one.
    """
    a, b, d = 0.3, -0.2, np.array([0.05, 0.1, -0.4], np.float32)
    constant = with_last_layer(variables, jnp.zeros((5, 20)), np.tile([a, b, *d], 4))
    seen = views(side)
    fused, original, inverted, edited = (np.asarray(x, np.float64) for x in seen[:4])
    expected = fused + a * (edited - original) + b * (original - inverted) + d
    np.testing.assert_allclose(apply(constant, seen), expected, atol=1e-5)


def test_detail_is_that_of_the_pictures(variables, apply):
    """What the network reads at its own side does not tell two larger views apart.

    Their detail comes through unchanged.
    """
    small, rng = views(32), np.random.default_rng(1)
    large = small._replace(
        **{
            name: x.repeat(2, 1).repeat(2, 2)
            for name, x in small._asdict().items()
            if name != "codes"
        }
    )
    detail = rng.standard_normal((2, 32, 2, 32, 2, 3)).astype(np.float32)
    detail = jnp.asarray(detail - detail.mean((2, 4), keepdims=True)).reshape(2, 64, 64, 3)
    plain, detailed = (
        apply(variables, large),
        apply(variables, large._replace(fused=large.fused + detail)),
    )
    np.testing.assert_allclose(detailed - plain, detail, atol=1e-5 * np.abs(plain).max())


def test_the_prior_is_the_generator(variables, prior):
    """With nothing taken up and no offsets the inner features are the generator's own: its last
    layer draws its picture.
    """
    silent = {
        name: jax.tree.map(jnp.zeros_like, layer) if name.startswith(("taken_", "basis")) else layer
        for name, layer in variables["params"].items()
    }
    seen = views()

    @jax.jit
    def pictures(params, seen):
        inner = []

        def record(call, args, kwargs, context):
            inner.append((context.module, call(*args, **kwargs)))
            return inner[-1][1]

        with nn.intercept_methods(record):
            NETWORK.apply({"params": params}, seen, GENERATOR, prior)
        features = [output for module, output in inner if isinstance(module, Block)][-1]
        last = GENERATOR.apply(prior, method=lambda g: g.to_image(features, seen.codes[:, 5], 32))
        return last, GENERATOR.apply(prior, seen.codes, method="synthesis")

    np.testing.assert_allclose(*pictures(silent, seen), atol=1e-4)
    last, own = pictures(variables["params"], seen)
    assert np.abs(last - own).mean() > 0.1  # the encoder's maps and offsets do change it


def test_gradients_reach_every_trained_parameter_and_not_the_prior(variables, prior):
    def loss(params, prior):
        return jnp.sum(NETWORK.apply({"params": params}, views(), GENERATOR, prior) ** 2)

    own, others = jax.jit(jax.grad(loss, (0, 1)))(variables["params"], prior)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(own))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(others))


def test_it_ships_in_five_megabytes_without_the_prior():
    generator = MobileStyleGAN()
    prior = jax.eval_shape(generator.init, jax.random.key(0), jnp.zeros((1, 512)))
    seen = [jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)] * 4
    seen = Views(
        *seen,
        *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 256, 256), (1, 18, 512))),
    )
    shapes = jax.eval_shape(
        lambda *x: MobileDeghoster().init(*x[:2], generator, x[2]), jax.random.key(0), seen, prior
    )
    assert 1.5e6 < sum(leaf.size for leaf in jax.tree.leaves(shapes)) <= 2.5e6
    output = jax.eval_shape(
        lambda v, x, p: MobileDeghoster().apply(v, x, generator, p), shapes, seen, prior
    )
    assert output.shape == (1, 256, 256, 3)


def test_half_precision_in_a_folder(variables, prior, apply, tmp_path):
    halved = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), variables)
    network = NETWORK.clone(prior="abc")
    model_folder.save(
        tmp_path, {"deghoster": Network(network, halved)}, {}, {"kind": "deghost_mobile"}
    )
    module, loaded = model_folder.load(tmp_path).network("deghoster")
    assert module == network and {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {
        np.dtype(np.float16)
    }
    found = jax.jit(lambda v, seen: module.apply(v, seen, GENERATOR, prior))(loaded, views())
    whole = apply(variables, views())
    assert found.dtype == jnp.float32
    assert np.abs(found - whole).mean() < 0.02 * np.abs(whole).mean()


@pytest.mark.parametrize(
    ("network", "side", "generator", "message"),
    [
        (NETWORK, 48, GENERATOR, "a multiple of 32, got"),
        (NETWORK.clone(widths=(5, 6)), 32, GENERATOR, "halved 2 times must be 4"),
        (NETWORK.clone(prior_side=12), 32, GENERATOR, "prior_side 12 one of"),
        (NETWORK, 32, StyleGAN2Generator((8, 8)), "a MobileStyleGAN, got a StyleGAN2Generator"),
    ],
)
def test_what_does_not_fit_is_refused(network, side, generator, message, prior):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: network.init(jax.random.key(0), views(side), generator, prior))
