"""MobileStyleGAN generator (Belousov, arXiv 2104.04767), distilled from StyleGAN2-FFHQ config-f at
1024x1024.

z and w are [b, 512]; images are NHWC RGB, nominally in [-1, 1] and not clamped. The W space is the
teacher's, and every layer has a modulation of its own, so that W+ codes of the teacher (18 rows)
drive it too: conv1 takes row 0, block i takes row 2i + 1 for its up-sampling and its first
convolution and row 2i + 2 for the second, the output takes the row after the last block. Rows
beyond that (16 and 17 at 1024) drive layers which only the teacher has.

Demodulation is a constant of the distilled network and folded into its weights; the noise is a
fixed map. Wavelet bands are kept as contiguous channel blocks (see `ops.haar`).
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax.nn.latents import style_rows
from diffcam_jax.nn.stylegan2 import AfterUp
from diffcam_jax.ops.haar import inverse_haar
from diffcam_jax.ops.window import CELLS, Window, cut, narrowing

PIXEL_NORM_EPSILON = 1e-8
SLOPE = 0.2

# Samples that a map needs around a window: the two convolutions of the block after it spoil two of
# the map twice as large, and 2 * 2 - 2 = 2 are left for the next block.
BORDER = 2


class Modulation(nn.Module):
    """Affine map from a style to per-channel factors, shaped to multiply a feature map."""

    features: int

    @nn.compact
    def __call__(self, w: Float[Array, "b k"]) -> Float[Array, "b 1 1 c"]:
        kernel = self.param(
            "kernel",
            nn.initializers.normal(1 / math.sqrt(w.shape[-1])),
            (w.shape[-1], self.features),
        )
        bias = self.param("bias", nn.initializers.ones, (self.features,))
        return (w @ kernel + bias)[:, None, None, :]


@jax.custom_vjp
def depthwise3x3(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c"]
) -> Float[Array, "b h w c"]:
    """Depthwise 3x3 convolution, zero padding 1, as nine shifted multiply-adds (many times faster
    than XLA's on CPU).
    """
    return _shifted_sum(x, kernel)


def _padded(x: Array) -> Array:
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _shifted_sum(x: Array, kernel: Array) -> Array:
    h, w = x.shape[1:3]
    padded = _padded(x)
    return sum(padded[:, i : i + h, j : j + w] * kernel[i, j] for i in range(3) for j in range(3))


def _depthwise_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _shifted_sum(x, kernel), (x, kernel)


def _depthwise_backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """The same convolution with the kernel turned by 180 degrees.

    XLA's own transpose, nine pads, does not fuse.
    """
    x, kernel = residuals
    h, w = x.shape[1:3]
    padded = _padded(x)
    taps = [
        [(padded[:, i : i + h, j : j + w] * gradient).sum((0, 1, 2)) for j in range(3)]
        for i in range(3)
    ]
    return _shifted_sum(gradient, kernel[::-1, ::-1]), jnp.array(taps)


depthwise3x3.defvjp(_depthwise_forward, _depthwise_backward)


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, fixed noise, bias, leaky ReLU.

    Depthwise separable except in the 4x4 layer.
    """

    features: int
    separable: bool = True

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        w: Float[Array, "b k"],
        replace: AfterUp | None = None,
        place: Window | None = None,
    ) -> Float[Array, "b h w d"]:
        """`replace` (resolution, features) changes what the convolution gives, before noise, bias
        and leaky ReLU.

        `place` says which window of its map x is; None for the whole map.
        """
        h, width, channels = x.shape[1:]
        normal = nn.initializers.normal(1.0)
        x = x * (Modulation(channels, name="modulation")(w) / math.sqrt(9 * channels))
        if self.separable:
            x = depthwise3x3(x, self.param("depthwise", normal, (3, 3, channels)))
            x = x @ self.param("pointwise", normal, (channels, self.features))
        else:
            kernel = self.param("kernel", normal, (3, 3, channels, self.features))
            x = jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        if replace is not None:
            x = replace(h, x)
        if place is None:
            x = x + self.param("noise", nn.initializers.zeros, (h, width))[..., None]
        else:
            x = x + cut(self.get_variable("params", "noise")[None, ..., None], place)
        return nn.leaky_relu(x + self.param("bias", nn.initializers.zeros, (self.features,)), SLOPE)


class Block(nn.Module):
    """Doubles the resolution: modulated inverse Haar transform, then two styled convolutions."""

    features: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        w_up: Float[Array, "b k"],
        w_out: Float[Array, "b k"],
        after_up: AfterUp | None = None,
        place: Window | None = None,
    ) -> Float[Array, "b h2 w2 d"]:
        """`place` says which window of its map the result is; None for the whole map."""
        x = inverse_haar(x * Modulation(x.shape[-1], name="up")(w_up))
        x = StyledConv(self.features, name="conv1")(x, w_up, after_up, place)
        return StyledConv(self.features, name="conv2")(x, w_out, None, place)


