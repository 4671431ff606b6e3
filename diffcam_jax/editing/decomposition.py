"""Invertibility decomposition (arXiv 2212.09262): what a generator can draw of a photograph, and a
mask of what it cannot.

The generator draws a code while its features at 32 to 256 pixels are moved towards an encoder's;
what cannot be met so is marked in masks, which are merged into one at the picture's size. There the
photograph is kept: m x + (1 - m) G. An edit is the same with a latent delta. Pictures NHWC float32
RGB in [-1, 1], masks [b, h, w] in [0, 1] and 1 where the photograph is kept, codes W+ [b, n, k].

`decompose` is the whole, `domain_mask` its mask alone. Everything is pure:
`jax.jit(decompose, static_argnames=("modules", "settings", "largest"))`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.editing.compose import blend
from diffcam_jax.errors import UserError
from diffcam_jax.inversion.encoding import ENCODER_SIZE, restyle_loop
from diffcam_jax.nn.e4e import Encoder4Editing
from diffcam_jax.nn.feature_style import FeatureStyleEncoder
from diffcam_jax.nn.invertibility import SIDES, Aligner, merge
from diffcam_jax.nn.latents import to_wplus
from diffcam_jax.nn.mobile_encoder import MobileEncoder
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.restyle import BackboneEncoder, ResNetBackboneEncoder
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.ops.image import resize


class Modules(NamedTuple):
    """The networks, without their weights; hashable, so a static argument of jit."""

    generator: StyleGAN2Generator | MobileStyleGAN
    encoder: nn.Module
    aligner: Aligner


class Variables(NamedTuple):
    """The networks' variables, and the average code [k], [1, k] or [n, k] that the encoder's
    offsets are from.
    """

    generator: Mapping[str, Any]
    encoder: Mapping[str, Any]
    aligner: Mapping[str, Any]
    latent_avg: Array


@dataclasses.dataclass(frozen=True)
class Settings:
    """How an encoder is used.

    Attributes:
        resize: to the encoder's size, "bilinear" (the release's e4e variant, without antialiasing)
            or "area" (its others).
        map_size: side of the picture whose maps are compared; an encoder that halves it on entry
            needs twice the largest level.
        steps: corrections of the code; above 1 the encoder is one of ReStyle's.
        truncation: share of the code's distance from the average that is kept.
    """

    resize: str = "area"
    map_size: int = 256
    steps: int = 1
    truncation: float = 1.0


E4E = Settings(resize="bilinear")
RESTYLE = Settings(steps=5)
FEATURE_STYLE = Settings()
MOBILE = Settings(map_size=512)


def settings_of(encoder: nn.Module, sides: Sequence[int] = SIDES) -> Settings:
    """How an encoder of a known kind is used.

    Args:
        encoder: one of e4e, ReStyle, FeatureStyle or this project's small one.
        sides: of the levels that its maps are for.

    Raises:
        UserError: another kind of encoder.
    """
    if isinstance(encoder, MobileEncoder):  # halves the picture on entry
        return dataclasses.replace(MOBILE, map_size=2 * max(sides))
    for kinds, settings in (
        (Encoder4Editing, E4E),
        (FeatureStyleEncoder, FEATURE_STYLE),
        ((BackboneEncoder, ResNetBackboneEncoder), RESTYLE),
    ):
        if isinstance(encoder, kinds):
            return settings
    raise UserError(
        f"a {type(encoder).__name__} gives no maps to compare features with; take e4e, ReStyle, "
        "FeatureStyle or the shipped encoder"
    )


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
    modules: Modules,
    variables: Variables,
    images: Float[Array, "b h w 3"],
    delta: Float[Array, "*rows k"] | None = None,
    codes: Float[Array, "m n l"] | None = None,
    settings: Settings = Settings(),
    largest: int | None = None,
) -> Decomposition:
    """Splits pictures into what the generator can draw, edited or not, and what of them is kept.

    Args:
        modules, variables: the networks.
        images: aligned pictures at the generator's resolution, or at a smaller side that it can
            draw.
        delta: an edit, [k], [n, k] or [b, n, k], added to the codes; the mask is found anew for the
            edited features.
        codes: of the pictures, from any inversion; None asks the encoder.
        settings: of the encoder.
        largest: side of the finest level that acts; None means all of them. Training adds one after
            the other.

    Raises:
        UserError: the networks, the pictures and the codes do not go together.

    Reference:
        2212.09262; the pictures are not differentiated, as in its release.
    """
    check_networks(modules)
    generator, (size, width) = modules.generator, images.shape[1:3]
    if size != width or size > generator.resolution or generator.resolution % size:
        raise UserError(
            f"a picture of {width}x{size} pixels and a generator of {generator.resolution} do "
            "not go together; "
            f"align the picture to {generator.resolution}x{generator.resolution}"
        )
    if codes is None:
        codes, maps = encode(modules, variables, images, settings)
    else:
        maps = encoder_maps(modules, variables, images, settings)
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
    if settings.truncation != 1:
        codes = variables.latent_avg * (1 - settings.truncation) + codes * settings.truncation
    generated, fields = draw(modules, variables, codes, maps, size, largest)
    mask = fuse([field[..., 2] for field in fields], size)
    # The blend of Diff-CAM shows the edit where its mask is 1, this one keeps the photograph there.
    image = blend(jax.lax.stop_gradient(images), generated, 1 - mask)
    return Decomposition(image, generated, mask, fields, codes)


def encode(
    modules: Modules,
    variables: Variables,
    images: Float[Array, "b s s 3"],
    settings: Settings = Settings(),
) -> tuple[Float[Array, "b n k"], list[Float[Array, "b _ _ _"]]]:
    """The encoder's codes of pictures, and its maps for the levels, coarse to fine.

    Arguments as for `decompose`.
    """
    generator, encoder = modules.generator, modules.encoder
    average = jnp.asarray(variables.latent_avg)
    side = getattr(encoder, "size", ENCODER_SIZE)
    pictures = _sized(images, side, settings)
    if settings.steps == 1:
        offsets, found = body_maps(encoder, variables.encoder, pictures)
        offsets = offsets if offsets.ndim == 3 else to_wplus(offsets, generator.num_styles)
        if settings.map_size != side:
            return offsets + average, encoder_maps(modules, variables, images, settings)
        return offsets + average, _of_levels(modules, found)

    def generate(codes: Array) -> Array:
        drawn = generator.apply(variables.generator, codes, method="synthesis")
        return _sized(drawn, side, settings)

    first = generate(jnp.broadcast_to(average, (1, generator.num_styles, average.shape[-1])))
    codes, drawn = restyle_loop(
        encoder, variables.encoder, generate, average, pictures, first, settings.steps
    )
    # The maps of the last correction: of the picture beside what it corrects.
    pair = jnp.concatenate([pictures, drawn[-2]], axis=-1)
    return codes[-1], _of_levels(modules, body_maps(encoder, variables.encoder, pair)[1])


def encoder_maps(
    modules: Modules,
    variables: Variables,
    images: Float[Array, "b s s 3"],
    settings: Settings = Settings(),
) -> list[Float[Array, "b _ _ _"]]:
    """The encoder's maps alone, where the codes come from elsewhere; arguments as for `decompose`."""
    if settings.steps > 1:
        return encode(modules, variables, images, settings)[1]
    pictures = _sized(images, settings.map_size, settings)
    return _of_levels(modules, body_maps(modules.encoder, variables.encoder, pictures)[1])


