"""Small networks of invertibility decomposition with random weights, for tests."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from diffcam_jax.editing.alignment import Settings, aligner_for
from diffcam_jax.editing.decomposition import Decomposer, decompose
from diffcam_jax.inversion.encoding import Encoder
from diffcam_jax.nn.feature_style import FeatureStyleEncoder
from diffcam_jax.nn.mobile_encoder import MobileEncoder
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from tests.fast import fast
from tests.random_variables import random_variables

# Generators of 16 and 32 pixels, encoders that read 32.
SIDES, SIDE, ROWS, WIDTH = (8, 16), 32, 6, 6
COUNTS, WIDTHS = (1, 1, 1, 1), (4, 4, 6, 8)
STYLEGAN2 = StyleGAN2Generator((8, 6, 4), WIDTH, 1)
MOBILE = MobileStyleGAN((8, 8, 8), WIDTH, 1)
ENCODER = FeatureStyleEncoder(ROWS, SIDE, WIDTH, 8, COUNTS, WIDTHS)
MOBILE_ENCODER = MobileEncoder(
    ROWS,
    SIDE,
    WIDTH,
    8,
    8,
    8,
    2,
    4,
    8,
    ((1, 8, 1, 1), (2, 8, 1, 2), (2, 8, 1, 2), (2, 8, 2, 2), (2, 8, 1, 2)),
)
SMALL = Settings("bilinear", map_size=SIDE)
NARROW = {"multiplier": 0.5, "align_corners": True, "normalised": False}
decomposed = fast(decompose, static_argnames="largest")


@functools.cache
def networks(generator=STYLEGAN2, encoder=ENCODER, chosen=SMALL, **options):
    """A generator and the others around it, with random weights."""
    aligner = aligner_for(generator, encoder, chosen, **{"sides": SIDES, "cycles": 1, **options})
    picture = jnp.zeros((1, chosen.map_size, chosen.map_size, 3 if chosen.steps == 1 else 6))
    maps = [
        [jnp.zeros((1, s, s, c)) for s, c in zip(SIDES, group)]
        for group in (aligner.features, aligner.inputs)
    ]
    latent_avg = jnp.asarray(np.random.default_rng(4).standard_normal(WIDTH), jnp.float32)
    reading = Network(encoder, random_variables(encoder, picture, seed=2))
    return Decomposer(
        Network(generator, random_variables(generator, jnp.zeros((1, WIDTH)), seed=1)),
        Encoder(reading, latent_avg, rows=ROWS),
        Network(aligner, random_variables(aligner, *maps, seed=3)),
        chosen,
    )


def pictures(count=2, side=16):
    return jnp.asarray(np.random.default_rng(5).uniform(-1, 1, (count, side, side, 3)), jnp.float32)


def fixed(aligner, shift, mask):
    """The same alignment network, but it answers a constant shift (before tanh) and mask (before
    the sigmoid).
    """
    variables = jax.tree.map(lambda leaf: leaf, aligner.variables)
    for name, level in variables["params"].items():
        if name.startswith("level_"):
            last = level["network"]["block_1"]
            last["conv2"] = jax.tree.map(jnp.zeros_like, last["conv2"])
            last["shortcut"] = jax.tree.map(jnp.zeros_like, last["shortcut"]) | {
                "bias": jnp.asarray([*shift, mask], jnp.float32)
            }
    return aligner.replace(variables=variables)
