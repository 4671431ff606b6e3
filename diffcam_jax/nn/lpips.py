"""LPIPS v0.1 as one network: a trunk and the weights of its channels.

Pictures NHWC, RGB in [-1, 1]; those in [0, 1] are mapped by the caller. Parameters are {"trunk": those of the trunk,
"heads": {"lin0": [c], ...}}, non-negative heads in the order of the taps. Source: Zhang et al. (1801.03924).
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.losses import picture as losses
from diffcam_jax.nn.squeezenet import SqueezeNet
from diffcam_jax.nn.vgg import VGG16, AlexNet

TRUNKS = {"alex": AlexNet, "vgg": VGG16, "squeeze": SqueezeNet}
WIDTHS = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
}


class Heads(nn.Module):
    """One weight for each channel of each tap."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self) -> tuple[Float[Array, " _"], ...]:
        ones = nn.initializers.ones
        return tuple(self.param(f"lin{i}", ones, (width,)) for i, width in enumerate(self.widths))


class Lpips(nn.Module):
    """Perceptual distance of two pictures.

    Attributes:
        net: "alex", "vgg" or "squeeze".
    """

    net: str = "vgg"

    def setup(self) -> None:
        if self.net not in TRUNKS:
            raise ValueError(f"net {self.net!r}: allowed are {', '.join(TRUNKS)}")
        self.trunk = TRUNKS[self.net]()
        self.heads = Heads(WIDTHS[self.net])

    def features(self, images: Float[Array, "b h w 3"]) -> tuple[Array, ...]:
        """The trunk's features at the taps, scaled to unit length over the channels."""
        return losses.lpips_features(images, lambda x: tuple(self.trunk(x).values()))

    def shares(self, a: Float[Array, "b h w 3"], b: Float[Array, "b h w 3"]) -> Float[Array, "b k"]:
        """What each tap adds to the distance."""
        taps = zip(self.features(a), self.features(b), self.heads(), strict=True)
        return jnp.stack([losses.lpips_distance([x], [y], [head]) for x, y, head in taps], axis=-1)

    def __call__(self, a: Float[Array, "b h w 3"], b: Float[Array, "b h w 3"]) -> Float[Array, " b"]:
        """The distance of each pair."""
        return self.shares(a, b).sum(-1)
