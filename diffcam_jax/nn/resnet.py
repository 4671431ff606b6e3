"""ResNet v1.5 (He et al., 1512.03385) with torchvision's numerics and layer names.

Layout NHWC. The stride is that of a bottleneck's 3x3 convolution, strided convolutions pad
symmetrically, batch normalisation has eps 1e-5 and keeps 0.9 of the old statistics. Parameters are
named conv1, bn1, layer1_0/conv1, layer2_0/downsample_conv, ... The caller chooses the input range:
torchvision's own weights expect ImageNet-normalised RGB, the Diff-CAM classifier [-1,1].
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.ops.pixel_shuffle import pixel_unshuffle
from diffcam_jax.ops.pool import max_pool

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}

_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")


class Pointwise(nn.Module):
    """1x1 convolution without bias, as a matrix product.

    On a CPU this is twice as fast on large maps as XLA's convolution.
    """

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Maps features; `stride` subsamples."""
        kernel = self.param("kernel", _kernel_init, (1, 1, x.shape[-1], self.features))
        return x[:, :: self.stride, :: self.stride] @ kernel[0, 0]


def _conv(features: int, size: int, stride: int = 1) -> nn.Module:
    """Convolution without bias and with torch's symmetric padding, which "SAME" is not."""
    if size == 1:
        return Pointwise(features, stride)
    pad = (size - 1) // 2
    return nn.Conv(
        features,
        (size, size),
        (stride, stride),
        padding=((pad, pad), (pad, pad)),
        use_bias=False,
        kernel_init=_kernel_init,
    )


def _norm() -> nn.BatchNorm:
    return nn.BatchNorm(momentum=0.9, epsilon=1e-5)


