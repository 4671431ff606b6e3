"""VGG16's features as losses of inversion compare them: at Caffe's scale for in-domain inversion, normalised for Image2StyleGAN.

Pictures float32 [b, h, w, 3] RGB in [-1, 1]. The weights come from a folder that `python -m convert_weights` made of Caffe's
network, or are the embedded VGG16 (torchvision's) of the part "lpips".
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax import losses, zoo
from diffcam_jax.nn.vgg import VGG16, caffe_preprocess
from diffcam_jax.ops.image import IMAGENET_MEAN, IMAGENET_STD

# What torchvision's normalisation divides by, on average, in 0..255: by so much Caffe's features are larger.
CAFFE_SCALE = 255 * sum(IMAGENET_STD) / 3
IN_DOMAIN_TAPS = ("relu4_3",)
IMAGE2STYLEGAN_TAPS = ("conv1_1", "conv1_2", "conv3_2", "conv4_2")


@dataclasses.dataclass(frozen=True)
class Features:
    """What VGG16 sees in pictures, as a pure function of its variables.

    Attributes:
        taps: the layers.
        caffe: the weights take pictures as Caffe's do.
        scale: of the result.
    """

    taps: tuple[str, ...]
    caffe: bool = False
    scale: float = 1.0

    def __call__(self, variables: dict[str, Any], images: Float[Array, "b h w 3"]) -> tuple[Array, ...]:
        """The features [b, h_k, w_k, c_k] at the taps."""
        mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
        images = caffe_preprocess(images) if self.caffe else ((images + 1) / 2 - mean) / std
        return tuple(self.scale * found for found in VGG16(taps=self.taps).apply(variables, images).values())


def distance(pred: Sequence[Array], target: Sequence[Array]) -> Float[Array, " b"]:
    """Mean squared error of features, summed over the taps."""
    return sum((losses.mse(a, b) for a, b in zip(pred, target, strict=True)), jnp.zeros(len(pred[0])))


def in_domain(source: str = "") -> tuple[Features, dict[str, Any]]:
    """relu4_3 at Caffe's scale, for which in-domain inversion's weight of 5e-5 is meant, and the variables.

    Args:
        source: folder with Caffe's VGG16 (role "perceptual"); "" for the embedded VGG16, multiplied to Caffe's scale.

    Raises:
        UserError: no such folder, or the embedded one is not to be had.

    Reference:
        Zhu et al., In-Domain GAN Inversion (2004.00049), section 3.2 and the released code.
    """
    if source:
        return Features(IN_DOMAIN_TAPS, caffe=True), dict(zoo.load(source).network("perceptual").variables)
    return Features(IN_DOMAIN_TAPS, scale=CAFFE_SCALE), _embedded()


def image2stylegan() -> tuple[Features, dict[str, Any]]:
    """conv1_1, conv1_2, conv3_2 and conv4_2 of the ImageNet-normalised network, and the variables.

    Raises:
        UserError: the embedded VGG16 is not to be had.

    Reference:
        Abdal et al., Image2StyleGAN (1904.03189), section 5.1.
    """
    return Features(IMAGE2STYLEGAN_TAPS), _embedded()


def _embedded() -> dict[str, Any]:
    trunk = zoo.load("lpips").network("lpips_vgg").variables["params"]["trunk"]
    return {"params": {name: layer for name, layer in trunk.items() if not name.startswith("conv5")}}
