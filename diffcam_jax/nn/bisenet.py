"""BiSeNet face parsing with a ResNet-18 context path (19 CelebAMask-HQ classes), inference only.

Layout NHWC. Input: RGB float32 in [-1, 1], side a multiple of 32 (the released weights were trained
at 512); the ImageNet normalisation is part of the network. Output: class logits at 1/8 of the input
side. The batch norms of the checkpoint are folded into the convolutions by `from_torch`, so every
convolution has a bias. This is the variant without a separate spatial path: the stride-8 features
of the ResNet replace it.

Source: Yu et al., BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation
(1808.00897), section 3.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax.nn.conventions import CLASSES
from diffcam_jax.ops.image import IMAGENET_MEAN, IMAGENET_STD
from diffcam_jax.ops.pool import max_pool

BATCH_NORM_EPS = 1e-5


def _conv(features: int, kernel: int, stride: int = 1) -> nn.Conv:
    """A convolution with symmetric padding, as in the checkpoint's framework.

    SAME would shift strided convolutions by a pixel.
    """
    pad = kernel // 2
    return nn.Conv(features, (kernel, kernel), (stride, stride), padding=((pad, pad), (pad, pad)))


def _repeat(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b H W c"]:
    """Nearest-neighbour upsampling by a whole factor."""
    return jnp.repeat(jnp.repeat(x, factor, axis=1), factor, axis=2)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    features: int
    stride: int = 1

    def setup(self) -> None:
        """Creates the layers."""
        self.conv1 = _conv(self.features, 3, self.stride)
        self.conv2 = _conv(self.features, 3)
        if self.stride > 1:
            self.downsample = _conv(self.features, 1, self.stride)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b H W d"]:
        """Maps features [b, h, w, c]; `stride` 2 halves the resolution."""
        shortcut = self.downsample(x) if self.stride > 1 else x
        return nn.relu(shortcut + self.conv2(nn.relu(self.conv1(x))))


class ResNet18(nn.Module):
    """The trunk of the context path."""

    def setup(self) -> None:
        """Creates the layers."""
        self.conv1 = _conv(64, 7, 2)
        for stage, features in enumerate((64, 128, 256, 512), start=1):
            setattr(self, f"layer{stage}_0", BasicBlock(features, 1 if stage == 1 else 2))
            setattr(self, f"layer{stage}_1", BasicBlock(features))

    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Array, Array, Array]:
        """Maps a normalised picture to its features at strides 8, 16 and 32."""
        x = max_pool(nn.relu(self.conv1(x)), 3, pad=1)
        x = self.layer1_1(self.layer1_0(x))
        stride8 = self.layer2_1(self.layer2_0(x))
        stride16 = self.layer3_1(self.layer3_0(stride8))
        return stride8, stride16, self.layer4_1(self.layer4_0(stride16))


class AttentionRefinement(nn.Module):
    """ARM: a 3x3 convolution whose channels are gated by their global mean (paper, Fig. 2b)."""

    def setup(self) -> None:
        """Creates the layers."""
        self.conv = _conv(128, 3)
        self.attention = _conv(128, 1)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w 128"]:
        """Maps features [b, h, w, c] to 128 gated channels."""
        x = nn.relu(self.conv(x))
        return x * nn.sigmoid(self.attention(x.mean((1, 2), keepdims=True)))


class FeatureFusion(nn.Module):
    """FFM: joins the spatial and the context features and gates the channels (paper, Fig. 2c)."""

    def setup(self) -> None:
        """Creates the layers."""
        self.conv = _conv(256, 1)
        self.squeeze = nn.Conv(64, (1, 1), use_bias=False)
        self.excite = nn.Conv(256, (1, 1), use_bias=False)

    def __call__(
        self, spatial: Float[Array, "b h w c"], context: Float[Array, "b h w d"]
    ) -> Float[Array, "b h w 256"]:
        """Joins two maps of the same size."""
        x = nn.relu(self.conv(jnp.concatenate([spatial, context], axis=-1)))
        gate = nn.sigmoid(self.excite(nn.relu(self.squeeze(x.mean((1, 2), keepdims=True)))))
        return x * gate + x


class BiSeNet(nn.Module):
    """Face parsing; `CLASSES` names the output channels."""

    def setup(self) -> None:
        """Creates the layers."""
        self.resnet = ResNet18()
        self.arm16 = AttentionRefinement()
        self.arm32 = AttentionRefinement()
        self.conv_avg = _conv(128, 1)
        self.conv_head32 = _conv(128, 3)
        self.conv_head16 = _conv(128, 3)
        self.ffm = FeatureFusion()
        self.out_conv = _conv(256, 3)
        self.out_class = nn.Conv(len(CLASSES), (1, 1), use_bias=False)

    def __call__(self, image: Float[Array, "b h w 3"]) -> Float[Array, "b h8 w8 19"]:
        """Class logits.

        Args:
            image: RGB in [-1, 1], sides multiples of 32.

        Returns:
            Unnormalised logits at 1/8 of the side.
        """
        x = ((image + 1) / 2 - jnp.asarray(IMAGENET_MEAN)) / jnp.asarray(IMAGENET_STD)
        stride8, stride16, stride32 = self.resnet(x)
        context = nn.relu(self.conv_avg(stride32.mean((1, 2), keepdims=True)))
        context = nn.relu(self.conv_head32(_repeat(self.arm32(stride32) + context, 2)))
        context = nn.relu(self.conv_head16(_repeat(self.arm16(stride16) + context, 2)))
        return self.out_class(nn.relu(self.out_conv(self.ffm(stride8, context))))


def upsample_logits(logits: Float[Array, "b h w c"], size: int) -> Float[Array, "b size size c"]:
    """Bilinear upsampling with the corners aligned, as the checkpoint was trained.

    Args:
        logits: [b, h, w, c].
        size: side of the result in pixels.

    Returns:
        [b, size, size, c]; corner samples equal the corner samples of the input.
    """
    _, h, w, _ = logits.shape
    scale = jnp.array([(size - 1) / (h - 1), (size - 1) / (w - 1)])
    # scale_and_translate samples at pixel centres: the half-pixel terms align the grid with the
    # corners.
    translation = 0.5 - 0.5 * scale
    shape = (logits.shape[0], size, size, logits.shape[3])
    return jax.image.scale_and_translate(
        logits, shape, (1, 2), scale, translation, method="linear", antialias=False
    )


def from_torch(state_dict: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Converts a released checkpoint.

    Its auxiliary heads `conv_out16` and `conv_out32` are needed in training only.

    Args:
        state_dict: arrays by the checkpoint's key, kernels OIHW.

    Returns:
        The `params` of `BiSeNet`.

    Raises:
        KeyError: a key is missing or left over (all that are left over are named).
    """
    unused = ("conv_out16.", "conv_out32.")
    rest = {
        k: v
        for k, v in state_dict.items()
        if not k.startswith(unused) and not k.endswith("num_batches_tracked")
    }

    def kernel(key: str) -> np.ndarray:
        return np.asarray(rest.pop(f"{key}.weight"), np.float32).transpose(2, 3, 1, 0)

    def folded(conv: str, norm: str) -> dict[str, np.ndarray]:
        names = ("weight", "bias", "running_mean", "running_var")
        weight, bias, mean, var = (
            np.asarray(rest.pop(f"{norm}.{name}"), np.float64) for name in names
        )
        gain = weight / np.sqrt(var + BATCH_NORM_EPS)
        return {
            "kernel": (kernel(conv) * gain).astype(np.float32),
            "bias": (bias - mean * gain).astype(np.float32),
        }

    def block(key: str) -> dict[str, np.ndarray]:
        return folded(f"{key}.conv", f"{key}.bn")

    resnet: dict[str, Any] = {"conv1": folded("cp.resnet.conv1", "cp.resnet.bn1")}
    for stage in range(1, 5):
        for index in range(2):
            key = f"cp.resnet.layer{stage}.{index}"
            entry = {
                name: folded(f"{key}.{name}", f"{key}.bn{name[-1]}") for name in ("conv1", "conv2")
            }
            if stage > 1 and index == 0:
                entry["downsample"] = folded(f"{key}.downsample.0", f"{key}.downsample.1")
            resnet[f"layer{stage}_{index}"] = entry
    params: dict[str, Any] = {"resnet": resnet}
    for arm in ("arm16", "arm32"):
        key = f"cp.{arm}"
        params[arm] = {
            "conv": block(f"{key}.conv"),
            "attention": folded(f"{key}.conv_atten", f"{key}.bn_atten"),
        }
    for head in ("conv_avg", "conv_head32", "conv_head16"):
        params[head] = block(f"cp.{head}")
    params["ffm"] = {
        "conv": block("ffm.convblk"),
        "squeeze": {"kernel": kernel("ffm.conv1")},
        "excite": {"kernel": kernel("ffm.conv2")},
    }
    params["out_conv"] = block("conv_out.conv")
    params["out_class"] = {"kernel": kernel("conv_out.conv_out")}
    if rest:
        raise KeyError(f"keys of the checkpoint that BiSeNet does not use: {sorted(rest)}")
    return params
