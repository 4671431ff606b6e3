"""Layers of StyleGAN2 (Karras et al., arXiv 1912.04958).

Parameters are the raw ones of the official releases (standard deviation 1, 100 in the mapping) and
scaled at run time, so that one learning rate fits all layers. A modulated convolution scales its
input by the style, convolves all samples with one kernel and scales its output; this equals the
paper's convolution with a kernel for each sample.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.ops.up_conv import up_conv
from diffcam_jax.ops.window import Window, cut

# (resolution, output of a convolution) -> what replaces it.
AfterUp = Callable[[int, Array], Array]

EPSILON = 1e-8
MAPPING_RATE = 0.01
SLOPE = 0.2
GAIN = math.sqrt(2)


class Modulation(nn.Module):
    """Affine map from a row of W+ to the factors of a layer's input channels, its style."""

    features: int

    @nn.compact
    def __call__(self, w: Float[Array, "b k"]) -> Float[Array, "b c"]:
        """Factors [b, features] of w."""
        kernel = self.param("kernel", nn.initializers.normal(1.0), (w.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.ones, (self.features,))
        return w @ (kernel / math.sqrt(w.shape[-1])) + bias


class ScaledDense(nn.Module):
    """Dense layer with run-time scaling, then leaky ReLU where `activate` is set."""

    features: int
    activate: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b d"]:
        """Maps vectors [b, c] to [b, features]."""
        kernel = self.param("kernel", nn.initializers.normal(1.0), (x.shape[-1], self.features))
        x = x @ (kernel / math.sqrt(x.shape[-1])) + self.param(
            "bias", nn.initializers.zeros, (self.features,)
        )
        return GAIN * nn.leaky_relu(x, SLOPE) if self.activate else x


def normalised(x: Float[Array, "b k"]) -> Float[Array, "b k"]:
    """Vectors divided by the root of their mean square."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + EPSILON)


class MappingLayer(nn.Module):
    """Dense layer with its own learning rate, then leaky ReLU."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b k"]) -> Float[Array, "b c"]:
        """Maps vectors [b, k] to [b, features]."""
        kernel = self.param(
            "kernel", nn.initializers.normal(1 / MAPPING_RATE), (x.shape[-1], self.features)
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x = x @ (kernel * (MAPPING_RATE / math.sqrt(x.shape[-1]))) + bias * MAPPING_RATE
        return GAIN * nn.leaky_relu(x, SLOPE)


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU; doubles the resolution where `up` is set.

    Attributes:
        in_features: channels of the input.
        features: channels of the output.
        resolution: side of the output.
        up: use a stride-2 transposed convolution and a blur instead of the plain convolution.
        clamp: largest magnitude of the output; None for no limit.
    """

    in_features: int
    features: int
    resolution: int
    up: bool = False
    clamp: float | None = None

    def setup(self) -> None:
        """Creates the layers."""
        self.modulation = Modulation(self.in_features)
        self.kernel = self.param(
            "kernel", nn.initializers.normal(1.0), (3, 3, self.in_features, self.features)
        )
        self.strength = self.param("strength", nn.initializers.zeros, ())
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.is_initializing():
            shape = (self.resolution, self.resolution)
            self.variable("noise", "map", lambda: jax.random.normal(self.make_rng("params"), shape))

    def style(self, w: Float[Array, "b k"]) -> Float[Array, "b c"]:
        """The factors of the input channels."""
        return self.modulation(w)

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        style: Float[Array, "b c"],
        noise: str,
        replace: AfterUp | None = None,
        place: Window | None = None,
    ) -> Float[Array, "b h2 w2 d"]:
        """Maps features under a style.

        Args:
            x: features.
            style: factors of the input channels, result of `style`.
            noise: as in `StyleGAN2Generator.synthesis`.
            replace: (resolution, features) -> what replaces the convolution's output, before noise,
                bias and leaky ReLU.
            place: the window of its map that the result is; None for the whole map.
        """
        style = style / math.sqrt(9 * self.in_features)
        demodulation = jax.lax.rsqrt(style**2 @ (self.kernel**2).sum((0, 1)) + EPSILON)
        x = x * style[:, None, None]
        if self.up:
            x = up_conv(x, self.kernel)
        else:
            x = jax.lax.conv_general_dilated(
                x, self.kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        # A leaky ReLU commutes with positive factors: its gain is applied to the terms of its
        # input.
        if replace is None:
            x = x * (GAIN * demodulation)[:, None, None] + GAIN * self.bias
        else:
            x = GAIN * replace(self.resolution, x * demodulation[:, None, None]) + GAIN * self.bias
        if noise != "none":
            x = x + (GAIN * self.strength) * self._noise(x, noise, place)
        x = nn.leaky_relu(x, SLOPE)
        return x if self.clamp is None else jnp.clip(x, -self.clamp, self.clamp)

    def _noise(self, x: Array, noise: str, place: Window | None) -> Array:
        if noise == "random":
            return jax.random.normal(self.make_rng("noise"), (*x.shape[:3], 1))
        if noise == "fixed":
            whole = self.get_variable("noise", "map")[..., None]
            return whole if place is None else cut(whole[None], place)
        raise ValueError(f"noise {noise!r}: allowed are fixed, random and none")


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to a picture, without demodulation.

    Attributes:
        in_features: channels of the input.
        clamp: largest magnitude of the output; None for no limit.
    """

    in_features: int
    clamp: float | None = None

    def setup(self) -> None:
        """Creates the layers."""
        self.modulation = Modulation(self.in_features)
        self.kernel = self.param("kernel", nn.initializers.normal(1.0), (self.in_features, 3))
        self.bias = self.param("bias", nn.initializers.zeros, (3,))

    def style(self, w: Float[Array, "b k"]) -> Float[Array, "b c"]:
        """The factors of the input channels."""
        return self.modulation(w)

    def __call__(
        self, x: Float[Array, "b h w c"], style: Float[Array, "b c"]
    ) -> Float[Array, "b h w 3"]:
        """The contribution of features to the picture, [b, h, w, 3]."""
        kernels = (style / math.sqrt(self.in_features))[:, :, None] * self.kernel
        x = jnp.einsum("bhwc,bcd->bhwd", x, kernels) + self.bias
        return x if self.clamp is None else jnp.clip(x, -self.clamp, self.clamp)
