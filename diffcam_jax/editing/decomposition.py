"""Invertibility decomposition (arXiv 2212.09262): what a generator can draw, and what it cannot.

The generator draws a code while its features at 32 to 256 pixels are moved towards an encoder's;
what cannot be matched that way is marked in masks, which are merged into one at the picture's size.
There the photograph is kept: m x + (1 - m) G. An edit is the same with a latent delta. Pictures
NHWC float32 RGB in [-1, 1], masks [b, h, w] in [0, 1] and 1 where the photograph is kept, codes W+
[b, n, k].

`decompose` is the whole, `domain_mask` its mask alone. Everything is pure:
`jax.jit(decompose, static_argnames=("largest", "aligned"))`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.editing.alignment import Settings, body_maps, check_channels, require_maps
from diffcam_jax.editing.compose import blend
from diffcam_jax.errors import UserError
from diffcam_jax.inversion.encoding import ENCODER_SIZE, Encoder, restyle_loop
from diffcam_jax.nn.invertibility import merge
from diffcam_jax.nn.latents import to_wplus
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import resize


@flax.struct.dataclass(eq=False)
class Decomposer:
    """The networks that tell what is out of a generator's domain.

    Attributes:
        generator: StyleGAN2 or MobileStyleGAN.
        encoder: whose maps are compared with the generator's features. Its `steps` and `rows` are
            those of inversion; here `settings` counts.
        aligner: the alignment network between them.
        settings: how the encoder is used.
    """

    generator: Network
    encoder: Encoder
    aligner: Network
    settings: Settings = flax.struct.field(pytree_node=False, default=Settings())


class Decomposition(NamedTuple):
    """What `decompose` finds.

    Attributes:
        image: the photograph where `mask` is 1, `generated` where it is 0.
        generated: what the generator draws from its moved features.
        mask: of what is out of the generator's domain, at the picture's size.
        fields: (dx, dy, mask) of every level, coarse to fine, [b, side, side, 3].
        codes: that were drawn.
    """

    image: Float[Array, "b s s 3"]
    generated: Float[Array, "b s s 3"]
    mask: Float[Array, "b s s"]
    fields: list[Float[Array, "b _ _ 3"]]
    codes: Float[Array, "b n k"]


def decompose(
    networks: Decomposer,
    images: Float[Array, "b h w 3"],
    delta: Float[Array, "*rows k"] | None = None,
    codes: Float[Array, "m n l"] | None = None,
    largest: int | None = None,
    truncation: float | Float[Array, ""] | None = None,
    aligned: bool = True,
) -> Decomposition:
    """Splits pictures into what the generator can draw, edited or not, and what of them is kept.

    Args:
        networks: generator, encoder and alignment network.
        images: aligned pictures at the generator's resolution, or at a smaller side that it can
            draw.
        delta: an edit, [k], [n, k] or [b, n, k], added to the codes; the mask is found anew for the
            edited features.
        codes: of the pictures, from any inversion; None asks the encoder.
        largest: side of the finest level that acts; None means all of them. Training adds one after
            the other.
        truncation: share of the distance of the codes, edited or not, from the average code that is
            kept; None is that of the settings.
        aligned: False blends what the generator draws without moved features; the mask is that of
            the moved ones all the same (`skip_SA` of the release).

    Raises:
        UserError: the networks, the pictures and the codes do not go together.

    Reference:
        2212.09262; the pictures are not differentiated, as in its release.
    """
    generator, settings = networks.generator.module, networks.settings
    check_channels(generator, networks.aligner.module)
    size, width = images.shape[1:3]
    if size != width or size > generator.resolution or generator.resolution % size:
        raise UserError(
            f"a picture of {width}x{size} pixels and a generator of {generator.resolution} do "
            "not go together; "
            f"align the picture to {generator.resolution}x{generator.resolution}"
        )
    if codes is None:
        codes, maps = encode(networks, images)
    else:
        maps = encoder_maps(networks, images)
    # Published codes have a row for every layer of StyleGAN2, of which the embedded generator
    # leaves two aside.
    rows = 2 * generator.resolution.bit_length() - 4
    if (
        codes.shape[-1] != generator.latent_size
        or not generator.num_styles <= codes.shape[-2] <= rows
    ):
        raise UserError(
            f"codes of {codes.shape[-2]} rows of {codes.shape[-1]} are another generator's; "
            f"this one takes {generator.num_styles} of {generator.latent_size}: invert the "
            "picture with it"
        )
    if len(codes) != len(images):
        raise UserError(
            f"{len(codes)} codes for {len(images)} pictures; give one code for each picture"
        )
    codes = codes if delta is None else _edited(codes, delta)
    if truncation is None and settings.truncation != 1:
        truncation = settings.truncation
    if truncation is not None:
        codes = truncated(codes, jnp.asarray(networks.encoder.latent_avg), truncation)
    generated, fields = draw(networks, codes, maps, size, largest)
    if not aligned:
        generated = networks.generator(codes, size=size, method="synthesis")
    mask = fuse([field[..., 2] for field in fields], size)
    # The blend of Diff-CAM shows the edit where its mask is 1, this one keeps the photograph there.
    image = blend(jax.lax.stop_gradient(images), generated, 1 - mask)
    return Decomposition(image, generated, mask, fields, codes)


def truncated(
    codes: Float[Array, "b n k"],
    average: Float[Array, "*rows k"],
    share: float | Float[Array, ""],
) -> Float[Array, "b n k"]:
    """Moves codes towards the average code, of which a share of 1 keeps all of their distance."""
    return average * (1 - share) + codes * share


def encode(
    networks: Decomposer, images: Float[Array, "b s s 3"]
) -> tuple[Float[Array, "b n k"], list[Float[Array, "b _ _ _"]]]:
    """The encoder's codes of pictures, and its maps for the levels, coarse to fine.

    Arguments as for `decompose`.
    """
    generator, encoder, settings = networks.generator, networks.encoder.network, networks.settings
    average = jnp.asarray(networks.encoder.latent_avg)
    rows, side = generator.module.num_styles, getattr(encoder.module, "size", ENCODER_SIZE)
    pictures = _sized(images, side, settings)
    if settings.steps == 1:
        offsets, found = body_maps(encoder, pictures)
        offsets = offsets if offsets.ndim == 3 else to_wplus(offsets, rows)
        if settings.map_size != side:
            return offsets + average, encoder_maps(networks, images)
        return offsets + average, _of_levels(networks, found)

    def generate(codes: Array) -> Array:
        drawn = generator(codes, method="synthesis")
        return _sized(drawn, side, settings)

    first = generate(jnp.broadcast_to(average, (1, rows, average.shape[-1])))
    codes, drawn = restyle_loop(*encoder, generate, average, pictures, first, settings.steps)
    # The maps of the last correction: of the picture beside what it corrects.
    pair = jnp.concatenate([pictures, drawn[-2]], axis=-1)
    return codes[-1], _of_levels(networks, body_maps(encoder, pair)[1])


def encoder_maps(
    networks: Decomposer, images: Float[Array, "b s s 3"]
) -> list[Float[Array, "b _ _ _"]]:
    """The encoder's maps alone, where the codes come from elsewhere; see `encode`."""
    if networks.settings.steps > 1:
        return encode(networks, images)[1]
    pictures = _sized(images, networks.settings.map_size, networks.settings)
    return _of_levels(networks, body_maps(networks.encoder.network, pictures)[1])


