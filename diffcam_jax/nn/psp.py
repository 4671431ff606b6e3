"""The encoders of pixel2style2pixel: from an aligned picture to offsets from the average code.

Pictures are NHWC RGB in [-1,1], normally [b,256,256,3]. Codes are offsets: `encoding.encode` adds
the generator's average code. The gradual encoder reads a feature pyramid, with one small head for
every row of W+; the other two map only the last features, into W or W+.

Source: Richardson et al., Encoding in Style (2008.00951).
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.irse import COUNTS, IRSE, WIDTHS, norm
from diffcam_jax.ops import warp
from diffcam_jax.ops.image import resize

# Rows of W+ below the first number read the coarsest map, those from there to the second the middle
# one, the others the finest.
COARSE_ROWS, MIDDLE_ROWS = 3, 7
# Input pixels per pixel of the body's last map.
BODY_STRIDE = 16


class EqualLinear(nn.Module):
    """Dense layer whose kernel is kept at unit variance and scaled by 1/sqrt(inputs) when used."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b k"]) -> Float[Array, "b n"]:
        """Maps vectors [b, k] to [b, features]."""
        kernel = self.param("kernel", nn.initializers.normal(1.0), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return (x * (1 / math.sqrt(x.shape[-1]))) @ kernel + bias


class Halving(nn.Module):
    """3x3 convolution of stride 2 and padding 1, leaky ReLU of slope 0.01."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Maps features to half the resolution."""
        _, h, w, c = x.shape
        kernel = self.param("kernel", nn.initializers.he_normal(), (3, 3, c, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        # One matrix product: heads that read the same map share the patches once compiled, and
        # neither small maps nor larger batches are slow, as in a CPU's strided convolutions (by up
        # to 2 and 10 times).
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        patches = jnp.concatenate(
            [x[:, i : i + h : 2, j : j + w : 2] for i in range(3) for j in range(3)], axis=-1
        )
        x = patches @ kernel.reshape(9 * c, self.features)
        return nn.leaky_relu(x + bias, 0.01)


class Map2Style(nn.Module):
    """A head: halves a map until one pixel is left, then a dense layer.

    Attributes:
        features: length of the code.
        halvings: number of convolutions; log2 of the map's size.
        channels: of the convolutions; None takes `features`, as in the official heads.
    """

    features: int = 512
    halvings: int = 4
    channels: int | None = None

    def setup(self) -> None:
        """Creates the layers."""
        self.convs = [Halving(self.channels or self.features) for _ in range(self.halvings)]
        self.linear = EqualLinear(self.features)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b k"]:
        """Codes [b, features]; raises ValueError for a map of another size."""
        size = x.shape[1:3]
        for conv in self.convs:
            x = conv(x)
        if x.shape[1:3] != (1, 1):
            raise ValueError(
                f"a head of {self.halvings} halvings leaves {x.shape[1:3]} pixels of a map of "
                f"{size}"
            )
        return self.linear(x[:, 0, 0])


def upsample_add(
    coarse: Float[Array, "b h w c"], lateral: Float[Array, "b h2 w2 c"]
) -> Float[Array, "b h2 w2 c"]:
    """Enlarges a map bilinearly with aligned corners to the size of another and adds that.

    Reference:
        torch's interpolate with align_corners=True.
    """
    return warp.resize(coarse, lateral.shape[1:3], align_corners=True) + lateral


class GradualStyleEncoder(nn.Module):
    """The encoder of pSp: a feature pyramid of three levels, rows of W+ from coarse to fine.

    Attributes:
        n_styles: rows of W+; 2 log2(size of the generator) - 2.
        size: longer side of the pictures, which sets the depth of the heads.
        width: length of a row.
        counts: see `IRSE`.
        widths: see `IRSE`.
        squeeze: see `IRSE`.
        channels: of the pyramid and the heads, and of the body's last map; None takes `width`, as
            in the official encoders.
    """

    n_styles: int = 18
    size: int = 256
    width: int = 512
    counts: Sequence[int] = COUNTS
    widths: Sequence[int] = WIDTHS
    squeeze: int | None = 16
    channels: int | None = None

    def setup(self) -> None:
        """Creates the layers."""
        self.body = IRSE(self.counts, self.widths, self.squeeze)
        channels = self.channels or self.width
        self.latlayer1, self.latlayer2 = nn.Conv(channels, (1, 1)), nn.Conv(channels, (1, 1))
        halvings = int(math.log2(self.size // BODY_STRIDE))
        self.styles = [
            Map2Style(self.width, halvings + (row >= COARSE_ROWS) + (row >= MIDDLE_ROWS), channels)
            for row in range(self.n_styles)
        ]

    def heads(
        self, images: Float[Array, "b h w c"], stop: int, train: bool = False
    ) -> list[Float[Array, "b k"]]:
        """The outputs of the first `stop` heads."""
        _, _, c1, c2, c3 = self.body(images, train)
        p2 = upsample_add(c3, self.latlayer1(c2))
        p1 = upsample_add(p2, self.latlayer2(c1))
        maps = (
            [c3] * COARSE_ROWS
            + [p2] * (MIDDLE_ROWS - COARSE_ROWS)
            + [p1] * max(stop - MIDDLE_ROWS, 0)
        )
        return [head(features) for head, features in zip(self.styles[:stop], maps)]

    def __call__(
        self, images: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b n k"]:
        """Offsets of the W+ code from the average.

        Args:
            images: RGB in [-1,1].
            train: normalise by batch statistics (make "batch_stats" mutable), not stored ones.
        """
        return jnp.stack(self.heads(images, self.n_styles, train), axis=1)


class IntoW(nn.Module):
    """One code for all layers from the pooled last features.

    Attributes:
        width: length of the code.
        counts: see `IRSE`.
        widths: see `IRSE`.
        squeeze: see `IRSE`.
    """

    width: int = 512
    counts: Sequence[int] = COUNTS
    widths: Sequence[int] = WIDTHS
    squeeze: int | None = 16

    def setup(self) -> None:
        """Creates the layers."""
        self.body = IRSE(self.counts, self.widths, self.squeeze)
        self.linear = EqualLinear(self.width)

    def __call__(self, images: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b k"]:
        """Offset of the W code from the average; arguments as for `GradualStyleEncoder`."""
        return self.linear(self.body(images, train)[-1].mean((1, 2)))


class IntoWPlus(nn.Module):
    """All rows of W+ from the last features by dense layers.

    Attributes:
        n_styles: rows of W+.
        width: length of a row.
        pool: side of the map that is flattened.
        counts: see `IRSE`.
        widths: see `IRSE`.
        squeeze: see `IRSE`.
    """

    n_styles: int = 18
    width: int = 512
    pool: int = 7
    counts: Sequence[int] = COUNTS
    widths: Sequence[int] = WIDTHS
    squeeze: int | None = 16

    def setup(self) -> None:
        """Creates the layers."""
        self.body = IRSE(self.counts, self.widths, self.squeeze)
        self.output_bn, self.output_dense = norm(), nn.Dense(self.width)
        self.linear = EqualLinear(self.n_styles * self.width)

    def __call__(
        self, images: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b n k"]:
        """Offsets of the W+ code from the average; arguments as for `GradualStyleEncoder`."""
        x = self.output_bn(self.body(images, train)[-1], not train)
        x = resize(x, (self.pool, self.pool), "area")
        codes = self.linear(self.output_dense(x.reshape(len(x), -1)))
        return codes.reshape(-1, self.n_styles, self.width)
