"""The convolutional trunks of VGG16, VGG19 and AlexNet, for perceptual losses.

Layout NHWC, kernels HWIO. The trunks take normalised pictures (each loss has its own constants, see
`losses`; `caffe_preprocess` is for weights that come from Caffe or Keras). A tap is named after its
layer: `conv4_3` is the convolution's output, `relu4_3` the same after its ReLU (AlexNet: `conv3`,
`relu3`).

Sources: Simonyan and Zisserman (1409.1556), configurations D and E; Krizhevsky, One weird trick
(1404.5997); all as trained on ImageNet.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.ops.pool import max_pool

VGG16_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG19_WIDTHS = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)
VGG16_LPIPS_TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
# (features, kernel, stride, padding) of conv1 to conv5.
ALEXNET_LAYERS = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
ALEXNET_LPIPS_TAPS = ("relu1", "relu2", "relu3", "relu4", "relu5")
# ImageNet's mean colour in 0..255, blue first.
CAFFE_MEAN = (103.939, 116.779, 123.68)

Features = Mapping[str, Float[Array, "b h w c"]]


class VGG16(nn.Module):
    """VGG16 up to the last tap; the layers after it are not computed.

    Attributes:
        taps: names of the features to return.
    """

    taps: tuple[str, ...] = VGG16_LPIPS_TAPS
    widths = VGG16_WIDTHS

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> dict[str, Array]:
        """The features at `taps`, by name."""
        layers = [
            f"{stage}_{i}"
            for stage, widths in enumerate(self.widths, 1)
            for i in range(1, len(widths) + 1)
        ]
        _check_taps(self.taps, layers)
        found: dict[str, Array] = {}
        for stage, widths in enumerate(self.widths, start=1):
            if stage > 1:
                x = max_pool(x, 2)
            for index, width in enumerate(widths, start=1):
                x = nn.Conv(width, (3, 3), padding=1, name=f"conv{stage}_{index}")(x)
                found[f"conv{stage}_{index}"] = x
                x = found[f"relu{stage}_{index}"] = nn.relu(x)
                if set(self.taps) <= set(found):
                    return {tap: found[tap] for tap in self.taps}
        raise AssertionError("every known tap lies in the loop above")


class VGG19(VGG16):
    """VGG19 up to the last tap; the layers after it are not computed.

    Attributes:
        taps: names of the features to return.
    """

    taps: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_4", "relu4_4", "relu5_4")
    widths = VGG19_WIDTHS


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
                x = max_pool(x, 3)
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


def caffe_preprocess(images: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """RGB in [-1, 1] to the input of trunks converted from Caffe or Keras.

    That is 0..255, blue first, minus the mean colour.
    """
    return (images[..., ::-1] + 1) * 127.5 - jnp.asarray(CAFFE_MEAN)