def draw(
    networks: Decomposer,
    codes: Float[Array, "b n k"],
    maps: Sequence[Float[Array, "b _ _ _"]],
    size: int | None = None,
    largest: int | None = None,
    passing: bool = True,
) -> tuple[Float[Array, "b s s 3"], list[Float[Array, "b _ _ 3"]]]:
    """Draws codes with features that are moved on the way.

    Args:
        networks: generator, encoder and alignment network.
        codes: W+, edited or not.
        maps: the encoder's, one for each level, from `encode` or `encoder_maps`.
        size: side of the picture; None draws the full one.
        largest: as for `decompose`.
        passing: moved features pass gradients on. Without, the fields are learned from themselves
            alone and not by way of the generator, which takes less time.

    Returns:
        The pictures and the fields of the levels that acted, coarse to fine.
    """
    aligner, generator = networks.aligner, networks.generator
    levels = {side: index for index, side in enumerate(aligner.module.sides)}
    encoded = aligner(maps, method="encode")
    fields: list[Array] = []

    def move(side: int, features: Array) -> Array:
        if side not in levels or side > (largest or side):
            return features
        index, coarser = levels[side], fields[-1] if fields else None
        moved, field = aligner(index, features, encoded[index], coarser, method="align")
        fields.append(field)
        return moved if passing else jax.lax.stop_gradient(moved)

    size = size or generator.module.resolution
    pictures = generator(codes, size=size, after_up=move, method="synthesis")
    if not fields:
        raise UserError(f"no level acts up to {largest} pixels; the coarsest is at {min(levels)}")
    return pictures, fields


def fuse(masks: Sequence[Float[Array, "b _ _"]], size: int) -> Float[Array, "b s s"]:
    """One mask from those of all levels.

    Args:
        masks: coarse to fine; each is enlarged bilinearly and merged into the ones before.
        size: side of the result.
    """
    first, *finer = [resize(mask, (size, size)) for mask in masks]
    for mask in finer:
        first = merge(first, mask)
    return first


def domain_mask(
    networks: Decomposer,
    images: Float[Array, "b h w 3"],
    codes: Float[Array, "b n k"],
    size: int = 256,
) -> Float[Array, "b s s"]:
    """The mask of `decompose` for codes from elsewhere, at a side of one's own.

    Compiled, nothing behind the finest level is drawn.

    Args:
        networks: generator, encoder and alignment network.
        images: aligned pictures; the encoder's maps are those of the whole picture.
        codes: W+ of the pictures, not edited.
        size: side of the mask.
    """
    maps = encoder_maps(networks, images)
    _, fields = draw(networks, codes, maps, max(networks.aligner.module.sides))
    return fuse([field[..., 2] for field in fields], size)


def _edited(codes: Array, delta: Array) -> Array:
    try:
        fits = jnp.broadcast_shapes(codes.shape, delta.shape) == codes.shape
    except ValueError:
        fits = False
    if not fits:
        raise UserError(
            f"an edit of {delta.shape} does not fit codes of {codes.shape[-2]} rows of "
            f"{codes.shape[-1]}; "
            "use a direction of this generator"
        )
    return codes + delta


def _of_levels(networks: Decomposer, found: Mapping[int, Array]) -> list[Array]:
    aligner = networks.aligner.module
    require_maps(aligner.sides, found)
    maps = [found[side] for side in aligner.sides]
    channels = tuple(features.shape[-1] for features in maps)
    if channels != tuple(aligner.inputs):
        raise UserError(
            f"the alignment network reads maps of {tuple(aligner.inputs)} channels, "
            f"{type(networks.encoder.network.module).__name__} has {channels}; "
            "use the encoder that it was trained with"
        )
    return maps


def _sized(images: Array, size: int, settings: Settings) -> Array:
    method = settings.resize if images.shape[1] > size else "bilinear"
    return resize(images, (size, size), method)
