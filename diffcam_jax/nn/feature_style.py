"""The encoder of feature-style inversion (2202.02183): a W+ code and generator features.

Pictures are NHWC RGB in [-1, 1], normally [b, 256, 256, 3]; codes are offsets from the average
code. The body is ArcFace's IResNet-50 (Deng et al., 1801.07698; with torch's numerics): a unit is
batch norm, 3x3 convolution, batch norm, PReLU, 3x3 convolution, batch norm, added to its input; the
first unit of each of the four groups halves the map. Averages of the four groups' maps over 3x3
cells are the input of one dense layer for each row.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.irse import COUNTS, WIDTHS, PReLU, group_maps, norm
from diffcam_jax.ops.image import resize

POOL = 3


def _conv(features: int, size: int = 3, stride: int = 1) -> nn.Conv:
    """Convolution without bias, with symmetric padding."""
    return nn.Conv(features, (size, size), (stride, stride), padding=size // 2, use_bias=False)


class Unit(nn.Module):
    """One residual unit.

    Attributes:
        width: channels of the result.
        stride: 1, or 2 to halve the map, with a convolution in the shortcut.
    """

    width: int
    stride: int = 1

    def setup(self) -> None:
        """Creates the layers."""
        self.bn1, self.conv1, self.bn2, self.prelu = norm(), _conv(self.width), norm(), PReLU()
        self.conv2, self.bn3 = _conv(self.width, stride=self.stride), norm()
        if self.stride > 1:
            self.shortcut_conv, self.shortcut_bn = _conv(self.width, 1, self.stride), norm()

    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b h2 w2 d"]:
        """Maps features; `train` normalises by batch statistics."""
        frozen = not train
        y = self.prelu(self.bn2(self.conv1(self.bn1(x, frozen)), frozen))
        y = self.bn3(self.conv2(y), frozen)
        return y + (self.shortcut_bn(self.shortcut_conv(x), frozen) if self.stride > 1 else x)


class IResNet(nn.Module):
    """The body.

    Attributes:
        counts: units of each group.
        widths: channels of each group; the input layer has those of the first.
    """

    counts: Sequence[int] = COUNTS
    widths: Sequence[int] = WIDTHS

    def setup(self) -> None:
        """Creates the layers."""
        self.input_conv, self.input_bn, self.input_prelu = _conv(self.widths[0]), norm(), PReLU()
        self.unit = [
            Unit(width, 2 if index == 0 else 1)
            for count, width in zip(self.counts, self.widths, strict=True)
            for index in range(count)
        ]

    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Features of the input layer and of the last unit of every group.

        Args:
            x: pictures.
            train: normalise by batch statistics (make "batch_stats" mutable) instead of stored
                ones.
        """
        x = self.input_prelu(self.input_bn(self.input_conv(x), not train))
        return group_maps(x, self.unit, self.counts, train)


class FeatureStyleEncoder(nn.Module):
    """The encoder.

    Attributes:
        n_styles: rows of W+.
        size: side of the pictures.
        width: length of a row.
        content_width: channels of the generator's features at a sixteenth of the side.
        counts: units of each group of the body.
        widths: channels of each group of the body.
    """

    n_styles: int = 18
    size: int = 256
    width: int = 512
    content_width: int = 512
    counts: Sequence[int] = COUNTS
    widths: Sequence[int] = WIDTHS

    def setup(self) -> None:
        """Creates the layers."""
        self.body = IResNet(self.counts, self.widths)
        self.content_bn1, self.content_conv1, self.content_bn2 = (
            norm(),
            _conv(self.content_width),
            norm(),
        )
        self.content_prelu, self.content_conv2 = PReLU(), _conv(self.content_width, stride=2)
        self.content_bn3 = norm()
        self.styles = [nn.Dense(self.width) for _ in range(self.n_styles)]

    def with_content(
        self, images: Float[Array, "b h w c"], train: bool = False
    ) -> tuple[Float[Array, "b n k"], Float[Array, "b h2 w2 d"]]:
        """The codes, and features [b, 16, 16, 512] that may replace the generator's own (layer 5).

        Args:
            images: RGB in [-1, 1].
            train: normalise by batch statistics (make "batch_stats" mutable) instead of stored
                ones.

        Reference:
            2202.02183, section 3. The release of invertibility decomposition computes the features
            and does not use them.
        """
        _, *maps = self.body(images, train)
        frozen = not train
        content = self.content_bn2(self.content_conv1(self.content_bn1(maps[2], frozen)), frozen)
        content = self.content_bn3(self.content_conv2(self.content_prelu(content)), frozen)
        pooled = jnp.concatenate([resize(x, (POOL, POOL), "area") for x in maps], axis=-1)
        pooled = pooled.reshape(len(images), math.prod(pooled.shape[1:]))
        return jnp.stack([dense(pooled) for dense in self.styles], axis=1), content

    def __call__(
        self, images: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b n k"]:
        """Offsets of the W+ code from the average; arguments as for `with_content`."""
        return self.with_content(images, train)[0]
