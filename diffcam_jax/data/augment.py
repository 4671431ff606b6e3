"""Augmentation of pairs: whatever happens to the inverted picture happens to the edited one.

Pictures [h,w,3] float32 in [-1,1], one pair at a time; `augment` maps over the batch. All draws
come from the key.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Strength of each augmentation; hashable. Zeros switch one off.

    Attributes:
        flip: probability of a left-right mirror (never for classes that have a side).
        shift: largest shift in pixels, borders repeated.
        colour: largest change of brightness, contrast and each channel's gain.
        blur: probability of a small blur.
        occlude: probability of a filled ellipse in front of both pictures, at most half as wide as
            the picture.
        hide: probability that the edit is undone in random cells of a 4x4 grid. What is left has
            to suffice as evidence, so the classifier learns everything that an edit changes and not
            only its most certain sign, and masks cover all of it (as in Hide-and-Seek, Singh and
            Lee, 1704.04232).
    """

    flip: float = 0.5
    shift: int = 16
    colour: float = 0.2
    blur: float = 0.2
    occlude: float = 0.25
    hide: float = 0.6


def augment(
    key: PRNGKeyArray,
    inverted: Float[Array, "b h w 3"],
    edited: Float[Array, "b h w 3"],
    may_flip: Bool[Array, " b"],
    config: AugmentConfig,
) -> tuple[Float[Array, "b h w 3"], Float[Array, "b h w 3"]]:
    """Augments every pair of a batch with draws of its own.

    Args:
        key: of all draws.
        inverted: I', in [-1, 1].
        edited: T, in [-1, 1].
        may_flip: whether a mirrored pair still shows its class (not for a turn of the head).
        config: strength of each augmentation.
    """
    # Six channels, so that nothing can treat the two pictures differently.
    pairs = jnp.concatenate([inverted, edited], axis=-1)
    pairs = jax.vmap(_augment_pair, in_axes=(0, 0, 0, None))(
        jax.random.split(key, len(pairs)), pairs, may_flip, config
    )
    return pairs[..., :3], pairs[..., 3:]


def _augment_pair(
    key: PRNGKeyArray, pair: Float[Array, "h w 6"], may_flip: Bool[Array, ""], config: AugmentConfig
) -> Float[Array, "h w 6"]:
    keys = jax.random.split(key, 6)
    if config.hide:
        pair = _hide(keys[5], pair, config.hide)
    if config.flip:
        flip = may_flip & (jax.random.uniform(keys[0]) < config.flip)
        pair = jnp.where(flip, pair[:, ::-1], pair)
    if config.shift:
        offset = jax.random.randint(keys[1], (2,), 0, 2 * config.shift + 1)
        padded = jnp.pad(pair, ((config.shift,) * 2, (config.shift,) * 2, (0, 0)), mode="edge")
        pair = jax.lax.dynamic_slice(padded, (offset[0], offset[1], 0), pair.shape)
    if config.colour:
        brightness, contrast, *gains = jax.random.uniform(
            keys[2], (5,), minval=-config.colour, maxval=config.colour
        )
        gain = (1 + contrast) * (1 + jnp.stack(gains) / 2)
        pair = jnp.clip(pair * jnp.tile(gain, 2) + brightness, -1, 1)
    if config.blur:
        pair = jnp.where(jax.random.uniform(keys[3]) < config.blur, _blur(pair), pair)
    if config.occlude:
        pair = _occlude(keys[4], pair, config.occlude)
    return pair


def _blur(x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Blurs by 1 4 6 4 1 along both axes, with borders repeated."""
    for axis in (0, 1):
        pad = [(0, 0)] * 3
        pad[axis] = (2, 2)
        padded, size = jnp.pad(x, pad, mode="edge"), x.shape[axis]
        x = sum(
            k / 16 * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
            for i, k in enumerate((1, 4, 6, 4, 1))
        )
    return x


def _hide(
    key: PRNGKeyArray, pair: Float[Array, "h w 6"], probability: float
) -> Float[Array, "h w 6"]:
    chance, share, cells = jax.random.split(key, 3)
    h, w = pair.shape[:2]
    hidden = jax.random.uniform(cells, (4, 4)) < jax.random.uniform(share, minval=0.1, maxval=0.8)
    hidden &= jax.random.uniform(chance) < probability
    mask = jnp.repeat(jnp.repeat(hidden, -(-h // 4), 0)[:h], -(-w // 4), 1)[:, :w]
    return jnp.concatenate(
        [pair[..., :3], jnp.where(mask[..., None], pair[..., :3], pair[..., 3:])], axis=-1
    )


def _occlude(
    key: PRNGKeyArray, pair: Float[Array, "h w 6"], probability: float
) -> Float[Array, "h w 6"]:
    chance, place, radius, colour = jax.random.split(key, 4)
    h, w = pair.shape[:2]
    centre = jax.random.uniform(place, (2,))
    radii = jax.random.uniform(radius, (2,), minval=0.05, maxval=0.25)
    y = (jnp.arange(h) + 0.5)[:, None] / h
    x = (jnp.arange(w) + 0.5)[None, :] / w
    inside = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1
    inside &= jax.random.uniform(chance) < probability
    return jnp.where(
        inside[..., None], jnp.tile(jax.random.uniform(colour, (3,), minval=-1.0), 2), pair
    )


def flippable(
    labels: Int[Array, " b"], names: tuple[str, ...], sided: tuple[str, ...]
) -> Bool[Array, " b"]:
    """Returns False for labels whose class is in `sided`."""
    return jnp.array([name not in sided for name in names])[labels]
