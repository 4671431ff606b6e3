"""Residual-in-residual dense blocks, the trunk of ESRGAN without its upsampling.

NHWC; the input is RGB in [-1, 1], the resolution does not change, and there is no normalisation.
Inside a block each convolution reads all maps before it in that block; branches are added with a
weight of 0.2.

Source: Wang et al., ESRGAN (1809.00219).
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

SLOPE = 0.2
RESIDUAL_SCALE = 0.2

# He initialisation at a tenth, as in ESRGAN: the trunk starts close to the identity.
_small_init = nn.initializers.variance_scaling(0.02, "fan_in", "normal")


class DenseBlock(nn.Module):
    """Four convolutions that each add channels and a fifth back to the input's width, with a skip.

    Attributes:
        growth: channels that each of the four convolutions adds.
    """

    growth: int = 32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Maps features; shape and channels do not change."""
        features = [x]
        for i in range(1, 5):
            conv = nn.Conv(self.growth, (3, 3), kernel_init=_small_init, name=f"conv{i}")
            features.append(nn.leaky_relu(conv(jnp.concatenate(features, axis=-1)), SLOPE))
        conv = nn.Conv(x.shape[-1], (3, 3), kernel_init=_small_init, name="conv5")
        return x + RESIDUAL_SCALE * conv(jnp.concatenate(features, axis=-1))


class ResidualDenseBlocks(nn.Module):
    """Three dense blocks in sequence, added to the input."""

    growth: int = 32

    def setup(self) -> None:
        """Creates the layers."""
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(self.growth) for _ in range(3))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Maps features; shape and channels do not change."""
        return x + RESIDUAL_SCALE * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(nn.Module):
    """The trunk: a convolution, the blocks with one skip around them, and an output convolution.

    Attributes:
        out_features: channels of the output.
        width: channels inside.
        blocks: number of residual-in-residual blocks.
        growth: channels that a convolution of a dense block adds.
        remat: whether the gradient recomputes the inside of each block instead of storing it, which
            stores one map in eleven.
    """

    out_features: int
    width: int = 64
    blocks: int = 23
    growth: int = 32
    remat: bool = False

    def setup(self) -> None:
        """Creates the layers."""
        self.conv_first = nn.Conv(self.width, (3, 3))
        block = nn.remat(ResidualDenseBlocks) if self.remat else ResidualDenseBlocks
        self.body = [block(self.growth) for _ in range(self.blocks)]
        self.conv_body = nn.Conv(self.width, (3, 3))
        self.conv_up = nn.Conv(self.out_features, (3, 3))

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w d"]:
        """Maps RGB in [-1, 1] to features of the same resolution, after a leaky ReLU."""
        first = x = self.conv_first(images)
        for block in self.body:
            x = block(x)
        return nn.leaky_relu(self.conv_up(first + self.conv_body(x)), SLOPE)
