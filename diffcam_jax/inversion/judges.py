"""What compares pictures with the photograph besides their pixels: VGG16's features, LPIPS, and
identity.

Pictures [b, v, v, 3] RGB in [-1, 1]. A judge is hashable, as it is a static part of a compiled
step; the photograph's features are computed once. `weight` names the field of `Settings` that it
counts by.
"""

import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float

from diffcam_jax.inversion.settings import Settings
from diffcam_jax.losses import networks as perceptual
from diffcam_jax.losses import picture as losses
from diffcam_jax.nn.lpips import Lpips
from diffcam_jax.nn.vgg import VGG16, VGG16_LPIPS_TAPS
from diffcam_jax.pretrained import networks as pretrained

Seen = tuple[Array, ...]


@runtime_checkable
class Judge(Protocol):
    """Sees pictures, and says how far apart two views are."""

    weight: str

    def see(self, variables: dict[str, Any], images: Float[Array, "b v v 3"]) -> Seen:
        """Features of pictures."""
        ...

    def distance(self, variables: dict[str, Any], seen: Seen, target: Seen) -> Float[Array, " b"]:
        """Between features of pictures and of photographs."""
        ...


@dataclasses.dataclass(frozen=True)
class Vgg:
    """Mean squared difference of VGG16's features, summed over layers."""

    features: perceptual.Features
    weight = "perceptual"

    def see(self, variables: dict[str, Any], images: Float[Array, "b v v 3"]) -> Seen:
        return self.features(variables, images)

    def distance(self, variables: dict[str, Any], seen: Seen, target: Seen) -> Float[Array, " b"]:
        return perceptual.distance(seen, target)


@dataclasses.dataclass(frozen=True)
class LpipsVgg:
    """LPIPS on VGG16.

    Variables are {"trunk", "heads"}; fewer heads than five end at as many taps.
    """

    weight = "lpips"

    def see(self, variables: dict[str, Any], images: Float[Array, "b v v 3"]) -> Seen:
        vgg = VGG16(taps=VGG16_LPIPS_TAPS[: len(variables["heads"])])
        return losses.lpips_features(
            images, lambda x: list(vgg.apply({"params": variables["trunk"]}, x).values())
        )

    def distance(self, variables: dict[str, Any], seen: Seen, target: Seen) -> Float[Array, " b"]:
        heads = [variables["heads"][name] for name in sorted(variables["heads"])]
        return losses.lpips_distance(seen, target, heads)


@dataclasses.dataclass(frozen=True)
class LpipsAlex:
    """LPIPS on AlexNet. Variables are those of `nn.lpips.Lpips`."""

    weight = "lpips"

    def see(self, variables: dict[str, Any], images: Float[Array, "b h w 3"]) -> Seen:
        return Lpips("alex").apply(variables, images, method="features")

    def distance(self, variables: dict[str, Any], seen: Seen, target: Seen) -> Float[Array, " b"]:
        heads = variables["params"]["heads"]
        return losses.lpips_distance(seen, target, [heads[name] for name in sorted(heads)])


@dataclasses.dataclass(frozen=True)
class Identity:
    """1 - cosine of a face recogniser's embeddings."""

    embed: perceptual.Embedding
    weight = "identity"

    def see(self, variables: dict[str, Any], images: Float[Array, "b v v 3"]) -> Seen:
        return (self.embed(variables, images),)

    def distance(self, variables: dict[str, Any], seen: Seen, target: Seen) -> Float[Array, " b"]:
        return losses.identity_distance(*seen, *target)


class Loaded(NamedTuple):
    """A judge and the variables of its network."""

    judge: Judge
    variables: dict[str, Any]


def lpips() -> Loaded:
    """LPIPS on VGG16.

    Raises:
        UserError: it is neither cached nor can it be fetched.
    """
    found = pretrained.load("lpips").network("lpips_vgg")
    return Loaded(LpipsVgg(), dict(found.variables["params"]))


def in_domain(settings: Settings) -> tuple[Loaded, ...]:
    """What in-domain inversion compares pictures by, as far as its settings give it a weight.

    Args:
        settings: weights, and the folder of Caffe's VGG16.

    Raises:
        UserError: a network is neither cached nor can it be fetched.
    """
    found = []
    if settings.perceptual:
        features, variables = perceptual.in_domain(settings.weights)
        found.append(Loaded(Vgg(features), variables))
    if settings.lpips:
        found.append(lpips())
    if settings.identity:
        embed, variables = perceptual.identity()
        found.append(Loaded(Identity(embed), variables))
    return tuple(found)


def image2stylegan(settings: Settings) -> tuple[Loaded, ...]:
    """What Image2StyleGAN compares pictures by besides their pixels.

    Args:
        settings: with the weight of it.

    Raises:
        UserError: VGG16 is neither cached nor can it be fetched.
    """
    if not settings.perceptual:
        return ()
    features, variables = perceptual.image2stylegan()
    return (Loaded(Vgg(features), variables),)
