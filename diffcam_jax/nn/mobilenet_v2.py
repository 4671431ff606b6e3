"""MobileNetV2 as a body: three maps of a picture at 1/8, 1/16 and 1/32 of its side (Sandler et al.,
arXiv 1801.04381).

Pictures NHWC RGB in [-1, 1], sides divisible by 32; ImageNet's normalisation happens inside, as
torchvision's weights expect it. The numerics are torchvision's: strided convolutions pad alike on
both sides, batch normalisation has eps 1e-5 and keeps 0.9 of the old statistics, rectifiers end at
6. The classifier and the layer of 1280 channels before it are left out.

XLA's depthwise and strided convolutions are slow on a CPU, their gradients most of all. Here
depthwise ones are shifted multiply-adds, pointwise ones matrix products, and the first, of three
channels, works on blocks of 2x2 pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Float

from diffcam_jax.nn.mobile_stylegan import depthwise3x3
from diffcam_jax.nn.resnet import Pointwise
from diffcam_jax.ops.image import IMAGENET_MEAN, IMAGENET_STD

STEM_WIDTH = 32
# Rows of table 2: (factor of the inner channels, channels, blocks, stride of the first).
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


def _phases(x: Float[Array, "b h w c"]) -> list[list[Float[Array, "b h2 w2 c"]]]:
    """Pixels at even and odd rows and columns: [row parity][column parity]."""
    b, h, w, c = x.shape
    cells = x.reshape(b, h // 2, 2, w // 2, 2, c)
    return [[cells[:, :, i, :, j] for j in range(2)] for i in range(2)]


# Tap 0 (offset -1) reads the odd pixel of the cell before, tap 1 the even and tap 2 the odd one of
# its own cell.
_TAPS = ((1, 1), (0, 0), (1, 0))  # (parity, cells back)


def _back(x: Array, rows: int, columns: int) -> Array:
    """x moved by whole cells down and to the right (or up and to the left where negative), zeros
    coming in.
    """
    h, w = x.shape[1:3]
    pad = [(0, 0), (max(rows, 0), max(-rows, 0)), (max(columns, 0), max(-columns, 0)), (0, 0)]
    x = jnp.pad(x, pad)
    return x[:, max(-rows, 0) :, max(-columns, 0) :][:, :h, :w]


@jax.custom_vjp
def depthwise3x3_halving(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c"]
) -> Float[Array, "b h2 w2 c"]:
    """Depthwise 3x3 convolution of stride 2, zero padding 1, of maps with even sides."""
    phases = _phases(x)
    return sum(
        _back(phases[p][q], r, s) * kernel[i, j]
        for i, (p, r) in enumerate(_TAPS)
        for j, (q, s) in enumerate(_TAPS)
    )


def _halving_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return depthwise3x3_halving(x, kernel), (x, kernel)


def _halving_backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """Each of the four phases gathers from the gradient.

    XLA's own transpose, nine pads, does not fuse.
    """
    x, kernel = residuals
    phases, parts, taps = _phases(x), [[0, 0], [0, 0]], [[None] * 3 for _ in range(3)]
    for i, (p, r) in enumerate(_TAPS):
        for j, (q, s) in enumerate(_TAPS):
            parts[p][q] += _back(gradient, -r, -s) * kernel[i, j]
            taps[i][j] = (_back(phases[p][q], r, s) * gradient).sum((0, 1, 2))
    whole = jnp.stack([jnp.stack(row, axis=3) for row in parts], axis=2)  # [b, h/2, 2, w/2, 2, c]
    return whole.reshape(x.shape), jnp.array(taps)


depthwise3x3_halving.defvjp(_halving_forward, _halving_backward)


class Stem(nn.Module):
    """3x3 convolution of stride 2, padding 1, computed as a 2x2 one on blocks of 2x2 pixels."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        b, h, w, c = x.shape
        kernel = self.param("kernel", nn.initializers.he_normal(), (3, 3, c, self.features))
        x = (
            x.reshape(b, h // 2, 2, w // 2, 2, c)
            .transpose(0, 1, 3, 2, 4, 5)
            .reshape(b, h // 2, w // 2, 4 * c)
        )
        # A leading row and column of zeros turn offsets -1..1 into -2..1, two whole blocks.
        kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0))).reshape(
            2, 2, 2, 2, c, self.features
        )
        kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * c, self.features)
        return jax.lax.conv_general_dilated(
            x,
            kernel.astype(x.dtype),
            (1, 1),
            ((1, 0), (1, 0)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


class Depthwise(nn.Module):
    """3x3 convolution of every channel for itself, stride 1 or 2, zero padding 1."""

    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        kernel = self.param("kernel", nn.initializers.normal(1 / 3), (3, 3, x.shape[-1]))
        return depthwise3x3(x, kernel) if self.stride == 1 else depthwise3x3_halving(x, kernel)


class InvertedResidual(nn.Module):
    """Widens, filters every channel for itself, narrows without a rectifier.

    A shortcut where the shapes agree.

    Attributes:
        features: channels of the output.
        inner: channels in between; None where nothing is widened.
        stride: 1, or 2 to halve the map.
        shortcut: add the input.
    """

    features: int
    inner: int | None
    stride: int
    shortcut: bool

    def setup(self) -> None:
        if self.inner is not None:
            self.widen, self.widen_bn = Pointwise(self.inner), _norm()
        self.filter, self.filter_bn = Depthwise(self.stride), _norm()
        self.narrow, self.narrow_bn = Pointwise(self.features), _norm()

    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b h2 w2 d"]:
        frozen, y = not train, x
        if self.inner is not None:
            y = nn.relu6(self.widen_bn(self.widen(y), frozen))
        y = nn.relu6(self.filter_bn(self.filter(y), frozen))
        y = self.narrow_bn(self.narrow(y), frozen)
        return x + y if self.shortcut else y


def residual_blocks(stem: int, rows: Sequence[tuple[int, int, int, int]]) -> list[InvertedResidual]:
    """The blocks behind the first convolution.

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
        rows: (factor, channels, blocks, stride) as in the paper's table; the first row at each
            stride follows the one before it.
        frozen: so many of the first blocks, and the stem, keep their parameters and statistics;
            nothing is differentiated through them, which spares the widest maps.
    """

    stem: int = STEM_WIDTH
    rows: Sequence[tuple[int, int, int, int]] = ROWS
    frozen: int = 0

    def setup(self) -> None:
        self.conv, self.bn = Stem(self.stem), _norm()
        self.block = residual_blocks(self.stem, self.rows)

    def __call__(
        self, images: Float[Array, "b h w 3"], train: bool = False
    ) -> tuple[Float[Array, "b _ _ _"], ...]:
        """The last map at each of the strides 8, 16 and 32.

        Args:
            images: RGB in [-1, 1], sides divisible by 32.
            train: batch normalisation by batch statistics (make "batch_stats" mutable) behind the
                frozen blocks.
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

    The classifier and the layer before it are left out.

    Args:
        state: arrays by torchvision's names, kernels OIHW.

    Returns:
        {"params", "batch_stats"}, float32 NumPy arrays.

    Raises:
        KeyError: a key is missing, or a key is left over (all of them are named).
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
        raise KeyError(f"keys of the checkpoint that MobileNetV2 has no place for: {sorted(rest)}")
    return unflatten_dict(flat)
