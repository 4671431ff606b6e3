"""Encoders of in-domain GAN inversion (2004.00049): from a picture to its W+ code.

Pictures are NHWC RGB in [-1, 1], the side a power of two from 16 up; codes [b, rows, 512] are
absolute, no average is added. The network that was released for inference differs from the one that
the training code builds, so there are two: `InDomainEncoder` reads the released weights,
`InDomainTrainingEncoder` is for training.

Source: Zhu et al., In-Domain GAN Inversion for Real Image Editing (2004.00049).
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

SLOPE = 0.2

_he = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def encoder_widths(resolution: int, base: int = 64, largest: int = 1024) -> tuple[int, ...]:
    """Channels at `resolution`, half of it, ... down to 4: doubling from `base` up to `largest`."""
    steps = resolution.bit_length() - 2
    if resolution < 16 or resolution & (resolution - 1):
        raise ValueError(f"resolution {resolution}: it must be a power of two from 16")
    return tuple(min(base * 2**i, largest) for i in range(steps))


class ConvUnit(nn.Module):
    """Convolution with batch normalisation before or after a leaky ReLU.

    Attributes:
        features: channels of the result.
        size: side of the kernel.
        bias: whether the convolution has one.
        activate: whether there is a leaky ReLU.
        norm_first: whether to normalise before the activation, not after it.
        norm_scale: whether the normalisation has a learned scale.
    """

    features: int
    size: int = 3
    bias: bool = True
    activate: bool = True
    norm_first: bool = True
    norm_scale: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b h w d"]:
        """Maps features; `train` normalises by batch statistics."""
        x = nn.Conv(
            self.features, (self.size, self.size), use_bias=self.bias, kernel_init=_he, name="conv"
        )(x)
        norm = nn.BatchNorm(
            not train, momentum=0.9, epsilon=1e-5, use_scale=self.norm_scale, name="bn"
        )
        if self.norm_first:
            x = norm(x)
        if self.activate:
            x = nn.leaky_relu(x, SLOPE)
        return x if self.norm_first else norm(x)


class ResidualBlock(nn.Module):
    """2x2 mean, then two 3x3 convolutions beside a shortcut.

    The shortcut is a 1x1 convolution where the number of channels changes.

    Attributes:
        features: channels of the result; the map between the convolutions has as many channels as
            the narrower of input and result.
        released: use the arrangement of the released network: normalisation first, and an
            activation in the shortcut.
    """

    features: int
    released: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b h2 w2 d"]:
        """Maps features to half the resolution; `train` normalises by batch statistics."""
        b, h, w, channels = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, channels).mean((2, 4))
        order = {"norm_first": self.released, "norm_scale": self.released}
        main = ConvUnit(min(channels, self.features), name="main1", **order)(x, train)
        main = ConvUnit(self.features, name="main2", **order)(main, train)
        if channels != self.features:
            x = ConvUnit(
                self.features, 1, bias=False, activate=self.released, name="shortcut", **order
            )(x, train)
        return main + x


class CodeHead(nn.Module):
    """Linear layer on the flattened 4x4 map, then batch normalisation of every entry of the code.

    Attributes:
        features: entries of the code.
        released: without bias, and the stored weights are multiplied by 1 / sqrt(inputs).
    """

    features: int
    released: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b k"]:
        """Codes [b, features]; `train` normalises by batch statistics."""
        x = x.reshape(len(x), -1)
        if self.released:
            kernel = self.param("kernel", nn.initializers.normal(1.0), (x.shape[-1], self.features))
            x = (x / math.sqrt(x.shape[-1])) @ kernel
        else:
            x = nn.Dense(self.features, kernel_init=nn.initializers.lecun_normal(), name="dense")(x)
        return nn.BatchNorm(
            not train, momentum=0.9, epsilon=1e-5, use_scale=self.released, name="bn"
        )(x)


class InDomainEncoder(nn.Module):
    """The encoder whose weights were released.

    Attributes:
        widths: channels at full resolution, half of it, ... down to 4 (see `encoder_widths`).
        rows: rows of the code, the generator's `num_styles`.
        latent_size: entries of a row.
    """

    widths: tuple[int, ...] = encoder_widths(256)
    rows: int = 14
    latent_size: int = 512
    released = True

    @property
    def resolution(self) -> int:
        """Side of the pictures in pixels."""
        return 2 * 2 ** len(self.widths)

    def setup(self) -> None:
        """Creates the layers."""
        blocks = [ResidualBlock(width, self.released) for width in self.widths[1:]]
        self.block = [self.stem(), *blocks, CodeHead(self.rows * self.latent_size, self.released)]

    def stem(self) -> ConvUnit:
        """The first layer, at full resolution."""
        return ConvUnit(self.widths[0], bias=False)

    def __call__(
        self, images: Float[Array, "b h w 3"], train: bool = False
    ) -> Float[Array, "b n k"]:
        """W+ codes of pictures.

        Args:
            images: RGB in [-1, 1] of side `resolution`.
            train: normalise by batch statistics (make "batch_stats" mutable) instead of stored
                ones.

        Returns:
            [b, rows, latent_size].

        Raises:
            ValueError: the pictures have another side.
        """
        if images.shape[1:3] != (self.resolution, self.resolution):
            raise ValueError(
                f"this encoder takes pictures of side {self.resolution}, got {images.shape[1:3]}"
            )
        x: Array = jnp.asarray(images)
        for block in self.block:
            x = block(x, train)
        return x.reshape(len(images), self.rows, self.latent_size)


class InDomainTrainingEncoder(InDomainEncoder):
    """The encoder that the training code builds.

    It starts with a 5x5 convolution, activates before it normalises, has at most 512 channels, no
    activation in the shortcuts, normalisations without a scale, and a bias in the linear layer.
    """

    widths: tuple[int, ...] = encoder_widths(256, largest=512)
    released = False

    def stem(self) -> ConvUnit:
        """The first layer, at full resolution."""
        return ConvUnit(self.widths[0], 5, norm_first=False, norm_scale=False)