class StemConv(nn.Module):
    """7x7 convolution of stride 2 and padding 3, computed as a 4x4 one on 2x2 pixel blocks.

    The sums are the same; on a CPU a strided convolution of three channels is eight times slower
    than this form.
    """

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Maps pictures to half the resolution."""
        kernel = self.param("kernel", _kernel_init, (7, 7, x.shape[-1], self.features))
        x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
        c = x.shape[-1]
        # A leading row and column of zeros turn offsets -3..3 into -4..3, four whole blocks.
        kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0))).reshape(
            4, 2, 4, 2, c, self.features
        )
        kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(4, 4, 4 * c, self.features)
        pad = ((2, 1), (2, 1))
        return jax.lax.conv_general_dilated(
            pixel_unshuffle(x), kernel, (1, 1), pad, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18 and -34)."""

    width: int
    stride: int = 1
    project: bool = False
    expansion = 1

    def setup(self) -> None:
        """Creates the layers."""
        self.conv1, self.bn1 = _conv(self.width, 3, self.stride), _norm()
        self.conv2, self.bn2 = _conv(self.width, 3), _norm()
        if self.project:
            self.downsample_conv, self.downsample_bn = _conv(self.width, 1, self.stride), _norm()

    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b h2 w2 c2"]:
        """Maps features; `train` normalises by batch statistics."""
        frozen = not train
        y = nn.relu(self.bn1(self.conv1(x), use_running_average=frozen))
        y = self.bn2(self.conv2(y), use_running_average=frozen)
        if self.project:
            x = self.downsample_bn(self.downsample_conv(x), use_running_average=frozen)
        return nn.relu(x + y)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (ResNet-50 and -101).

    The output has 4 * width channels.
    """

    width: int
    stride: int = 1
    project: bool = False
    expansion = 4

    def setup(self) -> None:
        """Creates the layers."""
        self.conv1, self.bn1 = _conv(self.width, 1), _norm()
        self.conv2, self.bn2 = _conv(self.width, 3, self.stride), _norm()
        self.conv3, self.bn3 = _conv(4 * self.width, 1), _norm()
        if self.project:
            self.downsample_conv, self.downsample_bn = (
                _conv(4 * self.width, 1, self.stride),
                _norm(),
            )

    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b h2 w2 c2"]:
        """Maps features; `train` normalises by batch statistics."""
        frozen = not train
        y = nn.relu(self.bn1(self.conv1(x), use_running_average=frozen))
        y = nn.relu(self.bn2(self.conv2(y), use_running_average=frozen))
        y = self.bn3(self.conv3(y), use_running_average=frozen)
        if self.project:
            x = self.downsample_bn(self.downsample_conv(x), use_running_average=frozen)
        return nn.relu(x + y)


def _stage(
    block: type[BasicBlock] | type[Bottleneck], width: int, count: int, stride: int, channels: int
) -> list[nn.Module]:
    project = stride != 1 or channels != width * block.expansion
    return [block(width, stride, project)] + [block(width) for _ in range(count - 1)]


class ResNet(nn.Module):
    """ResNet-18/34/50/101 whose stages can also be run one by one.

    Attributes:
        depth: 18, 34, 50 or 101.
        width: channels of the stem, 64 in torchvision. Stage i has width * 2**i.
        num_classes: outputs of the linear layer; None omits it and returns the pooled features.
        strides: stride of each stage; (1, 2, 2, 1) keeps layer4 at 1/16 of the input instead of
            1/32.
    """

    depth: int = 18
    width: int = 64
    num_classes: int | None = None
    strides: Sequence[int] = (1, 2, 2, 2)

    def setup(self) -> None:
        """Creates the layers; raises ValueError for an unknown depth."""
        if self.depth not in BLOCKS:
            raise ValueError(f"depth {self.depth}: allowed are {sorted(BLOCKS)}")
        block = BasicBlock if self.depth < 50 else Bottleneck
        counts, w, e = BLOCKS[self.depth], self.width, block.expansion
        self.conv1, self.bn1 = StemConv(w), _norm()
        self.layer1 = _stage(block, w, counts[0], self.strides[0], w)
        self.layer2 = _stage(block, 2 * w, counts[1], self.strides[1], e * w)
        self.layer3 = _stage(block, 4 * w, counts[2], self.strides[2], 2 * e * w)
        self.layer4 = _stage(block, 8 * w, counts[3], self.strides[3], 4 * e * w)
        if self.num_classes is not None:
            self.fc = nn.Dense(self.num_classes)

    def stem(
        self, images: Float[Array, "b h w 3"], train: bool = False
    ) -> Float[Array, "b h4 w4 c"]:
        """conv1, bn1, ReLU and the 3x3 stride-2 max pool: 1/4 of the input size."""
        x = nn.relu(self.bn1(self.conv1(images), use_running_average=not train))
        return max_pool(x, 3, pad=1)

    def stage(
        self,
        index: int,
        x: Float[Array, "b h w c"],
        train: bool = False,
        start: int = 0,
        stop: int | None = None,
    ) -> Float[Array, "b h2 w2 c2"]:
        """Runs blocks [start, stop) of layer `index` (1 to 4)."""
        for block in (self.layer1, self.layer2, self.layer3, self.layer4)[index - 1][start:stop]:
            x = block(x, train)
        return x

    def __call__(
        self, images: Float[Array, "b h w 3"], train: bool = False
    ) -> tuple[Float[Array, "b n"], dict[str, Float[Array, "b _ _ _"]]]:
        """Logits (or pooled features) and the taps "stem", "layer1", ..., "layer4".

        Args:
            images: RGB in the range the weights were trained with.
            train: normalise by batch statistics (make "batch_stats" mutable), not stored ones.
        """
        taps = {"stem": self.stem(images, train)}
        x = taps["stem"]
        for i in (1, 2, 3, 4):
            x = taps[f"layer{i}"] = self.stage(i, x, train)
        x = jnp.mean(x, axis=(1, 2))
        return (x if self.num_classes is None else self.fc(x)), taps
