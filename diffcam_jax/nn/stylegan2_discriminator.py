"""StyleGAN2 discriminator, residual, with minibatch standard deviation; any size and width.

Pictures are NHWC RGB in [-1, 1]. Parameters are the raw ones of the official releases (standard
deviation 1), scaled at run time. A conditional one projects a picture's features on a map of its
label.

Sources: Karras et al., Analyzing and Improving the Image Quality of StyleGAN (1912.04958), and of
the labels Training Generative Adversarial Networks with Limited Data (2006.06676).
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.errors import UserError
from diffcam_jax.nn.stylegan2 import config_widths
from diffcam_jax.nn.stylegan2_layers import GAIN, SLOPE, MappingLayer, ScaledDense, normalised
from diffcam_jax.ops.fir import downsample
from diffcam_jax.ops.up_conv import down_conv

GROUP = 4  # pictures that the minibatch standard deviation compares


def minibatch_stddev(x: Float[Array, "b h w c"], group: int = GROUP) -> Float[Array, " b"]:
    """Standard deviation over the samples of a group, averaged over pixels and channels.

    Args:
        x: features; b must not exceed `group`, or be a multiple of it.
        group: number of samples that are compared; sample i belongs to group i mod (b / group).

    Returns:
        [b], the same value for the samples of one group.

    Raises:
        ValueError: the batch cannot be divided into groups.

    Reference:
        Karras et al., Progressive Growing of GANs (1710.10196), section 3.
    """
    group = min(group, len(x))
    if len(x) % group:
        raise ValueError(
            f"a batch of {len(x)} has no groups of {group}; give at most {group} samples or a "
            "multiple"
        )
    groups = x.reshape(group, -1, *x.shape[1:])
    deviation = jnp.sqrt(groups.var(0) + 1e-8)
    return jnp.tile(deviation.mean((1, 2, 3)), group)


class ScaledConv(nn.Module):
    """Convolution with run-time scaling, then bias and leaky ReLU where `activate` is set.

    `down` blurs and halves.
    """

    features: int
    size: int = 3
    down: bool = False
    activate: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Maps features to `features` channels; `down` halves the resolution."""
        channels = x.shape[-1]
        kernel = self.param(
            "kernel", nn.initializers.normal(1.0), (self.size, self.size, channels, self.features)
        )
        kernel = kernel / math.sqrt(self.size**2 * channels)
        if self.down:
            x = down_conv(x, kernel)
        else:
            x = jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        if not self.activate:
            return x
        return GAIN * nn.leaky_relu(
            x + self.param("bias", nn.initializers.zeros, (self.features,)), SLOPE
        )


class ResidualBlock(nn.Module):
    """Halves the resolution: two convolutions beside a 1x1 shortcut, blurred before the strides."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Maps features to half the resolution."""
        shortcut = ScaledConv(self.features, 1, activate=False, name="skip")(downsample(x))
        x = ScaledConv(x.shape[-1], name="conv1")(x)
        x = ScaledConv(self.features, down=True, name="conv2")(x)
        return (x + shortcut) / math.sqrt(2)


class StyleGAN2Discriminator(nn.Module):
    """Picture -> logit, positive for a real one.

    Attributes:
        widths: channels at 4, 8, 16, ...; the pictures are as large as the last of them.
        group: number of samples that the minibatch standard deviation compares.
        num_classes: length of the labels; 0 is a discriminator without labels.
        mapping_layers: depth of the network that maps labels.
    """

    widths: tuple[int, ...] = config_widths(1024)
    group: int = GROUP
    num_classes: int = 0
    mapping_layers: int = 8

    @property
    def resolution(self) -> int:
        """Side of the pictures in pixels."""
        return 2 ** (len(self.widths) + 1)

    def setup(self) -> None:
        """Creates the layers."""
        halved = self.widths[-2::-1]
        self.convs = [ScaledConv(self.widths[-1], 1), *(ResidualBlock(width) for width in halved)]
        self.final_conv = ScaledConv(self.widths[0])
        width = self.widths[0]
        self.final_linear = [
            ScaledDense(width, True),
            ScaledDense(width if self.num_classes else 1, False),
        ]
        if self.num_classes:
            self.embed = ScaledDense(width, False)
            self.dense = [MappingLayer(width) for _ in range(self.mapping_layers)]

    def __call__(
        self, images: Float[Array, "b s s 3"], label: Float[Array, "b c"] | None = None
    ) -> Float[Array, "b 1"]:
        """Judges pictures.

        Args:
            images: [b, resolution, resolution, 3] RGB in [-1, 1]; b at most `group`, or a multiple
                of it.
            label: [b, num_classes] of a conditional discriminator, 1 for the picture's class.

        Returns:
            [b, 1] logits; the samples of a group influence each other.

        Raises:
            UserError: it is conditional, and there are no labels.
        """
        x = images
        for layer in self.convs:
            x = layer(x)
        deviation = jnp.broadcast_to(
            minibatch_stddev(x, self.group)[:, None, None, None], (*x.shape[:3], 1)
        )
        x = self.final_conv(jnp.concatenate([x, deviation], -1)).reshape(len(x), -1)
        for layer in self.final_linear:
            x = layer(x)
        return self._projected(x, label) if self.num_classes else x

    def _projected(
        self, x: Float[Array, "b d"], label: Float[Array, "b c"] | None
    ) -> Float[Array, "b 1"]:
        if label is None and self.is_initializing():
            label = jnp.zeros((len(x), self.num_classes))
        if label is None:
            raise UserError(
                f"the discriminator is conditional, it judges pictures of {self.num_classes} "
                "classes by their labels; take one without labels"
            )
        mapped = normalised(self.embed(label))
        for dense in self.dense:
            mapped = dense(mapped)
        return (x * mapped).sum(-1, keepdims=True) / math.sqrt(x.shape[-1])


def batch_logits(
    module: StyleGAN2Discriminator, variables: Mapping[str, Any], pictures: Float[Array, "b s s 3"]
) -> Float[Array, "b 1"]:
    """Logits [b, 1] of a batch of any size.

    The minibatch standard deviation compares four pictures, or as many of these as divide the
    batch.
    """
    return module.clone(group=math.gcd(GROUP, len(pictures))).apply(variables, pictures)
