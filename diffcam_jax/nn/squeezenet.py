"""The convolutional trunk of SqueezeNet 1.1, for LPIPS's smallest variant.

Layout NHWC, kernels HWIO. The trunk takes normalised pictures (see `losses`). A tap is named after
its layer: `relu1` is the first convolution after its ReLU, `fire5` the output of the fourth fire
module. Source: Iandola et al. (1602.07360), in the release 1.1, as trained on ImageNet for
torchvision.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

# (squeezed, expanded) widths of fire2 to fire9; a pool precedes fire2, fire4 and fire6.
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
POOLED = (2, 4, 6)
SQUEEZENET_LPIPS_TAPS = ("relu1", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9")


class Fire(nn.Module):
    """Squeezes by a 1x1 convolution, expands by a 1x1 and a 3x3 one in parallel; all with ReLU."""

    squeezed: int
    expanded: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        """Maps features to twice `expanded` channels."""
        x = nn.relu(nn.Conv(self.squeezed, (1, 1), name="squeeze")(x))
        one = nn.Conv(self.expanded, (1, 1), name="expand1x1")(x)
        three = nn.Conv(self.expanded, (3, 3), padding=1, name="expand3x3")(x)
        return nn.relu(jnp.concatenate([one, three], axis=-1))


def ceil_max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Maximum over 3x3 at stride 2.

    A last window that exceeds the border by a pixel counts too.
    """
    over = [(0, (size - 3) % 2) for size in x.shape[1:3]]
    return nn.max_pool(x, (3, 3), (2, 2), over)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 up to the last tap; the layers after it are not computed.

    Attributes:
        taps: names of the features to return.
    """

    taps: tuple[str, ...] = SQUEEZENET_LPIPS_TAPS

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> dict[str, Array]:
        """The features at `taps`, by name; pictures of at least 17 pixels."""
        known = ["relu1", *(f"fire{i}" for i in range(2, 2 + len(FIRES)))]
        if unknown := [tap for tap in self.taps if tap not in known]:
            raise ValueError(f"unknown taps {unknown}; known are {known}")
        x = nn.relu(nn.Conv(64, (3, 3), 2, padding="VALID", name="conv1")(x))
        found = {"relu1": x}
        for index, (squeezed, expanded) in enumerate(FIRES, start=2):
            if set(self.taps) <= set(found):
                break
            if index in POOLED:
                x = ceil_max_pool(x)
            x = found[f"fire{index}"] = Fire(squeezed, expanded, name=f"fire{index}")(x)
        return {tap: found[tap] for tap in self.taps}
