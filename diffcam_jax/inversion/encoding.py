"""Codes of pictures by a trained encoder: one pass (pSp, e4e), or ReStyle's loop of corrections.

Pictures are float32 [b,h,w,3] RGB in [-1,1]; those larger than the encoder's size are area-averaged
to it. An encoder's output is an offset; adding `latent_avg`, the average code of the generator it
was trained for, gives a code.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax.command.kept_jit import kept_jit
from diffcam_jax.errors import UserError
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.latents import WPLUS_ROWS, to_wplus
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.restyle import BackboneEncoder, ResNetBackboneEncoder
from diffcam_jax.ops.image import resize

ENCODER_SIZE = 256
RESTYLE_STEPS = 5

Generate = Callable[[Float[Array, "b n k"]], Float[Array, "b h w 3"]]


@flax.struct.dataclass(eq=False)
class Encoder:
    """A trained encoder.

    Attributes:
        network: from pictures [b, 256, 256, 3] (6 channels for ReStyle) to offsets [b, n, 512] or
            [b, 512].
        latent_avg: [512] or [n, 512], added to the offsets; zeros where the network gives absolute
            codes.
        steps: passes of ReStyle's loop; 0 for a single pass.
        rows: of the W+ codes it gives.
        bars: rows at the top of its square pictures, and as many at the bottom, that it does not
            read: 32 of 256 for pictures of cars.
    """

    network: Network
    latent_avg: Float[Array | np.ndarray, "*rows k"]
    steps: int = flax.struct.field(pytree_node=False, default=0)
    rows: int = flax.struct.field(pytree_node=False, default=WPLUS_ROWS)
    bars: int = flax.struct.field(pytree_node=False, default=0)


def encoder_of(folder: ModelFolder, rows: int) -> Encoder:
    """The encoder in a folder of converted or trained networks.

    Args:
        folder: with a network in the role "encoder".
        rows: of the generator's W+ codes, for which the output of an encoder into W is repeated.

    Raises:
        UserError: the folder has no encoder.
    """
    network = folder.network("encoder")
    # Layers are frozen in training only: they would stop gradients here.
    if getattr(network.module, "frozen", 0):
        network = network.replace(module=network.module.clone(frozen=0))
    module, arrays = network.module, folder.arrays
    iterative = isinstance(module, BackboneEncoder | ResNetBackboneEncoder)
    steps, side = RESTYLE_STEPS if iterative else 0, input_size(module)
    # Official encoders of cars read 192 x 256 pixels, the square less the bars of such pictures.
    bars = side // 8 if str(folder.config.get("dataset_type")).startswith("cars") else 0
    # The rows are known without tracing the network, which takes a second.
    if hasattr(module, "n_styles") and "latent_avg" in arrays:
        return Encoder(network, arrays["latent_avg"], steps, module.n_styles, bars)
    picture = jax.ShapeDtypeStruct((1, side, side, 6 if iterative else 3), jnp.float32)
    codes = jax.eval_shape(module.apply, network.variables, picture)
    latent_avg = arrays.get("latent_avg", np.zeros(codes.shape[-1], np.float32))
    rows = rows if codes.ndim == 2 else codes.shape[1]
    return Encoder(network, latent_avg, steps, rows, bars)


def input_size(encoder: nn.Module) -> int:
    """Side of the pictures that an encoder reads."""
    return getattr(encoder, "resolution", None) or getattr(encoder, "size", ENCODER_SIZE)


def shrink(images: Float[Array, "b h w 3"], size: int = ENCODER_SIZE) -> Float[Array, "b h2 w2 3"]:
    """Area-averages pictures whose longer side exceeds `size` to it, keeping their proportions."""
    longer = max(images.shape[1:3])
    if longer <= size:
        return images
    return resize(
        images, (images.shape[1] * size // longer, images.shape[2] * size // longer), "area"
    )


def fit(
    pictures: Float[Array, "b h w 3"], size: int, bars: int = 0
) -> Float[Array, "b {size-2*bars} {size} 3"]:
    """Square pictures at exactly the size an encoder reads, without its bars.

    They are averaged when they are larger, interpolated when smaller.
    """
    square = resize(pictures, (size, size), "area" if pictures.shape[1] > size else "bilinear")
    return square[:, bars : size - bars]


def draw(
    generator: nn.Module,
    variables: Mapping[str, Any],
    codes: Float[Array, "b n k"],
    size: int,
    bars: int = 0,
) -> Float[Array, "b {size-2*bars} {size} 3"]:
    """A generator's pictures at the size an encoder reads."""
    side = min(size, generator.resolution)
    return fit(generator.apply(variables, codes, method="synthesis", size=side), size, bars)


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
        rows: number of rows for which the code of an encoder into W is repeated; None leaves it
            [b,k].

    Returns:
        W+ [b,n,k], or W [b,k].

    Raises:
        UserError: the encoder's codes and `latent_avg` differ in width.
    """
    offsets = encoder.apply(variables, shrink(images))
    if offsets.ndim == 2 and rows is not None:
        offsets = to_wplus(offsets, rows)
    _check_width(offsets, latent_avg)
    return offsets + latent_avg


def _check_width(offsets: Float[Array, "b *rows k"], codes: Float[Array, "... m"]) -> None:
    """Whether the codes that offsets are added to have their width."""
    if offsets.shape[-1] != codes.shape[-1]:
        raise UserError(
            f"the encoder gives codes of {offsets.shape[-1]} numbers, its latent_avg has "
            f"{codes.shape[-1]}; convert the encoder again, with its own latent_avg"
        )


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

    A Python loop over one compiled step: gradients of convolutions inside a compiled loop are slow
    on a CPU.

    Args:
        encoder: `BackboneEncoder` or `ResNetBackboneEncoder`.
        variables: its variables.
        generate: codes -> pictures, with fixed noise and not clamped; compiled by the caller.
        latent_avg: [k], [1,k] or [n,k].
        images: RGB in [-1,1].
        avg_image: result of `generate` for `latent_avg`, with or without a batch axis of 1.
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


@kept_jit(static_argnames="encoder")
def _correct(
    encoder: nn.Module,
    variables: Mapping[str, Any],
    codes: Float[Array, "b n k"],
    images: Float[Array, "b h w 3"],
    current: Float[Array, "b h w 3"],
) -> Float[Array, "b n k"]:
    offsets = encoder.apply(variables, jnp.concatenate([images, current], axis=-1))
    _check_width(offsets, codes)
    return codes + offsets


def read(generator: Network, encoder: Encoder, images: jax.Array) -> jax.Array:
    """W+ codes [b, n, 512] of aligned pictures [b, s, s, 3] in [-1, 1].

    Differentiable with respect to the pictures.

    Args:
        generator: draws the pictures with which ReStyle's passes compare.
        encoder: trained for that generator.
        images: RGB, any side.
    """
    (module, variables), steps, rows = encoder.network, encoder.steps, encoder.rows
    average, side, bars = jnp.asarray(encoder.latent_avg), input_size(module), encoder.bars
    if steps == 0:
        return _encode(module, variables, average, images, side, rows, bars)
    images = fit(images, side, bars)
    generate = functools.partial(_draw, *generator, size=side, bars=bars)
    mean = generate(jnp.broadcast_to(average, (1, rows, average.shape[-1])))
    codes, _ = restyle_loop(module, variables, generate, average, images, mean, steps)
    return codes[-1]


@kept_jit(static_argnames=("module", "side", "rows", "bars"))
def _encode(
    module: nn.Module,
    variables: dict,
    average: jax.Array,
    images: jax.Array,
    side: int,
    rows: int,
    bars: int,
) -> jax.Array:
    return encode(module, variables, average, fit(images, side, bars), rows)


_draw = kept_jit(draw, static_argnames=("generator", "size", "bars"))
