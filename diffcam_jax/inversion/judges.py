"""Perceptual comparisons of pictures with the photograph: VGG16's features, LPIPS, and identity.

Pictures are [b, v, v, 3] RGB in [-1, 1]. A judge is hashable, because it is a static part of a
compiled step; the photograph's features are computed once. `weight` names the field of
`SearchSettings` that holds its weight.
"""

import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float

from diffcam_jax.inversion.settings import SearchSettings
from diffcam_jax.losses import networks as perceptual
from diffcam_jax.losses import picture as losses
from diffcam_jax.nn.lpips import Lpips
from diffcam_jax.nn.vgg import VGG16, VGG16_LPIPS_TAPS
from diffcam_jax.pretrained import networks as pretrained

Seen = tuple[Array, ...]


@runtime_checkable
class Judge(Protocol):
    """Computes features of pictures, and distances between features."""

    weight: str

    def see(self, variables: dict[str, Any], images: Float[Array, "b v v 3"]) -> Seen:
        """Features of pictures."""
        ...

    def distance(self, variables: dict[str, Any], seen: Seen, target: Seen) -> Float[Array, " b"]:
        """Distances between features of pictures and of photographs."""
        ...


@dataclasses.dataclass(frozen=True)
class Vgg:
    """Mean squared difference of VGG16's features, summed over layers."""

    features: perceptual.Features
    weight = "perceptual"

    def see(self, variables: dict[str, Any], images: Float[Array, "b v v 3"]) -> Seen:
        """Features of pictures at the taps."""
        return self.features(variables, images)

    def distance(self, variables: dict[str, Any], seen: Seen, target: Seen) -> Float[Array, " b"]:
        """Mean squared differences, summed over the taps."""
        return perceptual.distance(seen, target)


@dataclasses.dataclass(frozen=True)
class LpipsVgg:
    """LPIPS on VGG16.

    Variables are {"trunk", "heads"}; with fewer than five heads only as many taps are used.
    """

    weight = "lpips"

    def see(self, variables: dict[str, Any], images: Float[Array, "b v v 3"]) -> Seen:
        """Unit-length features of pictures."""
        vgg = VGG16(taps=VGG16_LPIPS_TAPS[: len(variables["heads"])])
        return losses.lpips_features(
            images, lambda x: list(vgg.apply({"params": variables["trunk"]}, x).values())
        )

    def distance(self, variables: dict[str, Any], seen: Seen, target: Seen) -> Float[Array, " b"]:
        """LPIPS distances."""
        heads = [variables["heads"][name] for name in sorted(variables["heads"])]
        return losses.lpips_distance(seen, target, heads)


@dataclasses.dataclass(frozen=True)
class LpipsAlex:
    """LPIPS on AlexNet, with the variables of `nn.lpips.Lpips`."""

    weight = "lpips"

    def see(self, variables: dict[str, Any], images: Float[Array, "b h w 3"]) -> Seen:
        """Unit-length features of pictures."""
        return Lpips("alex").apply(variables, images, method="features")

    def distance(self, variables: dict[str, Any], seen: Seen, target: Seen) -> Float[Array, " b"]:
        """LPIPS distances."""
        heads = variables["params"]["heads"]
        return losses.lpips_distance(seen, target, [heads[name] for name in sorted(heads)])


@dataclasses.dataclass(frozen=True)
class Identity:
    """1 - cosine of a face recogniser's embeddings."""

    embed: perceptual.Embedding
    weight = "identity"

    def see(self, variables: dict[str, Any], images: Float[Array, "b v v 3"]) -> Seen:
        """Embeddings of faces."""
        return (self.embed(variables, images),)

    def distance(self, variables: dict[str, Any], seen: Seen, target: Seen) -> Float[Array, " b"]:
        """1 - cosine of the embeddings."""
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


def in_domain(settings: SearchSettings) -> tuple[Loaded, ...]:
    """The comparisons of in-domain inversion whose weight is not zero.

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


def image2stylegan(settings: SearchSettings) -> tuple[Loaded, ...]:
    """The comparison of Image2StyleGAN besides pixels.

    Args:
        settings: with its weight.

    Raises:
        UserError: VGG16 is neither cached nor can it be fetched.
    """
    if not settings.perceptual:
        return ()
    features, variables = perceptual.image2stylegan()
    return (Loaded(Vgg(features), variables),)