class ToImage(nn.Module):
    """Modulated 1x1 convolution to the wavelet bands of the picture, then the last inverse Haar
    transform.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        w: Float[Array, "b k"],
        size: int,
    ) -> Float[Array, "b h2 w2 3"]:
        """`size` is the height of the result: twice that of x, or less if x is square."""
        channels = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.normal(1.0), (channels, 12))
        bias = self.param("bias", nn.initializers.zeros, (12,))
        x = x * (Modulation(channels, name="modulation")(w) / math.sqrt(channels))
        if size == 2 * x.shape[1]:
            return inverse_haar(x @ kernel + bias)
        # The mean of a 2x2 block of an inverse Haar transform is half its low band: smaller
        # pictures skip the rest.
        picture = 0.5 * (x @ kernel[:, :3] + bias[:3])
        factor = picture.shape[1] // size
        return picture.reshape(-1, size, factor, size, factor, 3).mean((2, 4))


class MobileStyleGAN(nn.Module):
    """The generator: `mapping` z -> w, `synthesis` w or W+ -> image, `__call__` both.

    Attributes:
      widths: channels of the feature maps at 4, 8, 16, ...; the picture is twice as large as the
        last of them.
      latent_size: size of z and w.
      mapping_layers: depth of the mapping network.
    """

    widths: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64)
    latent_size: int = 512
    mapping_layers: int = 8

    @property
    def resolution(self) -> int:
        """Side of the full picture in pixels."""
        return 4 * 2 ** len(self.widths)

    @property
    def num_styles(self) -> int:
        """Rows of W+ that have an effect."""
        return 2 * len(self.widths)

    @property
    def cells(self) -> int:
        """Side of the map at which windows begin."""
        return min(CELLS, self.resolution // 2)

    def setup(self):
        self.dense = [nn.Dense(self.latent_size) for _ in range(self.mapping_layers)]
        self.const = self.param("const", nn.initializers.normal(1.0), (4, 4, self.widths[0]))
        self.conv1 = StyledConv(self.widths[0], separable=False)
        self.block = [Block(width) for width in self.widths[1:]]
        self.to_image = ToImage()

    def mapping(self, z: Float[Array, "b k"]) -> Float[Array, "b k"]:
        """Maps normally distributed z [b, 512] to w [b, 512]."""
        w = z * jax.lax.rsqrt(jnp.mean(z**2, axis=-1, keepdims=True) + PIXEL_NORM_EPSILON)
        for dense in self.dense:
            w = math.sqrt(2) * nn.leaky_relu(dense(w), SLOPE)
        return w

    def synthesis(
        self,
        w: Float[Array, "b *rows k"],
        size: int | None = None,
        after_up: AfterUp | None = None,
        window: Window | None = None,
    ) -> Float[Array, "b h w 3"]:
        """Draws the pictures of latent codes.

        Args:
          w: [b, 512], or W+ codes [b, n, 512] with n >= `num_styles` (a further row is ignored).
          size: side of the picture in pixels, a power of two from half the widest feature map down,
            or the full resolution (default). A smaller picture is the exact area mean of the full
            one, and cheaper.
          after_up: (resolution, features [b, r, r, c]) -> features that take the place of what the
            first convolution of the block there gives, before its noise, bias and leaky ReLU.
          window: the part of the full picture to draw, in cells of a map of `cells` x `cells`.

        Returns:
          [b, size, size, 3] RGB, nominally in [-1, 1], not clamped. With a window of h x w cells
          [b, h f, w f, 3], f = `resolution` / `cells`: the whole picture there, up to rounding.

        Raises:
          ValueError: a window together with `size` or `after_up`, or one larger than the map.
        """
        if window is not None:
            if size is not None or after_up is not None:
                raise ValueError("a window is drawn without size and after_up")
            return self.window_of(self.trunk(w), w, window)
        rows = style_rows(w, self.num_styles)
        x = self._features(rows, len(self.block), after_up)
        return self.to_image(x, rows[:, self.num_styles - 1], size or self.resolution)

    def trunk(self, w: Float[Array, "b *rows k"]) -> Float[Array, "b s s c"]:
        """The features where windows begin, [b, cells, cells, c]; w as in `synthesis`."""
        blocks = (self.cells // 4).bit_length() - 1
        return self._features(style_rows(w, self.num_styles), blocks, None)

    def _features(self, rows: Array, blocks: int, after_up: AfterUp | None) -> Array:
        """The features after some of the blocks."""
        x = jnp.broadcast_to(self.const, (rows.shape[0], *self.const.shape))
        x = self.conv1(x, rows[:, 0])
        for i, block in enumerate(self.block[:blocks]):
            x = block(x, rows[:, 2 * i + 1], rows[:, 2 * i + 2], after_up)
        return x

    def window_of(
        self, trunk: Float[Array, "b s s c"], w: Float[Array, "b *rows k"], window: Window
    ) -> Float[Array, "b h w 3"]:
        """Draws a window from features that are there already.

        Args:
          trunk: what `trunk` gives, for these codes or others.
          w, window: as in `synthesis`; the rows of the layers after the trunk have an effect.

        Returns:
          As `synthesis` with a window.
        """
        rows = style_rows(w, self.num_styles)
        x = trunk
        *steps, (inner, _) = narrowing(window, self.cells, self.resolution // 2, BORDER)
        for i, (part, place) in enumerate(steps, len(self.block) - len(steps)):
            x = self.block[i](cut(x, part), rows[:, 2 * i + 1], rows[:, 2 * i + 2], None, place)
        last = rows[:, self.num_styles - 1]
        return self.to_image(cut(x, inner), last, 2 * inner.height)

    def __call__(self, z: Float[Array, "b k"]) -> Float[Array, "b s s 3"]:
        return self.synthesis(self.mapping(z))


def mobile_stylegan_from_ir(
    mapping: list[tuple[str, np.ndarray]], synthesis: list[tuple[str, np.ndarray]]
) -> dict:
    """Parameters of `MobileStyleGAN` from the constants of its published OpenVINO networks.

    Args:
      mapping: (name, array) of every constant of the mapping network, in file order.
      synthesis: the same of the synthesis network.

    Returns:
      The parameter tree of `MobileStyleGAN`, float32.

    Raises:
      ValueError: the constants are not those of this network.
    """
    kernels = [a for _, a in mapping if a.ndim == 2 and a.shape[0] > 1]
    biases = [a for _, a in mapping if a.ndim == 1 and a.size > 1]
    params: dict = {
        f"dense_{i}": {"kernel": k.T, "bias": b}
        for i, (k, b) in enumerate(zip(kernels, biases, strict=True))
    }

    named = {name: a for name, a in synthesis if name.startswith("m.")}
    # The demodulated kernels and the noise maps carry no name of their own; both come in the order
    # of the layers.
    dense_kernels = iter(
        [a for name, a in synthesis if name.startswith("Mul_") and name.endswith("_copy")]
    )
    noises = iter(
        [
            a
            for _, a in synthesis
            if a.ndim == 4 and a.shape[:2] == (1, 1) and a.shape[2] == a.shape[3] > 1
        ]
    )

    def modulation(name: str) -> dict:
        return {"kernel": named[f"{name}.weight"].T, "bias": named[f"{name}.bias"][0]}

    def contiguous(a: np.ndarray) -> np.ndarray:
        """Reorders the last axis from [low, (lh, hl, hh) of each channel] to ll, lh, hl, hh blocks."""
        low, high = np.split(a, [a.shape[-1] // 4], axis=-1)
        return np.concatenate([low] + [high[..., k::3] for k in range(3)], axis=-1)

    def conv(name: str, feeds_haar: bool) -> dict:
        kernel, order = (
            next(dense_kernels).transpose(2, 3, 1, 0),
            contiguous if feeds_haar else lambda a: a,
        )
        layer = {"modulation": modulation(f"{name}.conv.modulation"), "noise": next(noises)[0, 0]}
        layer["bias"] = order(named[f"{name}.bias"][0, :, 0, 0])
        if f"{name}.conv.weight_dw" in named:
            layer["depthwise"] = named[f"{name}.conv.weight_dw"][:, 0, 0].transpose(1, 2, 0)
            layer["pointwise"] = order(kernel[0, 0])
        else:
            layer["kernel"] = order(kernel)
        return layer

    try:
        params["const"] = named["m.input.input"][0].transpose(1, 2, 0)
        params["conv1"] = conv("m.conv1", feeds_haar=True)
        blocks = 1 + max(int(name.split(".")[2]) for name in named if name.startswith("m.layers."))
        for i in range(blocks):
            name = f"m.layers.{i}"
            up = {k: contiguous(v) for k, v in modulation(f"{name}.up.modulation").items()}
            last = i == blocks - 1
            params[f"block_{i}"] = {
                "up": up,
                "conv1": conv(f"{name}.conv1", False),
                "conv2": conv(f"{name}.conv2", not last),
            }
        params["to_image"] = {
            "modulation": modulation(f"{name}.to_img.conv.modulation"),
            "kernel": contiguous(named[f"{name}.to_img.conv.weight"][:, :, 0, 0].T),
            "bias": contiguous(named[f"{name}.to_img.bias"][0, :, 0, 0]),
        }
    except (KeyError, StopIteration, IndexError) as error:
        raise ValueError(f"not the constants of a MobileStyleGAN: {error}") from error
    return jax.tree.map(lambda a: np.ascontiguousarray(a, np.float32), params)
