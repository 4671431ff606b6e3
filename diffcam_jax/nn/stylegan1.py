"""StyleGAN v1 generator, in the form that in-domain inversion (arXiv 2004.00049) uses.

z and w are [b, 512]; the mapping network gives a w for every layer, so that its output is a W+ code
[b, n, 512] with n = 2 per resolution. Images are NHWC RGB in [-1, 1], bounded by a tanh at the end,
which the original lacks. Weights are stored unscaled; the factor sqrt(2 / fan in) (1 / sqrt(fan in)
for styles and colours) is applied when they are used.

The original upsamples large maps by a "fused" transposed convolution whose 4x4 kernel is the sum of
four shifted copies of a 3x3 one. That equals repeating every sample and convolving with the 3x3
kernel turned by 180 degrees, so there is only one form here, and kernels of fused layers are turned
when they are converted.

Source: Karras et al., A Style-Based Generator Architecture for GANs (1812.04948).
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.ops.fir import TAPS_121, fir
from diffcam_jax.ops.image import resize
from diffcam_jax.ops.nearest_conv import nearest_conv3x3

EPSILON = 1e-8
SLOPE = 0.2
MAPPING_RATE = 0.01
NOISE_MODES = ("fixed", "random", "none")

_normal = nn.initializers.normal


class ScaledDense(nn.Module):
    """Linear layer whose weights and bias are stored divided by constants.

    Attributes:
        features: number of outputs.
        gain: of the layer; the factor of the weights is gain / sqrt(inputs) * rate.
        rate: further factor of weights and bias, the learning rate relative to other layers.
    """

    features: int
    gain: float = 1.0
    rate: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "b k"]) -> Float[Array, "b c"]:
        """Maps vectors [b, k] to [b, features]."""
        kernel = self.param("kernel", _normal(1 / self.rate), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return x @ (kernel * (self.gain / math.sqrt(x.shape[-1]) * self.rate)) + bias * self.rate


class Layer(nn.Module):
    """One styled layer: convolution, noise, bias, leaky ReLU, instance norm, style.

    Attributes:
        features: channels of the result.
        size: side of the result in pixels.
        source: what precedes the noise: "const" (the learned constant), "conv" or "up" (twice the
            size, then a [1, 2, 1] blur).
    """

    features: int
    size: int
    source: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], w: Float[Array, "b k"], noise: str
    ) -> Float[Array, "b h2 w2 d"]:
        """Maps features under the style of w; `noise` as in `StyleGAN1Generator.synthesis`."""
        if self.source != "const":
            kernel = self.param("kernel", _normal(1.0), (3, 3, x.shape[-1], self.features))
            kernel = kernel * (math.sqrt(2) / math.sqrt(9 * x.shape[-1]))
            if self.source == "up":
                x = fir(nearest_conv3x3(x, kernel), TAPS_121, (1, 1))
            else:
                x = jax.lax.conv_general_dilated(
                    x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )
        shape = (self.size, self.size)
        noise_map = self.variable(
            "noise", "map", lambda: jax.random.normal(self.make_rng("params"), shape)
        )
        strength = self.param("strength", nn.initializers.zeros, (self.features,))
        if noise == "fixed":
            x = x + noise_map.value[..., None] * strength
        elif noise == "random":
            x = x + jax.random.normal(self.make_rng("noise"), (len(x), *shape, 1)) * strength
        x = nn.leaky_relu(x + self.param("bias", nn.initializers.zeros, (self.features,)), SLOPE)
        x = x - x.mean((1, 2), keepdims=True)
        x = x * jax.lax.rsqrt((x**2).mean((1, 2), keepdims=True) + EPSILON)
        scale, shift = jnp.split(
            ScaledDense(2 * self.features, name="style")(w)[:, None, None], 2, axis=-1
        )
        return x * (scale + 1) + shift


class StyleGAN1Generator(nn.Module):
    """The generator: `mapping` z -> W+, `synthesis` w or W+ -> image, `__call__` both.

    Attributes:
        widths: channels of the feature maps at 4, 8, 16, ...; the picture is as large as the last
            of them.
        latent_size: size of z and of each row of W+.
        mapping_layers: depth of the mapping network.
        repeat_w: whether the mapping network gives one w for all layers, as in the original,
            instead of one for each.
        final_tanh: whether the picture is bounded; the original's is not.
    """

    widths: tuple[int, ...] = (512, 512, 512, 512, 256, 128, 64)
    latent_size: int = 512
    mapping_layers: int = 8
    repeat_w: bool = False
    final_tanh: bool = True

    @property
    def resolution(self) -> int:
        """Side of the full picture in pixels."""
        return 2 * 2 ** len(self.widths)

    @property
    def num_styles(self) -> int:
        """Rows of W+."""
        return 2 * len(self.widths)

    def setup(self) -> None:
        """Creates the layers."""
        outputs = [self.latent_size] * self.mapping_layers
        if not self.repeat_w:
            outputs[-1] *= self.num_styles
        self.dense = [ScaledDense(features, math.sqrt(2), MAPPING_RATE) for features in outputs]
        self.const = self.param("const", nn.initializers.ones, (4, 4, self.widths[0]))
        self.layer = [
            Layer(width, 4 * 2**i, source)
            for i, width in enumerate(self.widths)
            for source in ("up" if i else "const", "conv")
        ]
        self.to_image = ScaledDense(3)

    def mapping(self, z: Float[Array, "b k"]) -> Float[Array, "b n k"]:
        """Maps normally distributed z [b, 512] to W+ codes [b, n, 512]."""
        w = z * jax.lax.rsqrt(jnp.mean(z**2, axis=-1, keepdims=True) + EPSILON)
        for dense in self.dense:
            w = nn.leaky_relu(dense(w), SLOPE)
        if self.repeat_w:
            return self._rows(w)
        return w.reshape(len(w), self.num_styles, self.latent_size)

    def synthesis(
        self, w: Float[Array, "b *rows k"], size: int | None = None, noise: str = "fixed"
    ) -> Float[Array, "b s s 3"]:
        """Draws the pictures of latent codes.

        Args:
            w: [b, 512], or W+ codes [b, n, 512] with n = `num_styles`.
            size: side of the picture in pixels, an area mean of the full one; None for
                `resolution`.
            noise: "fixed" takes the maps of the "noise" collection, "random" draws them from the
                key "noise", "none" omits them.

        Returns:
            [b, size, size, 3] RGB in [-1, 1] (not bounded without `final_tanh`).

        Raises:
            ValueError: the number of rows differs, or the noise mode is unknown.
        """
        if noise not in NOISE_MODES:
            raise ValueError(f"noise {noise!r}: allowed are {', '.join(NOISE_MODES)}")
        rows = self._rows(w) if w.ndim == 2 else w
        if rows.shape[1] != self.num_styles:
            raise ValueError(
                f"W+ codes of this generator have {self.num_styles} rows, got {rows.shape[1]}"
            )
        x = jnp.broadcast_to(self.const, (len(w), *self.const.shape))
        for i, layer in enumerate(self.layer):
            x = layer(x, rows[:, i], noise)
        image = self.to_image(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], 3)
        image = jnp.tanh(image) if self.final_tanh else image
        return image if size in (None, self.resolution) else resize(image, (size, size), "area")

    def __call__(self, z: Float[Array, "b k"]) -> Float[Array, "b s s 3"]:
        """Pictures of normally distributed z [b, 512]."""
        return self.synthesis(self.mapping(z))

    def _rows(self, w: Float[Array, "b k"]) -> Float[Array, "b n k"]:
        return jnp.broadcast_to(w[:, None], (len(w), self.num_styles, w.shape[1]))


def truncate(
    w: Float[Array, "b n k"], mean: Float[Array, "*n k"], psi: float = 0.7, layers: int = 8
) -> Float[Array, "b n k"]:
    """Moves the rows of the coarse layers towards the mean, for more typical pictures.

    Args:
        w: W+ codes from `StyleGAN1Generator.mapping`; inverted codes are not truncated.
        mean: the average of w, [512] or [n, 512].
        psi: 1 changes nothing, 0 gives the mean.
        layers: number of rows, from the first.

    Returns:
        Codes of the same shape.
    """
    psis = jnp.where(jnp.arange(w.shape[1]) < layers, psi, 1.0)[:, None]
    return mean + (w - mean) * psis
