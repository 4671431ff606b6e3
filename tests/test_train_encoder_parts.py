"""The parts of encoder training do what their papers say: stages, losses, pool, distances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from configs.encoder import get_config
from diffcam_jax.errors import UserError
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.e4e import Encoder4Editing
from diffcam_jax.nn.irse import ArcFace
from diffcam_jax.nn.latent_discriminator import LatentDiscriminator
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.restyle import BackboneEncoder
from diffcam_jax.pretrained import store
from diffcam_jax.train import encoder_networks
from diffcam_jax.train.code_pool import CodePool
from diffcam_jax.train.distances import make_distances
from diffcam_jax.train.encoder_e4e import without_deltas
from diffcam_jax.train.encoder_losses import code_r1, delta_norm, masked_rows, stage_of, w_norm
from tests.random_variables import random_variables

SIDE, ROWS = 16, 4


@pytest.mark.parametrize(
    ("step", "stage"), [(0, 0), (19_999, 0), (20_000, 1), (21_999, 1), (22_000, 2), (10**6, 17)]
)
def test_stages(step, stage):
    assert int(stage_of(jnp.int32(step), 20_000, 2000, 18)) == stage


def small_e4e():
    module = Encoder4Editing(ROWS, SIDE, 8, (1, 1, 1, 1), (8, 8, 8, 8), 4)
    pictures = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, SIDE, SIDE, 3)), jnp.float32)
    return module, random_variables(module, pictures), pictures


def test_masked_and_exported_rows_are_those_of_the_encoders_stage():
    module, variables, pictures = small_e4e()
    codes = module.apply(variables, pictures)
    for stage in range(ROWS):
        expected = module.apply(variables, pictures, stage=stage)
        np.testing.assert_allclose(masked_rows(codes, jnp.int32(stage)), expected, atol=1e-5)
        exported = without_deltas(jax.tree.map(np.asarray, variables), stage)
        np.testing.assert_allclose(module.apply(exported, pictures), expected, atol=1e-5)


def test_regularisers_are_lengths_and_have_gradients_at_zero():
    codes = jnp.zeros((2, 3, 4)).at[0, 1].set(3.0).at[0, 2, 0].set(2.0)
    np.testing.assert_allclose(delta_norm(codes), [6 + 2, 0])
    np.testing.assert_allclose(w_norm(codes + 1, jnp.ones(4)), [40**0.5, 0], rtol=1e-6)
    slope = jax.grad(
        lambda c: delta_norm(masked_rows(c, jnp.int32(0))).sum() + w_norm(c, jnp.zeros(4)).sum()
    )(codes)
    assert bool(jnp.isfinite(slope).all())


def test_r1_is_the_squared_slope():
    module = LatentDiscriminator(width=16)
    codes = np.random.default_rng(2).standard_normal((3, 5))
    variables = random_variables(module, jnp.zeros((1, 5)))
    found = code_r1(functools.partial(module.apply, variables), jnp.asarray(codes, jnp.float32))
    layers = [
        (np.float64(layer["kernel"]), np.float64(layer["bias"]))
        for _, layer in sorted(variables["params"].items())
    ]
    assert len(layers) == 4

    def logit(x):
        for index, (kernel, bias) in enumerate(layers):
            x = x / np.sqrt(len(kernel)) @ kernel + bias
            x = x if index == 3 else np.where(x > 0, x, 0.2 * x)
        return x[:, 0]

    slopes = np.stack(
        [(logit(codes + 1e-6 * unit) - logit(codes - 1e-6 * unit)) / 2e-6 for unit in np.eye(5)], 1
    )
    np.testing.assert_allclose(found, (slopes**2).sum(1), rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=6))
def test_pool_fills_first_and_then_gives_old_or_new(seeds):
    """Batches of three numbered codes through five places."""
    pool, stored, number = CodePool.create(5, 1), [], 0
    for seed in seeds:
        fresh = np.arange(number, number + 3)
        number += 3
        pool, given_codes = QUERY(
            pool, jnp.asarray(fresh[:, None], jnp.float32), jax.random.key(seed)
        )
        for new, out in zip(fresh, np.asarray(given_codes)[:, 0].astype(int), strict=True):
            if len(stored) < 5:
                assert out == new
                stored.append(new)
            elif out != new:
                stored[stored.index(out)] = new  # an older one, which leaves
        assert np.asarray(pool.codes)[: len(stored), 0].astype(int).tolist() == stored
        assert int(pool.filled) == len(stored)


QUERY = jax.jit(CodePool.query)


def test_pool_swaps_half_of_the_time_and_never_keeps_what_is_not_finite():
    pool, _ = QUERY(CodePool.create(50, 2), jnp.zeros((50, 2)), jax.random.key(0))
    _, out = QUERY(pool, jnp.ones((400, 2)).at[0].set(jnp.nan), jax.random.key(1))
    again = 1 - float(jnp.nanmean(out[:60]))
    assert 0.2 < again < 0.6
    spoilt, _ = QUERY(CodePool.create(3, 2), jnp.full((9, 2), jnp.nan), jax.random.key(2))
    assert int(spoilt.filled) == 0
    assert bool(jnp.isfinite(spoilt.codes).all())


def test_body_starts_as_the_recognisers():
    """ReStyle's first convolution has six channels and stays; another body is refused."""
    body = {"counts": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "squeeze": 4}
    recogniser, restyle = ArcFace(4, **body), BackboneEncoder(2, size=SIDE, width=8, **body)
    given = random_variables(recogniser, jnp.zeros((1, 112, 112, 3)), seed=1)
    ours = random_variables(restyle, jnp.zeros((1, SIDE, SIDE, 6)))
    folder = ModelFolder({"identity": Network(recogniser, given)}, {}, {})
    started = encoder_networks.same_body(ours, folder)
    for collection in ("params", "batch_stats"):
        for path, leaf in jax.tree_util.tree_leaves_with_path(started[collection]["body"]):
            first = collection == "params" and path[0].key == "input_conv"
            source = ours if first else given
            np.testing.assert_array_equal(
                leaf, functools.reduce(lambda t, k: t[k.key], path, source[collection]["body"])
            )
    assert started["params"]["styles_0"] is ours["params"]["styles_0"]
    other = random_variables(
        BackboneEncoder(2, size=SIDE, width=8, **{**body, "squeeze": 2}),
        jnp.zeros((1, SIDE, SIDE, 6)),
    )
    with pytest.raises(UserError, match="another body"):
        encoder_networks.same_body(other, folder)


@pytest.mark.weights
def test_distances_of_photographs():
    """0 to itself.

    More to another person than to a slightly darker copy; VGG's on the scale that its weight is
    meant for.
    """
    config = get_config("psp")
    config.loss.vgg = 5e-5
    paths = sorted(store.fetch("ffhq_photos").glob("*.png"))[:2]
    photos = np.stack(
        [np.asarray(Image.open(path).resize((256, 256), Image.Resampling.BOX)) for path in paths]
    )
    first, second = jnp.asarray(photos, jnp.float32)[:, None] / 127.5 - 1
    found = make_distances(config)
    assert set(found) == {"l2", "lpips", "identity", "vgg"}
    for name, (tree, function) in found.items():
        measure = functools.partial(jax.jit(function), tree, first)
        same, darker, other = (float(measure(x)[0]) for x in (first, first - 0.05, second))
        assert abs(same) < 1e-5, name
        assert darker < 0.2 * other, name
        if name == "vgg":
            assert 0.05 < 5e-5 * other < 5