def body_maps(
    encoder: nn.Module, variables: Mapping[str, Any], images: Float[Array, "b h w c"]
) -> tuple[Array, dict[int, Float[Array, "b _ _ _"]]]:
    """What an encoder returns, and by side the last map that its `body` makes there."""
    found: dict[int, Array] = {}

    def record(
        method: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext
    ) -> Any:
        result, path = method(*args, **kwargs), context.module.path
        if context.method_name == "__call__" and len(path) == 2 and path[0] == "body":
            found[result.shape[1]] = result
        return result

    with nn.intercept_methods(record):
        return encoder.apply(variables, images), found


def draw(
    modules: Modules,
    variables: Variables,
    codes: Float[Array, "b n k"],
    maps: Sequence[Float[Array, "b _ _ _"]],
    size: int | None = None,
    largest: int | None = None,
    passing: bool = True,
) -> tuple[Float[Array, "b s s 3"], list[Float[Array, "b _ _ 3"]]]:
    """Draws codes with features that are moved on the way.

    Args:
        modules, variables, largest: as for `decompose`.
        codes: W+, edited or not.
        maps: the encoder's, one for each level, from `encode` or `encoder_maps`.
        size: side of the picture; None draws the full one.
        passing: moved features pass gradients on. Without, the fields are learned from themselves
            alone and not by way of the generator, which takes less time.

    Returns:
        The pictures and the fields of the levels that acted, coarse to fine.
    """
    aligner, levels = (
        modules.aligner,
        {side: index for index, side in enumerate(modules.aligner.sides)},
    )
    encoded = aligner.apply(variables.aligner, maps, method="encode")
    fields: list[Array] = []

    def move(side: int, features: Array) -> Array:
        if side not in levels or side > (largest or side):
            return features
        index, coarser = levels[side], fields[-1] if fields else None
        moved, field = aligner.apply(
            variables.aligner, index, features, encoded[index], coarser, method="align"
        )
        fields.append(field)
        return moved if passing else jax.lax.stop_gradient(moved)

    size = size or modules.generator.resolution
    pictures = modules.generator.apply(
        variables.generator, codes, size=size, after_up=move, method="synthesis"
    )
    if not fields:
        raise UserError(f"no level acts up to {largest} pixels; the coarsest is at {min(levels)}")
    return pictures, fields


