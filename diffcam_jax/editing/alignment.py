"""How encoders and alignment networks go together in invertibility decomposition (2212.09262).

An alignment network stands between a generator's features at 32 to 256 pixels and an encoder's maps
of the same sides; what each kind of encoder gives, and which channels fit, is told here.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.errors import UserError
from diffcam_jax.nn.e4e import Encoder4Editing
from diffcam_jax.nn.feature_style import FeatureStyleEncoder
from diffcam_jax.nn.invertibility import SIDES, Aligner
from diffcam_jax.nn.mobile_encoder import MobileEncoder
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.restyle import BackboneEncoder, ResNetBackboneEncoder
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator


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


def body_maps(
    encoder: Network, images: Float[Array, "b h w c"]
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
        return encoder(images), found


def aligner_for(
    generator: StyleGAN2Generator | MobileStyleGAN,
    encoder: nn.Module,
    settings: Settings = Settings(),
    **options: Any,
) -> Aligner:
    """An aligner in the channels of a generator and an encoder.

    Args:
        generator: the module whose features it is to move.
        encoder: the module whose maps it is to move them towards.
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
        return body_maps(Network(encoder, encoder.init(jax.random.key(0), picture)), picture)[1]

    found = {side: shape.shape[-1] for side, shape in jax.eval_shape(maps).items()}
    require_maps(sides, found)
    return Aligner(
        sides, tuple(widths[s] for s in sides), tuple(found[s] for s in sides), **options
    )


def check_channels(generator: nn.Module, aligner: Aligner) -> None:
    """Whether features can be moved in a generator by an aligner.

    Args:
        generator: the module.
        aligner: the alignment network's module.

    Raises:
        UserError: another kind of generator, or an aligner made for other sides or channels.
    """
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


def require_maps(sides: Sequence[int], found: Mapping[int, Any]) -> None:
    """Whether an encoder has a map for every level.

    Args:
        sides: of the levels.
        found: what it has, by side.

    Raises:
        UserError: it lacks some.
    """
    if missing := [side for side in sides if side not in found]:
        raise UserError(
            f"the encoder has no feature maps of {', '.join(map(str, missing))} pixels, only of "
            f"{', '.join(map(str, sorted(found, reverse=True))) or 'none'}; "
            "use another encoder, or larger pictures for its maps"
        )
