"""Differentiable augmentation of a discriminator's input on the device: ADA's pipeline "bgc".

Pictures are NHWC RGB in [-1, 1], with sides of at least 2 pixels. Each kind of change is applied to
each picture independently, with the same probability. Flip, quarter turns, shifts, scalings and
rotations are composed into one affine map and one bilinear resample, which mirrors the picture
beyond its border; brightness, contrast, luma flip, hue and saturation into one affine map of the
colours. The official code resamples at twice the resolution through a wavelet filter; here a
picture that is made smaller may alias, real and generated ones alike. Everything is linear in the
picture, so gradients of any order with respect to it are exact.

Source: Karras et al., Training Generative Adversarial Networks with Limited Data (2006.06676).
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

# Strengths of the paper's appendix B: standard deviations, and for SHIFT also the largest whole
# shift, as a fraction of the side.
SHIFT = 0.125
SCALE = 0.2
BRIGHTNESS = 0.2
CONTRAST = 0.5
SATURATION = 1.0

Probability = float | Float[Array, ""]


def augment(
    key: PRNGKeyArray, images: Float[Array, "b h w 3"], probability: Probability
) -> Float[Array, "b h w 3"]:
    """Changes every picture at random.

    Args:
        key: source of all random draws.
        images: RGB in [-1, 1]; the results may exceed this range.
        probability: of each kind of change, 0 to 1. At 0 the pictures are unchanged up to rounding.

    Reference:
        Karras et al., Training Generative Adversarial Networks with Limited Data (2006.06676),
        appendix B.
    """
    place, colour = jax.random.split(key)
    count, height, width, _ = images.shape
    images = resample(images, draw_affine(place, count, (height, width), probability))
    return recolour(images, draw_colours(colour, count, probability))


def draw_affine(
    key: PRNGKeyArray, count: int, sides: tuple[int, int], probability: Probability
) -> Float[Array, "b 3 3"]:
    """Random maps from positions in the new picture to positions in the original one.

    Args:
        key: source of all random draws.
        count: number of pictures.
        sides: height and width in pixels.
        probability: of each kind of change, 0 to 1.

    Returns:
        Matrices that act on (x, y, 1), in pixels from the picture's centre.
    """
    # Few large draws: each one costs time to compile.
    chance, value, normal = _draws(key, count, 8, 6, 4)
    size = jnp.array([sides[1], sides[0]], jnp.float32)
    probability = jnp.asarray(probability, jnp.float32)
    happens = chance[:, :6] < probability
    # A rotation may happen before and after the anisotropic scaling; the probability that either
    # happens is that of any other change.
    turns = chance[:, 6:] < 1 - jnp.sqrt(1 - probability)

    mirror = jnp.where(happens[:, 0] & (value[:, 0] < 0.5), -1.0, 1.0)
    quarters = jnp.where(happens[:, 1], jnp.floor(4 * value[:, 1]), 0.0)
    whole = jnp.where(happens[:, 2:3], jnp.round((2 * value[:, 2:4] - 1) * SHIFT * size), 0.0)
    zoom = jnp.exp2(jnp.where(happens[:, 3], SCALE * normal[:, 0], 0.0))
    stretch = jnp.exp2(jnp.where(happens[:, 4], SCALE * normal[:, 1], 0.0))
    part = jnp.where(happens[:, 5:6], SHIFT * normal[:, 2:4] * size, 0.0)
    first, second = (
        _rotated(jnp.where(turns[:, i], math.pi * (2 * value[:, 4 + i] - 1), 0.0)) for i in (0, 1)
    )

    with jax.default_matmul_precision("highest"):  # a rounded rotation moves far pixels
        matrices = (
            _scaled(mirror, jnp.ones(count)) @ _rotated(quarters * (math.pi / 2)) @ _moved(whole)
        )
        matrices = matrices @ _scaled(zoom, zoom) @ first @ _scaled(stretch, 1 / stretch) @ second
        return matrices @ _moved(part)


def _draws(
    key: PRNGKeyArray, count: int, chances: int, values: int, normals: int
) -> tuple[Array, Array, Array]:
    """Uniform [count, chances] and [count, values] in [0, 1), standard normal [count, normals]."""
    uniform, normal = jax.random.split(key)
    both = jax.random.uniform(uniform, (count, chances + values))
    return both[:, :chances], both[:, chances:], jax.random.normal(normal, (count, normals))


def _scaled(x: Array, y: Array) -> Float[Array, "b 3 3"]:
    return jax.vmap(jnp.diag)(jnp.stack([x, y, jnp.ones_like(x)], 1))


def _rotated(angle: Array) -> Float[Array, "b 3 3"]:
    cos, sin, zero, one = (
        jnp.cos(angle),
        jnp.sin(angle),
        jnp.zeros_like(angle),
        jnp.ones_like(angle),
    )
    rows = [jnp.stack(row, -1) for row in ((cos, -sin, zero), (sin, cos, zero), (zero, zero, one))]
    return jnp.stack(rows, 1)


def _moved(shift: Float[Array, "b 2"]) -> Float[Array, "b 3 3"]:
    return jnp.broadcast_to(jnp.eye(3), (len(shift), 3, 3)).at[:, :2, 2].set(shift)


def resample(
    images: Float[Array, "b h w c"], matrices: Float[Array, "b 3 3"]
) -> Float[Array, "b h w c"]:
    """Applies affine maps to pictures: bilinear, mirrored about the outermost pixels.

    Args:
        images: any range.
        matrices: map positions in the result to positions in the picture; they act on (x, y, 1), in
            pixels from the centre.
    """
    b, h, w, c = images.shape
    centre = jnp.array([(w - 1) / 2, (h - 1) / 2])
    y, x = jnp.meshgrid(
        jnp.arange(h, dtype=jnp.float32), jnp.arange(w, dtype=jnp.float32), indexing="ij"
    )
    grid = jnp.stack([x.ravel(), y.ravel()], -1) - centre
    turned = jnp.einsum(
        "bij,nj->bni", matrices[:, :2, :2], grid, precision=jax.lax.Precision.HIGHEST
    )
    place = turned + matrices[:, None, :2, 2] + centre
    low = jnp.floor(place)
    share = place - low
    low = low.astype(jnp.int32)
    pixels = images.reshape(b, h * w, c)
    result = 0.0
    for dy in (0, 1):
        for dx in (0, 1):
            index = _mirrored(low[..., 1] + dy, h) * w + _mirrored(low[..., 0] + dx, w)
            weight = jnp.abs(1 - dx - share[..., 0]) * jnp.abs(1 - dy - share[..., 1])
            result += weight[..., None] * jnp.take_along_axis(
                pixels, index[..., None], 1, mode="promise_in_bounds"
            )
    return result.reshape(b, h, w, c)


def _mirrored(index: Array, size: int) -> Array:
    """Folds indices into 0 .. size - 1: ... 2 1 0 1 2 ... size - 2, size - 1, size - 2 ..."""
    period = 2 * (size - 1)
    index = jnp.mod(index, period)
    return jnp.minimum(index, period - index)


def draw_colours(key: PRNGKeyArray, count: int, probability: Probability) -> Float[Array, "b 4 4"]:
    """Random affine maps of (r, g, b, 1).

    Args:
        key: source of all random draws.
        count: number of pictures.
        probability: of each kind of change, 0 to 1.
    """
    chance, value, normal = _draws(key, count, 5, 2, 3)
    happens = chance < jnp.asarray(probability, jnp.float32)
    strength = jnp.where(
        happens[:, :3], normal * jnp.array([BRIGHTNESS, CONTRAST, SATURATION]), 0.0
    )[..., None, None]
    brightness, contrast, saturation = (
        strength[:, 0],
        jnp.exp2(strength[:, 1]),
        jnp.exp2(strength[:, 2]),
    )
    mirror = jnp.where(happens[:, 3] & (value[:, 0] < 0.5), -1.0, 1.0)[:, None, None]
    angle = jnp.where(happens[:, 4], math.pi * (2 * value[:, 1] - 1), 0.0)[:, None, None]

    grey = jnp.full(3, 1 / math.sqrt(3))  # the axis of lightness
    along, across = jnp.outer(grey, grey), jnp.eye(3) - jnp.outer(grey, grey)
    turn = jnp.cross(grey, jnp.eye(3)).T  # v -> grey x v
    # The luma flip acts along the axis, hue and saturation across it: the three add up.
    matrices = contrast * (
        mirror * along + saturation * (jnp.cos(angle) * across + jnp.sin(angle) * turn)
    )
    # Brightness comes first and is the same for all channels.
    offset = matrices.sum(2, keepdims=True) * brightness
    last = jnp.broadcast_to(jnp.array([[[0.0, 0.0, 0.0, 1.0]]]), (count, 1, 4))
    return jnp.concatenate([jnp.concatenate([matrices, offset], 2), last], 1)


def recolour(
    images: Float[Array, "b h w 3"], matrices: Float[Array, "b 4 4"]
) -> Float[Array, "b h w 3"]:
    """Applies an affine map of (r, g, b, 1) to every pixel."""
    colours = jnp.einsum(
        "bhwc,bdc->bhwd", images, matrices[:, :3, :3], precision=jax.lax.Precision.HIGHEST
    )
    return colours + matrices[:, None, None, :3, 3]
