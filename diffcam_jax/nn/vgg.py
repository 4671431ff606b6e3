"""The convolutional trunks of VGG16 and AlexNet, which perceptual losses look at pictures through.

Layout NHWC, kernels HWIO. The trunks take pictures already normalised (each loss has its own constants, see `losses`).
A tap is named after its layer: `conv4_3` is the convolution's output, `relu4_3` the same after its ReLU (AlexNet:
`conv3`, `relu3`). Sources: Simonyan and Zisserman (1409.1556), configuration D; Krizhevsky, One weird trick
(1404.5997); both as trained on ImageNet.
"""

from collections.abc import Mapping

import flax.linen as nn
from jaxtyping import Array, Float

VGG16_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG16_LPIPS_TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
# (features, kernel, stride, padding) of conv1 to conv5.
ALEXNET_LAYERS = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
ALEXNET_LPIPS_TAPS = ("relu1", "relu2", "relu3", "relu4", "relu5")

Features = Mapping[str, Float[Array, "b h w c"]]


class VGG16(nn.Module):
    """VGG16 up to the last tap; nothing behind it is computed.

    Attributes:
        taps: names of the features to return.
    """

    taps: tuple[str, ...] = VGG16_LPIPS_TAPS

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> dict[str, Array]:
        """The features at `taps`, by name."""
        layers = [f"{stage}_{i}" for stage, widths in enumerate(VGG16_WIDTHS, 1) for i in range(1, len(widths) + 1)]
        _check_taps(self.taps, layers)
        found: dict[str, Array] = {}
        for stage, widths in enumerate(VGG16_WIDTHS, start=1):
            if stage > 1:
                x = nn.max_pool(x, (2, 2), (2, 2))
            for index, width in enumerate(widths, start=1):
                x = nn.Conv(width, (3, 3), padding=1, name=f"conv{stage}_{index}")(x)
                found[f"conv{stage}_{index}"] = x
                x = found[f"relu{stage}_{index}"] = nn.relu(x)
                if set(self.taps) <= set(found):
                    return {tap: found[tap] for tap in self.taps}
        raise AssertionError("every known tap lies in the loop above")


class AlexNet(nn.Module):
    """AlexNet's five convolutions, up to the last tap.

    Attributes:
        taps: names of the features to return.
    """

    taps: tuple[str, ...] = ALEXNET_LPIPS_TAPS

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> dict[str, Array]:
        """The features at `taps`, by name."""
        _check_taps(self.taps, ["1", "2", "3", "4", "5"])
        found: dict[str, Array] = {}
        for index, (width, kernel, stride, pad) in enumerate(ALEXNET_LAYERS, start=1):
            if index in (2, 3):
                x = nn.max_pool(x, (3, 3), (2, 2))
            x = nn.Conv(width, (kernel, kernel), stride, padding=pad, name=f"conv{index}")(x)
            found[f"conv{index}"] = x
            x = found[f"relu{index}"] = nn.relu(x)
            if set(self.taps) <= set(found):
                break
        return {tap: found[tap] for tap in self.taps}


def _check_taps(taps: tuple[str, ...], layers: list[str]) -> None:
    known = [kind + layer for layer in layers for kind in ("conv", "relu")]
    if unknown := [tap for tap in taps if tap not in known]:
        raise ValueError(f"unknown taps {unknown}; known are {known}")
