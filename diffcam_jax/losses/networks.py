"""Networks of perceptual and identity losses: VGG features and face embeddings.

VGG features are compared at Caffe's scale for in-domain inversion, normalised for Image2StyleGAN
and for invertibility decomposition, which also compares their Gram matrices. Pictures are float32
[b, h, w, 3] RGB in [-1, 1]. The weights come from a folder that `python -m convert_weights` made of
Caffe's network, or are the embedded VGG16 (torchvision's) of the part "lpips".
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax.losses import picture as losses
from diffcam_jax.nn.irse import identity_crop
from diffcam_jax.nn.vgg import VGG16, VGG19, caffe_preprocess
from diffcam_jax.ops.image import IMAGENET_MEAN, IMAGENET_STD, resize
from diffcam_jax.pretrained import networks as pretrained

# Ratio of Caffe's features to ours: the mean divisor of torchvision's normalisation, in 0..255.
CAFFE_SCALE = 255 * sum(IMAGENET_STD) / 3
IDENTITY_SIDE = 256
IN_DOMAIN_TAPS = ("relu4_3",)
IMAGE2STYLEGAN_TAPS = ("conv1_1", "conv1_2", "conv3_2", "conv4_2")
# Weights of the last convolutions of the five stages, before their ReLU.
DECOMPOSITION_WEIGHTS = (0.1, 0.1, 1.0, 1.0, 1.0)
VGG19_TAPS = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")
VGG16_TAPS = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")


@dataclasses.dataclass(frozen=True)
class Features:
    """VGG's features of pictures, as a pure function of its variables.

    Attributes:
        taps: names of the layers.
        caffe: whether the weights take pictures as Caffe's do.
        scale: factor of the result.
        network: VGG16 or VGG19.
    """

    taps: tuple[str, ...]
    caffe: bool = False
    scale: float = 1.0
    network: type[VGG16] = VGG16

    def __call__(
        self, variables: dict[str, Any], images: Float[Array, "b h w 3"]
    ) -> tuple[Array, ...]:
        """The features [b, h_k, w_k, c_k] at the taps."""
        mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
        images = caffe_preprocess(images) if self.caffe else ((images + 1) / 2 - mean) / std
        return tuple(
            self.scale * found
            for found in self.network(taps=self.taps).apply(variables, images).values()
        )


@dataclasses.dataclass(frozen=True)
class Embedding:
    """A face recogniser's embedding of faces that are aligned as in FFHQ, by a fixed crop.

    A pure function of its variables.

    Attributes:
        network: the module, ArcFace or SFace.
        levels: whether it takes pictures in 0..255 instead of [-1, 1].
    """

    network: nn.Module
    levels: bool

    def __call__(
        self, variables: dict[str, Any], images: Float[Array, "b s s 3"]
    ) -> Float[Array, "b k"]:
        """Embeddings, not of unit length."""
        if images.shape[1] < IDENTITY_SIDE:
            images = resize(images, (IDENTITY_SIDE, IDENTITY_SIDE))
        faces = identity_crop(images)
        return self.network.apply(variables, (faces + 1) * 127.5 if self.levels else faces)


def identity(source: str = "") -> tuple[Embedding, dict[str, Any]]:
    """The network of identity losses and its variables.

    Args:
        source: folder with ArcFace; "" for the embedded SFace, an approximation, as it was trained
            on crops aligned by landmarks.

    Raises:
        UserError: there is no such folder, or the embedded network cannot be fetched.
    """
    module, variables = pretrained.load(source or "sface").network("identity")
    return Embedding(module, not source), variables


def distance(pred: Sequence[Array], target: Sequence[Array]) -> Float[Array, " b"]:
    """Mean squared error of features, summed over the taps."""
    return sum(
        (losses.mse(a, b) for a, b in zip(pred, target, strict=True)), jnp.zeros(len(pred[0]))
    )


def in_domain(source: str = "") -> tuple[Features, dict[str, Any]]:
    """relu4_3 at Caffe's scale, for which in-domain inversion's weight of 5e-5 is meant.

    Args:
        source: folder with Caffe's VGG16 (role "perceptual"); "" for the embedded VGG16, multiplied
            to Caffe's scale.

    Returns:
        The function and its variables.

    Raises:
        UserError: there is no such folder, or the embedded network cannot be fetched.

    Reference:
        Zhu et al., In-Domain GAN Inversion (2004.00049), section 3.2 and the released code.
    """
    if source:
        return Features(IN_DOMAIN_TAPS, caffe=True), dict(
            pretrained.load(source).network("perceptual").variables
        )
    return Features(IN_DOMAIN_TAPS, scale=CAFFE_SCALE), _embedded()


def image2stylegan() -> tuple[Features, dict[str, Any]]:
    """conv1_1, conv1_2, conv3_2 and conv4_2 of the ImageNet-normalised network, and the variables.

    Raises:
        UserError: the embedded VGG16 cannot be fetched.

    Reference:
        Abdal et al., Image2StyleGAN (1904.03189), section 5.1.
    """
    return Features(IMAGE2STYLEGAN_TAPS), _embedded()


def absolute(
    pred: Sequence[Array], target: Sequence[Array], weights: Sequence[float] = DECOMPOSITION_WEIGHTS
) -> Float[Array, " b"]:
    """Mean absolute error of features, a weighted sum over the taps."""
    return sum(
        w * jnp.abs(a - b).mean((1, 2, 3)) for w, a, b in zip(weights, pred, target, strict=True)
    )


def gram(features: Float[Array, "b h w c"]) -> Float[Array, "b c c"]:
    """Gram matrix of a map: products of channels summed over positions, divided by its size."""
    b, h, w, c = features.shape
    flat = features.reshape(b, h * w, c)
    return jnp.einsum("bnc,bnd->bcd", flat, flat) / (c * h * w)


def style(
    pred: Sequence[Array], target: Sequence[Array], weights: Sequence[float] = DECOMPOSITION_WEIGHTS
) -> Float[Array, " b"]:
    """Mean absolute error of Gram matrices, a weighted sum over the taps.

    Reference:
        Gatys et al., A Neural Algorithm of Artistic Style (1508.06576), with absolute errors.
    """
    pairs = zip(weights, map(gram, pred), map(gram, target), strict=True)
    return sum(w * jnp.abs(a - b).mean((1, 2)) for w, a, b in pairs)


def decomposition(source: str = "") -> tuple[Features, dict[str, Any]]:
    """The last convolution of every stage of the ImageNet-normalised network, and the variables.

    Args:
        source: folder with torchvision's VGG19 (role "perceptual"), which the release uses; "" for
            the embedded VGG16.

    Raises:
        UserError: there is no such folder, or the embedded network cannot be fetched.

    Reference:
        2212.09262, released configuration.
    """
    if source:
        module, variables = pretrained.load(source).network("perceptual")
        nineteen = isinstance(module, VGG19)
        return Features(VGG19_TAPS if nineteen else VGG16_TAPS, network=type(module)), dict(
            variables
        )
    return Features(VGG16_TAPS), {"params": dict(_trunk())}


def _embedded() -> dict[str, Any]:
    return {
        "params": {name: layer for name, layer in _trunk().items() if not name.startswith("conv5")}
    }


def _trunk() -> dict[str, Any]:
    return pretrained.load("lpips").network("lpips_vgg").variables["params"]["trunk"]
