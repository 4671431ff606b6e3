"""MobileNetV2 as a body: three maps of a picture at 1/8, 1/16 and 1/32 of its side.

Pictures are NHWC RGB in [-1, 1], sides divisible by 32; ImageNet's normalisation is part of the
network, as torchvision's weights expect it. The numerics are torchvision's: strided convolutions
pad symmetrically, batch normalisation has eps 1e-5 and keeps 0.9 of the old statistics, rectifiers
are clipped at 6. The classifier and the layer of 1280 channels before it are omitted.

XLA's depthwise and strided convolutions are slow on a CPU, their gradients most of all. Here
depthwise ones are shifted multiply-adds, pointwise ones matrix products, and the first, of three
channels, works on blocks of 2x2 pixels.

Source: Sandler et al., MobileNetV2 (1801.04381).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Float

from diffcam_jax.nn.resnet import Pointwise
from diffcam_jax.ops.depthwise import depthwise3x3, depthwise3x3_halving
from diffcam_jax.ops.image import IMAGENET_MEAN, IMAGENET_STD
from diffcam_jax.ops.pixel_shuffle import pixel_unshuffle

STEM_WIDTH = 32
# Rows of table 2: (expansion factor, channels, blocks, stride of the first block).
ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _norm() -> nn.BatchNorm:
    return nn.BatchNorm(momentum=0.9, epsilon=1e-5)


class Stem(nn.Module):
    """3x3 convolution of stride 2, padding 1, computed as a 2x2 one on blocks of 2x2 pixels."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Maps pictures of even sides to half the resolution."""
        c = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.he_normal(), (3, 3, c, self.features))
        # A leading row and column of zeros turn offsets -1..1 into -2..1, two whole blocks.
        kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0))).reshape(
            2, 2, 2, 2, c, self.features
        )
        kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * c, self.features)
        return jax.lax.conv_general_dilated(
            pixel_unshuffle(x),
            kernel.astype(x.dtype),
            (1, 1),
            ((1, 0), (1, 0)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


class Depthwise(nn.Module):
    """Depthwise 3x3 convolution, stride 1 or 2, zero padding 1."""

    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """Maps features; stride 2 needs even sides."""
        kernel = self.param("kernel", nn.initializers.normal(1 / 3), (3, 3, x.shape[-1]))
        return depthwise3x3(x, kernel) if self.stride == 1 else depthwise3x3_halving(x, kernel)


class InvertedResidual(nn.Module):
    """Widens, filters every channel separately, and narrows without a rectifier.

    Attributes:
        features: channels of the output.
        inner: channels in between; None where nothing is widened.
        stride: 1, or 2 to halve the map.
        shortcut: whether the input is added.
    """

    features: int
    inner: int | None
    stride: int
    shortcut: bool

    def setup(self) -> None:
        """Creates the layers."""
        if self.inner is not None:
            self.widen, self.widen_bn = Pointwise(self.inner), _norm()
        self.filter, self.filter_bn = Depthwise(self.stride), _norm()
        self.narrow, self.narrow_bn = Pointwise(self.features), _norm()

    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b h2 w2 d"]:
        """Maps features; `train` normalises by batch statistics."""
        frozen, y = not train, x
        if self.inner is not None:
            y = nn.relu6(self.widen_bn(self.widen(y), frozen))
        y = nn.relu6(self.filter_bn(self.filter(y), frozen))
        y = self.narrow_bn(self.narrow(y), frozen)
        return x + y if self.shortcut else y


def residual_blocks(stem: int, rows: Sequence[tuple[int, int, int, int]]) -> list[InvertedResidual]:
    """The blocks after the first convolution.

    Args:
        stem: channels of that convolution.
        rows: (factor, channels, blocks, stride), see `MobileNetV2`.
    """
    blocks, before = [], stem
    for factor, features, count, stride in rows:
        for index in range(count):
            step = stride if index == 0 else 1
            inner = None if factor == 1 else factor * before
            blocks.append(InvertedResidual(features, inner, step, step == 1 and before == features))
            before = features
    return blocks


class MobileNetV2(nn.Module):
    """The body.

    Attributes:
        stem: channels of the first convolution.
        rows: (factor, channels, blocks, stride) as in the paper's table.
        frozen: number of leading blocks that, like the stem, keep their parameters and statistics;
            nothing is differentiated through them, which avoids the widest maps.
    """

    stem: int = STEM_WIDTH
    rows: Sequence[tuple[int, int, int, int]] = ROWS
    frozen: int = 0

    def setup(self) -> None:
        """Creates the layers."""
        self.conv, self.bn = Stem(self.stem), _norm()
        self.block = residual_blocks(self.stem, self.rows)

    def __call__(
        self, images: Float[Array, "b h w 3"], train: bool = False
    ) -> tuple[Float[Array, "b _ _ _"], ...]:
        """The last map at each of the strides 8, 16 and 32.

        Args:
            images: RGB in [-1, 1], sides divisible by 32.
            train: normalise by batch statistics (make "batch_stats" mutable) after the frozen
                blocks.
        """
        x = ((images + 1) / 2 - jnp.asarray(IMAGENET_MEAN)) / jnp.asarray(IMAGENET_STD)
        x = nn.relu6(self.bn(self.conv(x.astype(images.dtype)), not train or self.frozen > 0))
        last = {}
        for index, block in enumerate(self.block):
            x = block(x, train and index >= self.frozen)
            if index + 1 == self.frozen:
                x = jax.lax.stop_gradient(x)
            last[images.shape[1] // x.shape[1]] = x
        return last[8], last[16], last[32]


def mobilenet_v2_from_torch(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables of `MobileNetV2()` from torchvision's state dict.

    The classifier and the layer before it are omitted.

    Args:
        state: arrays by torchvision's names, kernels OIHW.

    Returns:
        {"params", "batch_stats"}, float32 NumPy arrays.

    Raises:
        KeyError: a key is missing or left over (all that are left over are named).
    """
    rest = {
        name: array
        for name, array in state.items()
        if not name.startswith(("features.18.", "classifier."))
        and not name.endswith("num_batches_tracked")
    }
    flat: dict[tuple[str, ...], np.ndarray] = {}

    def take(name: str, path: tuple[str, ...], depthwise: bool = False) -> None:
        kernel = np.asarray(rest.pop(f"{name}.weight"), np.float32).transpose(2, 3, 1, 0)
        flat["params", *path, "kernel"] = np.ascontiguousarray(
            kernel[:, :, 0] if depthwise else kernel
        )

    def take_norm(name: str, path: tuple[str, ...]) -> None:
        for ours, theirs in (("scale", "weight"), ("bias", "bias")):
            flat["params", *path, ours] = np.asarray(rest.pop(f"{name}.{theirs}"), np.float32)
        for ours in ("mean", "var"):
            flat["batch_stats", *path, ours] = np.asarray(
                rest.pop(f"{name}.running_{ours}"), np.float32
            )

    take("features.0.0", ("conv",))
    take_norm("features.0.1", ("bn",))
    for number in range(sum(row[2] for row in ROWS)):
        name, block, at = f"features.{number + 1}.conv", f"block_{number}", 0
        for layer in ("widen", "filter") if number else ("filter",):
            take(f"{name}.{at}.0", (block, layer), layer == "filter")
            take_norm(f"{name}.{at}.1", (block, f"{layer}_bn"))
            at += 1
        take(f"{name}.{at}", (block, "narrow"))
        take_norm(f"{name}.{at + 1}", (block, "narrow_bn"))
    if rest:
        raise KeyError(f"keys of the checkpoint that MobileNetV2 does not use: {sorted(rest)}")
    return unflatten_dict(flat)
