"""Codes of pictures: the average is added, large pictures are reduced, ReStyle's loop against its
closed form.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.inversion import Inverter
from diffcam_jax.inversion.encoding import Encoder, encode, read, restyle_loop, shrink
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator

RNG = np.random.default_rng(0)


class MeanColour(nn.Module):
    """Every row is the picture's mean colour times a number.

    A code of W when `n_styles` is None.
    """

    n_styles: int | None

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.constant(2.0), ())
        mean = scale * x[..., :3].mean((1, 2))
        return mean if self.n_styles is None else jnp.stack([mean] * self.n_styles, axis=1)


class Half(nn.Module):
    """Moves a code by a fraction of the difference between both pictures' mean colours."""

    n_styles: int = 2

    @nn.compact
    def __call__(self, x):
        rate = self.param("rate", nn.initializers.constant(0.5), ())
        wanted, current = jnp.split(x.mean((1, 2)), 2, axis=-1)
        return rate * jnp.repeat((wanted - current)[:, None], self.n_styles, axis=1)


VARIABLES = {"params": {"scale": jnp.float32(2)}}


def uniform(*shape):
    return jnp.asarray(RNG.uniform(-1, 1, shape), jnp.float32)


@pytest.mark.parametrize("average", [(3,), (1, 3), (4, 3)])
def test_wplus_codes_are_offsets_from_the_average(average):
    images, average = uniform(2, 8, 8, 3), uniform(*average)
    codes = encode(MeanColour(4), VARIABLES, average, images)
    expected = 2 * np.asarray(images).mean((1, 2))[:, None] + np.broadcast_to(average, (4, 3))
    np.testing.assert_allclose(codes, expected, atol=1e-6)


@pytest.mark.parametrize("average", [(3,), (1, 3), (5, 3)])
def test_w_codes_are_repeated_when_asked(average):
    images, average = uniform(2, 8, 8, 3), uniform(*average)
    mean = 2 * np.asarray(images).mean((1, 2))
    codes = encode(MeanColour(None), VARIABLES, average, images, rows=5)
    np.testing.assert_allclose(codes, mean[:, None] + np.broadcast_to(average, (5, 3)), atol=1e-6)
    if average.shape != (5, 3):
        code = encode(MeanColour(None), VARIABLES, average, images)
        np.testing.assert_allclose(code, mean + np.asarray(average).reshape(3), atol=1e-6)


def test_large_pictures_are_averaged_and_keep_their_proportions():
    images = np.asarray(uniform(1, 384, 512, 3))
    expected = images.reshape(1, 192, 2, 256, 2, 3).mean((2, 4))
    np.testing.assert_allclose(shrink(jnp.asarray(images)), expected, atol=1e-6)
    small = uniform(1, 192, 256, 3)
    assert shrink(small) is small


def fill(codes):
    """A generator that paints the first row's colour."""
    return jnp.broadcast_to(codes[:, 0, None, None], (len(codes), 8, 8, 3))


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("average", [(3,), (1, 3), (2, 3)])
def test_restyle_approaches_the_picture_geometrically(average, batched):
    images, average = uniform(3, 8, 8, 3), uniform(*average)
    first_row = np.broadcast_to(average, (2, 3))[0]
    avg_image = fill(jnp.asarray(first_row)[None, None])
    codes, pictures = restyle_loop(
        Half(),
        {"params": {"rate": jnp.float32(0.5)}},
        fill,
        average,
        images,
        avg_image if batched else avg_image[0],
        steps=3,
    )
    assert len(codes) == len(pictures) == 3
    wanted = np.asarray(images).mean((1, 2))
    for step, (code, picture) in enumerate(zip(codes, pictures), start=1):
        moved = (wanted - first_row) * (1 - 0.5**step)
        np.testing.assert_allclose(
            code, moved[:, None] + np.broadcast_to(average, (2, 3)), atol=1e-5
        )
        np.testing.assert_allclose(picture, fill(code), atol=0)


class Painter(nn.Module):
    """A generator that paints the first row's colour."""

    resolution: int = 8

    def synthesis(self, codes, size):
        return fill(codes)


@pytest.mark.parametrize(
    ("module", "steps", "share"), [(MeanColour(2), 0, 2), (Half(), 5, 31 / 32)]
)
def test_bars_are_not_read(module, steps, share):
    colour = np.array([0.5, -0.25, 0.125], np.float32)
    picture = np.full((1, 512, 512, 3), -1, np.float32)
    picture[:, 64:448] = colour
    variables = VARIABLES if steps == 0 else {"params": {"rate": jnp.float32(0.5)}}
    encoder = Encoder(Network(module, variables), np.zeros(3, np.float32), steps, 2, 32)
    codes = read(Network(Painter(), {}), encoder, jnp.asarray(picture))
    np.testing.assert_allclose(codes, np.broadcast_to(share * colour, (1, 2, 3)), atol=1e-5)


def test_codes_are_kept_by_what_the_encoder_reads():
    encoder = Encoder(Network(MeanColour(2), VARIABLES), np.zeros(3, np.float32), 0, 2)
    generator = Network(StyleGAN2Generator((4, 4), 3), {"params": {"const": np.zeros(3)}})
    one, other = (
        Inverter(generator, x, "in_domain").recipe for x in (encoder, encoder.replace(bars=2))
    )
    assert one != other


def test_restyle_looks_at_the_reduced_reconstruction():
    def large(codes):
        # Only the mean over blocks of 2x2 shows the colour.
        checks = jnp.where((jnp.indices((512, 512)).sum(0) % 2 == 0)[..., None], 2.0, 0.0)
        return codes[:, 0, None, None] * checks

    images = jnp.broadcast_to(uniform(1, 1, 1, 3), (1, 256, 256, 3))
    codes, pictures = restyle_loop(
        Half(),
        {"params": {"rate": jnp.float32(1.0)}},
        large,
        jnp.zeros(3),
        images,
        jnp.zeros((512, 512, 3)),
        steps=2,
    )
    np.testing.assert_allclose(codes[0][:, 0], images[:, 0, 0], atol=1e-5)
    np.testing.assert_allclose(codes[1], codes[0], atol=1e-5)
    assert pictures[0].shape == (1, 512, 512, 3)