def fuse(masks: Sequence[Float[Array, "b _ _"]], size: int) -> Float[Array, "b s s"]:
    """One mask from those of all levels, coarse to fine: each is enlarged bilinearly and merged
    into the ones before.
    """
    first, *finer = [resize(mask, (size, size)) for mask in masks]
    for mask in finer:
        first = merge(first, mask)
    return first


def domain_mask(
    modules: Modules,
    variables: Variables,
    images: Float[Array, "b h w 3"],
    codes: Float[Array, "b n k"],
    settings: Settings = Settings(),
    size: int = 256,
) -> Float[Array, "b s s"]:
    """The mask of `decompose` for codes from elsewhere, at a side of one's own.

    Compiled, nothing behind the finest level is drawn.

    Args:
        modules, variables, images, settings: as for `decompose`; the encoder's maps are those of
            the whole picture.
        codes: W+ of the pictures, not edited.
        size: side of the mask.
    """
    maps = encoder_maps(modules, variables, images, settings)
    _, fields = draw(modules, variables, codes, maps, max(modules.aligner.sides))
    return fuse([field[..., 2] for field in fields], size)


def area_loss(masks: Sequence[Float[Array, "b _ _"]], limits: Sequence[float]) -> Float[Array, ""]:
    """By how much the means of masks exceed their limits, summed over the masks."""
    return sum(
        jnp.maximum(0.0, mask.mean() - limit) for mask, limit in zip(masks, limits, strict=True)
    )


def binary_loss(masks: Sequence[Float[Array, "b _ _"]]) -> Float[Array, ""]:
    """Mean distance of masks from 0 or 1, whichever is nearer, summed over the masks."""
    return sum(jnp.minimum(mask, 1 - mask).mean() for mask in masks)


def aligner_for(
    generator: StyleGAN2Generator | MobileStyleGAN,
    encoder: nn.Module,
    settings: Settings = Settings(),
    **options: Any,
) -> Aligner:
    """An aligner in the channels of a generator and an encoder.

    Args:
        generator, encoder: the networks that it is to stand between.
        settings: of the encoder.
        options: further arguments of `Aligner`; `sides` are by default those of 32 to 256 that the
            generator draws.

    Raises:
        UserError: the encoder has no maps of these sides.
    """
    widths = {4 * 2**level: width for level, width in enumerate(generator.widths)}
    sides = options.pop("sides", tuple(side for side in SIDES if side in widths))
    picture = jnp.zeros((1, settings.map_size, settings.map_size, 3 if settings.steps == 1 else 6))

    def maps() -> dict[int, Array]:
        return body_maps(encoder, encoder.init(jax.random.key(0), picture), picture)[1]

    found = {side: shape.shape[-1] for side, shape in jax.eval_shape(maps).items()}
    _require_maps(sides, found)
    return Aligner(
        sides, tuple(widths[s] for s in sides), tuple(found[s] for s in sides), **options
    )


def check_networks(modules: Modules) -> None:
    """Whether features can be moved in a generator by an aligner.

    Raises:
        UserError: another kind of generator, or an aligner made for other sides or channels.
    """
    generator, aligner = modules.generator, modules.aligner
    if not isinstance(generator, StyleGAN2Generator | MobileStyleGAN):
        raise UserError(
            f"features cannot be moved in a {type(generator).__name__}; use StyleGAN2 or the "
            "embedded generator"
        )
    widths = {4 * 2**level: width for level, width in enumerate(generator.widths)}
    ours = [widths.get(side) for side in aligner.sides]
    if ours != list(aligner.features):
        raise UserError(
            f"the alignment network is for generators of {tuple(aligner.features)} channels at "
            f"{tuple(aligner.sides)} pixels, "
            f"this one has {tuple(ours)}; use the generator that it was trained with"
        )


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


def _of_levels(modules: Modules, found: Mapping[int, Array]) -> list[Array]:
    aligner = modules.aligner
    _require_maps(aligner.sides, found)
    maps = [found[side] for side in aligner.sides]
    channels = tuple(features.shape[-1] for features in maps)
    if channels != tuple(aligner.inputs):
        raise UserError(
            f"the alignment network reads maps of {tuple(aligner.inputs)} channels, "
            f"{type(modules.encoder).__name__} has {channels}; "
            "use the encoder that it was trained with"
        )
    return maps


def _require_maps(sides: Sequence[int], found: Mapping[int, Any]) -> None:
    if missing := [side for side in sides if side not in found]:
        raise UserError(
            f"the encoder has no feature maps of {', '.join(map(str, missing))} pixels, only of "
            f"{', '.join(map(str, sorted(found, reverse=True))) or 'none'}; "
            "use another encoder, or larger pictures for its maps"
        )


def _sized(images: Array, size: int, settings: Settings) -> Array:
    method = settings.resize if images.shape[1] > size else "bilinear"
    return resize(images, (size, size), method)
