"""The deghosting network of Diff-CAM (2207.08134, section 3.4): GLEAN's encoder, prior and decoder.

A blended picture, reduced to `in_size`, becomes a clean one at `out_size`. The encoder gives
feature maps from `in_size` down to 4x4 and a W+ code; a StyleGAN2 runs on that code and fuses the
encoder's map into its own at every resolution that the encoder has; the decoder combines the
encoder's largest map with the generator's larger ones.

Images are NHWC RGB in [-1, 1], the output is not clamped. The prior always uses its fixed noise. It
is a complete `StyleGAN2Generator`, although nothing of its mapping and its toRGB layers reaches the
output, and it must not be trained: leave "params/generator" out of the optimiser.

Sources: Song et al., Diff-CAM (2207.08134); Chan et al., GLEAN (2012.00739).
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.rrdb import SLOPE, RRDBNet
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator, config_widths
from diffcam_jax.ops.pixel_shuffle import pixel_shuffle


class Down(nn.Module):
    """Halves the resolution: two 3x3 convolutions, the first of stride 2, with leaky ReLUs."""

    features: int

    def setup(self) -> None:
        """Creates the layers."""
        # "SAME" would pad an even size at the end only; torch pads both sides.
        self.conv1 = nn.Conv(self.features, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        self.conv2 = nn.Conv(self.features, (3, 3))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Maps features [b, h, w, c] to [b, h / 2, w / 2, features]."""
        return nn.leaky_relu(self.conv2(nn.leaky_relu(self.conv1(x), SLOPE)), SLOPE)


class ToStyles(nn.Module):
    """Maps the 4x4 map to a W+ code; no average code is added."""

    features: int
    rows: int
    latent_size: int

    def setup(self) -> None:
        """Creates the layers."""
        self.conv = nn.Conv(self.features, (3, 3))
        self.dense = nn.Dense(self.rows * self.latent_size)

    def __call__(self, x: Float[Array, "b 4 4 c"]) -> Float[Array, "b n k"]:
        """W+ codes [b, rows, latent_size] of features."""
        x = nn.leaky_relu(self.conv(x), SLOPE)
        return self.dense(x.reshape(len(x), -1)).reshape(len(x), self.rows, self.latent_size)


class Up(nn.Module):
    """Doubles the resolution: 3x3 convolution to four times the channels, then a pixel shuffle."""

    features: int

    def setup(self) -> None:
        """Creates the layers."""
        self.conv = nn.Conv(4 * self.features, (3, 3))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Maps features [b, h, w, c] to [b, 2 h, 2 w, features]."""
        return pixel_shuffle(self.conv(x))


class ToImage(nn.Module):
    """3x3 convolution, leaky ReLU, 3x3 convolution to RGB."""

    features: int

    def setup(self) -> None:
        """Creates the layers."""
        self.conv1, self.conv2 = nn.Conv(self.features, (3, 3)), nn.Conv(3, (3, 3))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w 3"]:
        """Maps features to RGB, not clamped."""
        return self.conv2(nn.leaky_relu(self.conv1(x), SLOPE))


def _level(size: int) -> int:
    """Index of a side among 4, 8, 16, ..."""
    return size.bit_length() - 3


class Deghoster(nn.Module):
    """Blended picture at `in_size` -> clean picture at `out_size`.

    Attributes:
        in_size: side of the input, a power of two, at least 4.
        widths: channels of the feature maps at 4, 8, 16, ..., in encoder, prior and decoder alike;
            the output is as large as the last of them, and larger than `in_size`.
        latent_size: size of a row of the W+ code.
        mapping_layers: depth of the prior's mapping network.
        blocks: residual-in-residual dense blocks in front of the encoder.
        rrdb_width: their channels.
        growth: channels that each convolution inside them adds.
        image_width: channels before the last convolution.
        remat: saves memory in training; see `RRDBNet`.
    """

    in_size: int = 128
    widths: tuple[int, ...] = config_widths(1024)
    latent_size: int = 512
    mapping_layers: int = 8
    blocks: int = 23
    rrdb_width: int = 64
    growth: int = 32
    image_width: int = 64
    remat: bool = False

    @property
    def out_size(self) -> int:
        """Side of the output in pixels."""
        return 2 ** (len(self.widths) + 1)

    @property
    def num_styles(self) -> int:
        """Rows of the W+ code."""
        return 2 * len(self.widths)

    def setup(self) -> None:
        """Creates the layers; raises ValueError for an impossible `in_size`."""
        if self.in_size not in [2**i for i in range(2, len(self.widths) + 1)]:
            raise ValueError(
                f"in_size {self.in_size}: it must be a power of two from 4 up, below the output's "
                f"{self.out_size}"
            )
        levels = _level(self.in_size) + 1
        small, large = self.widths[:levels], self.widths[levels:]
        self.rrdb = RRDBNet(small[-1], self.rrdb_width, self.blocks, self.growth, self.remat)
        self.down = [Down(width) for width in reversed(small[:-1])]
        self.to_styles = ToStyles(small[0], self.num_styles, self.latent_size)
        self.generator = StyleGAN2Generator(
            self.widths, self.latent_size, self.mapping_layers, pixel_norm_inside=False
        )
        self.fusion = [nn.Conv(width, (3, 3)) for width in small]
        self.up = [Up(width) for width in large]
        self.to_image = ToImage(self.image_width)

    def encode(
        self, images: Float[Array, "b h w 3"]
    ) -> tuple[dict[int, Array], Float[Array, "b n k"]]:
        """Feature maps by their side, from `in_size` down to 4, and the W+ code.

        Raises:
            ValueError: the pictures have another size.
        """
        if images.shape[1:] != (self.in_size, self.in_size, 3):
            raise ValueError(
                f"pictures must be [b, {self.in_size}, {self.in_size}, 3], got {images.shape}"
            )
        maps = {self.in_size: self.rrdb(images)}
        x = maps[self.in_size]
        for down in self.down:
            x = down(x)
            maps[x.shape[1]] = x
        return maps, self.to_styles(x)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b s s 3"]:
        """Restores pictures.

        Args:
            images: [b, in_size, in_size, 3] RGB in [-1, 1], for instance area-reduced blends.

        Returns:
            [b, out_size, out_size, 3] RGB, nominally in [-1, 1], not clamped.

        Raises:
            ValueError: the pictures have another size.
        """
        maps, styles = self.encode(images)

        def fuse(size: int, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
            if size > self.in_size:
                return x
            return self.fusion[_level(size)](jnp.concatenate([x, maps[size]], axis=-1))

        if self.is_initializing():
            # Initialises the prior completely, with the layers that are not run here.
            self.generator(jnp.zeros((1, self.latent_size)))
        generated = self.generator.features(styles, noise="fixed", before_up=fuse)
        x = self.up[0](maps[self.in_size])
        for up in self.up[1:]:
            x = up(jnp.concatenate([x, generated[x.shape[1]]], axis=-1))
        return self.to_image(jnp.concatenate([x, generated[self.out_size]], axis=-1))
