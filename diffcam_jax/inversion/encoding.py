"""Codes of pictures by a trained encoder: one pass (pSp, e4e), or ReStyle's loop of corrections.

Pictures float32 [b,h,w,3] RGB in [-1,1]; larger ones than the encoder's size are area-averaged to it. An encoder's
output is an offset; `latent_avg`, the average latent of the generator it was trained for, turns it into a code.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.latents import to_wplus
from diffcam_jax.ops.image import resize

ENCODER_SIZE = 256

Generate = Callable[[Float[Array, "b n k"]], Float[Array, "b h w 3"]]


def shrink(images: Float[Array, "b h w 3"], size: int = ENCODER_SIZE) -> Float[Array, "b h2 w2 3"]:
    """Area-averages pictures whose longer side is above `size` to it, keeping their proportions."""
    longer = max(images.shape[1:3])
    if longer <= size:
        return images
    return resize(images, (images.shape[1] * size // longer, images.shape[2] * size // longer), "area")


def fit(pictures: Float[Array, "b h w 3"], size: int) -> Float[Array, "b s s 3"]:
    """Square pictures at the very size an encoder reads: averaged when they are larger, interpolated when smaller."""
    return resize(pictures, (size, size), "area" if pictures.shape[1] > size else "bilinear")


def draw(
    generator: nn.Module, variables: Mapping[str, Any], codes: Float[Array, "b n k"], size: int
) -> Float[Array, "b s s 3"]:
    """A generator's pictures at the size an encoder reads."""
    return fit(generator.apply(variables, codes, method="synthesis", size=min(size, generator.resolution)), size)


def encode(
    encoder: nn.Module,
    variables: Mapping[str, Any],
    latent_avg: Float[Array, "*rows k"],
    images: Float[Array, "b h w 3"],
    rows: int | None = None,
) -> Float[Array, "b *m k"]:
    """Codes of pictures.

    Args:
        encoder: `GradualStyleEncoder`, `Encoder4Editing`, `IntoW` or `IntoWPlus`.
        variables: its variables.
        latent_avg: [k], [1,k] or one for every row, [n,k].
        images: RGB in [-1,1].
        rows: repeats the code of an encoder into W for so many rows; None leaves it [b,k].

    Returns:
        W+ [b,n,k], or W [b,k].
    """
    offsets = encoder.apply(variables, shrink(images))
    if offsets.ndim == 2 and rows is not None:
        offsets = to_wplus(offsets, rows)
    return offsets + latent_avg


def restyle_loop(
    encoder: nn.Module,
    variables: Mapping[str, Any],
    generate: Generate,
    latent_avg: Float[Array, "*rows k"],
    images: Float[Array, "b h w 3"],
    avg_image: Float[Array, "*one h2 w2 3"],
    steps: int = 5,
) -> tuple[list[Float[Array, "b n k"]], list[Float[Array, "b h2 w2 3"]]]:
    """Corrects the average code step by step until its picture resembles the given one.

    A Python loop over one compiled step: gradients of convolutions inside a compiled loop are slow on a CPU.

    Args:
        encoder: `BackboneEncoder` or `ResNetBackboneEncoder`.
        variables: its variables.
        generate: codes -> pictures, with fixed noise and not clamped; compiled by the caller.
        latent_avg: [k], [1,k] or [n,k].
        images: RGB in [-1,1].
        avg_image: what `generate` makes of `latent_avg`, with or without a batch axis of 1.
        steps: number of corrections.

    Returns:
        The codes and the pictures of every step, the best last.

    Reference:
        Alaluf et al., ReStyle (2104.02699), section 3.
    """
    images = shrink(images)
    current = jnp.broadcast_to(shrink(avg_image.reshape(1, *avg_image.shape[-3:])), images.shape)
    codes = jnp.broadcast_to(latent_avg, (len(images), encoder.n_styles, latent_avg.shape[-1]))
    all_codes, pictures = [], []
    for _ in range(steps):
        codes = _correct(encoder, variables, codes, images, current)
        picture = generate(codes)
        current = shrink(picture)
        all_codes.append(codes)
        pictures.append(picture)
    return all_codes, pictures


@functools.partial(jax.jit, static_argnums=0)
def _correct(
    encoder: nn.Module,
    variables: Mapping[str, Any],
    codes: Float[Array, "b n k"],
    images: Float[Array, "b h w 3"],
    current: Float[Array, "b h w 3"],
) -> Float[Array, "b n k"]:
    return codes + encoder.apply(variables, jnp.concatenate([images, current], axis=-1))
