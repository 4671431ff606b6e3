"""LPIPS v0.1 as one network: a trunk and the weights of its channels.

Pictures are NHWC, RGB in [-1, 1]; the caller maps those in [0, 1]. Parameters are {"trunk": those
of the trunk, "heads": {"lin0": [c], ...}}, with non-negative heads in the order of the taps.

Source: Zhang et al., The Unreasonable Effectiveness of Deep Features (1801.03924).
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.squeezenet import SqueezeNet
from diffcam_jax.nn.vgg import VGG16, AlexNet

# LPIPS v0.1: ImageNet's mean and standard deviation, expressed for pictures in [-1, 1].
LPIPS_SHIFT = (-0.030, -0.088, -0.188)
LPIPS_SCALE = (0.458, 0.448, 0.450)
LPIPS_EPSILON = 1e-10

Trunk = Callable[[Float[Array, "b h w 3"]], Sequence[Array]]
TRUNKS = {"alex": AlexNet, "vgg": VGG16, "squeeze": SqueezeNet}
WIDTHS = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
}


def lpips_features(image: Float[Array, "b h w 3"], trunk: Trunk) -> tuple[Array, ...]:
    """A trunk's features, each scaled to unit length over the channels.

    Args:
        image: RGB in [-1, 1].
        trunk: normalised picture -> features at the taps, in the order of the heads.

    Returns:
        One [b, h_k, w_k, c_k] per tap. The target's can be computed once and kept.
    """
    features = trunk((image - jnp.asarray(LPIPS_SHIFT)) / jnp.asarray(LPIPS_SCALE))
    return tuple(_unit(feature) for feature in features)


def _unit(feature: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    squares = (feature**2).sum(-1, keepdims=True)
    # Where all features are zero the root has no gradient: it is kept away from 0 there, and the
    # quotient stays 0.
    norm = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)
    return feature / (norm + LPIPS_EPSILON)


def lpips_distance(
    pred: Sequence[Array], target: Sequence[Array], heads: Sequence[Array]
) -> Float[Array, " b"]:
    """LPIPS between two sets of unit-length features.

    Args:
        pred: from `lpips_features`.
        target: from `lpips_features`.
        heads: one non-negative [c_k] per tap.

    Returns:
        [b], the sum over taps of the spatial mean of the weighted squared differences.

    Reference:
        Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric
        (1801.03924), eq. 1.
    """
    total = jnp.zeros(pred[0].shape[0])
    for a, b, head in zip(pred, target, heads, strict=True):
        total = total + ((a - b) ** 2 @ head).mean((1, 2))
    return total


class Heads(nn.Module):
    """One weight for each channel of each tap."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self) -> tuple[Float[Array, " _"], ...]:
        """The weights, one array for each tap."""
        ones = nn.initializers.ones
        return tuple(self.param(f"lin{i}", ones, (width,)) for i, width in enumerate(self.widths))


class Lpips(nn.Module):
    """Perceptual distance of two pictures.

    Attributes:
        net: "alex", "vgg" or "squeeze".
    """

    net: str = "vgg"

    def setup(self) -> None:
        """Creates the layers; raises ValueError for an unknown `net`."""
        if self.net not in TRUNKS:
            raise ValueError(f"net {self.net!r}: allowed are {', '.join(TRUNKS)}")
        self.trunk = TRUNKS[self.net]()
        self.heads = Heads(WIDTHS[self.net])

    def features(self, images: Float[Array, "b h w 3"]) -> tuple[Array, ...]:
        """The trunk's features at the taps, scaled to unit length over the channels."""
        return lpips_features(images, lambda x: tuple(self.trunk(x).values()))

    def shares(self, a: Float[Array, "b h w 3"], b: Float[Array, "b h w 3"]) -> Float[Array, "b k"]:
        """The contribution of each tap to the distance."""
        taps = zip(self.features(a), self.features(b), self.heads(), strict=True)
        return jnp.stack([lpips_distance([x], [y], [head]) for x, y, head in taps], axis=-1)

    def __call__(
        self, a: Float[Array, "b h w 3"], b: Float[Array, "b h w 3"]
    ) -> Float[Array, " b"]:
        """The distance of each pair."""
        return self.shares(a, b).sum(-1)
