"""SFace: a small face recogniser whose embeddings measure identity.

The network is a MobileNet (Howard et al., arXiv 1704.04861) with PReLUs whose first convolution
keeps the resolution. It takes aligned face crops, NHWC RGB in 0..255, and is for inference: batch
normalisation always uses the stored statistics.

Source: Zhong et al., SFace (2205.12010).
"""

from collections.abc import Mapping

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax.errors import UserError
from diffcam_jax.nn.irse import PReLU
from diffcam_jax.ops.depthwise import depthwise3x3

SIDE = 112
FEATURES = 128
STEM_WIDTH = 32
INPUT_SCALING = {"scalar_op1": [127.5], "scalar_op2": [1 / 128]}  # subtracted, then multiplied
# (channels, stride) of the separable convolutions.
UNITS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)


def _norm(epsilon: float) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=True, epsilon=epsilon)


class Depthwise(nn.Module):
    """Depthwise 3x3 convolution, zero padding 1.

    Attributes:
        stride: 1, or 2 to halve the map.
    """

    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """Maps features [b, h, w, c]."""
        kernel = self.param("kernel", nn.initializers.normal(1 / 3), (3, 3, x.shape[-1]))
        return depthwise3x3(x, kernel)[:, :: self.stride, :: self.stride]


class SeparableConv(nn.Module):
    """Depthwise 3x3 convolution, then a 1x1 one; each is normalised and rectified.

    Attributes:
        width: channels of the result.
        stride: 1, or 2 to halve the map.
    """

    width: int
    stride: int

    def setup(self) -> None:
        """Creates the layers."""
        self.dw_conv, self.dw_bn, self.dw_prelu = Depthwise(self.stride), _norm(1e-3), PReLU()
        self.conv, self.bn, self.prelu = (
            nn.Conv(self.width, (1, 1), use_bias=False),
            _norm(1e-3),
            PReLU(),
        )

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Maps features to `width` channels."""
        x = self.dw_prelu(self.dw_bn(self.dw_conv(x)))
        return self.prelu(self.bn(self.conv(x)))


class SFace(nn.Module):
    """The embedding network; its parameters come from `sface_from_onnx`."""

    def setup(self) -> None:
        """Creates the layers."""
        self.conv = nn.Conv(STEM_WIDTH, (3, 3), padding=1, use_bias=False)
        self.bn, self.prelu = _norm(1e-3), PReLU()
        self.unit = [SeparableConv(width, stride) for width, stride in UNITS]
        self.last_bn = _norm(2e-5)
        self.fc = nn.Dense(FEATURES)
        self.fc_bn = _norm(2e-5)

    def __call__(self, images: Float[Array, "b 112 112 3"]) -> Float[Array, "b 128"]:
        """Embeddings, not normalised; the cosine between two is the similarity of the faces.

        Args:
            images: crops aligned to `metrics.identity.IDENTITY_TEMPLATE`, RGB in 0..255.
        """
        x = self.prelu(self.bn(self.conv((images - 127.5) / 128)))
        for unit in self.unit:
            x = unit(x)
        x = self.last_bn(x)
        return self.fc_bn(self.fc(x.reshape(len(x), -1)))


def sface_from_onnx(constants: Mapping[str, np.ndarray]) -> dict:
    """Variables of `SFace` from its published file.

    Args:
        constants: result of `formats.read_onnx` for the part "sface".

    Returns:
        {"params", "batch_stats"}, float32 NumPy arrays.

    Raises:
        UserError: the constants are those of another network.
    """
    left = dict(constants)

    def take(name: str, shape: tuple[int, ...]) -> np.ndarray:
        array = left.pop(name, None)
        if array is None or array.shape != shape:
            found = "missing" if array is None else f"{array.shape} instead of {shape}"
            raise UserError(
                f"this is not the SFace network, {name} is {found}; get sface.onnx again"
            )
        return np.asarray(array, np.float32)

    def norm(source: str, channels: int) -> tuple[dict, dict]:
        scale, bias, mean, var = (
            take(f"{source}_{name}", (channels,))
            for name in ("gamma", "beta", "moving_mean", "moving_var")
        )
        return {"scale": scale, "bias": bias}, {"mean": mean, "var": var}

    def block(source: str, prefix: str, kernel: np.ndarray) -> tuple[dict, dict]:
        """A convolution with its normalisation and PReLU."""
        channels = kernel.shape[-1]
        bn, moments = norm(f"{source}_batchnorm", channels)
        slope = take(f"{source}_relu_gamma", (channels, 1, 1)).reshape(-1)
        layers = {
            f"{prefix}conv": {"kernel": kernel},
            f"{prefix}bn": bn,
            f"{prefix}prelu": {"negative_slope": slope},
        }
        return layers, {f"{prefix}bn": moments}

    kernel = take("conv_1_conv2d_weight", (STEM_WIDTH, 3, 3, 3)).transpose(2, 3, 1, 0)
    params, stats = block("conv_1", "", kernel)
    before = STEM_WIDTH
    for i, (width, _) in enumerate(UNITS):
        source = f"conv_{i + 2}"
        kernel = take(f"{source}_dw_conv2d_weight", (before, 1, 3, 3))[:, 0].transpose(1, 2, 0)
        depthwise, depthwise_stats = block(f"{source}_dw", "dw_", kernel)
        kernel = take(f"{source}_conv2d_weight", (width, before, 1, 1)).transpose(2, 3, 1, 0)
        pointwise, pointwise_stats = block(source, "", kernel)
        params[f"unit_{i}"], stats[f"unit_{i}"] = (
            depthwise | pointwise,
            depthwise_stats | pointwise_stats,
        )
        before = width
    params["last_bn"], stats["last_bn"] = norm("bn1", before)
    side = SIDE // 16
    # The published network flattens [c, h, w], ours [h, w, c].
    kernel = take("pre_fc1_weight", (FEATURES, before * side * side)).reshape(
        FEATURES, before, side, side
    )
    kernel = kernel.transpose(2, 3, 1, 0).reshape(-1, FEATURES)
    params["fc"] = {
        "kernel": np.ascontiguousarray(kernel),
        "bias": take("pre_fc1_bias", (FEATURES,)),
    }
    params["fc_bn"], stats["fc_bn"] = norm("fc1", FEATURES)
    # What remains is the scaling of the input, which is part of the network here.
    if {name: array.reshape(-1).tolist() for name, array in left.items()} != INPUT_SCALING:
        raise UserError(
            f"this is not the SFace network, left over are {', '.join(left)}; get sface.onnx again"
        )
    return {"params": params, "batch_stats": stats}
