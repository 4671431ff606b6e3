"""MobileStyleGAN generator, distilled from StyleGAN2-FFHQ config-f at 1024x1024.

z and w are [b, 512]; images are NHWC RGB, nominally in [-1, 1] and not clamped. The W space is the
teacher's, and every layer has a modulation of its own, so that W+ codes of the teacher (18 rows)
drive it too: conv1 takes row 0, block i takes row 2i + 1 for its upsampling and its first
convolution and row 2i + 2 for the second, the output takes the row after the last block. Rows
beyond that (16 and 17 at 1024) drive layers which only the teacher has.

Demodulation is a constant of the distilled network and folded into its weights; the noise is a
fixed map. Wavelet bands are kept as contiguous channel blocks (see `ops.haar`).

Source: Belousov, MobileStyleGAN (2104.04767).
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax.nn.latents import style_rows
from diffcam_jax.nn.stylegan2_layers import AfterUp
from diffcam_jax.ops.depthwise import depthwise3x3
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
        """Factors [b, 1, 1, features] of w."""
        kernel = self.param(
            "kernel",
            nn.initializers.normal(1 / math.sqrt(w.shape[-1])),
            (w.shape[-1], self.features),
        )
        bias = self.param("bias", nn.initializers.ones, (self.features,))
        return (w @ kernel + bias)[:, None, None, :]


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
        """Maps features under a style.

        Args:
            x: features.
            w: style code.
            replace: (resolution, features) -> what replaces the convolution's output, before noise,
                bias and leaky ReLU.
            place: the window of its map that x is; None for the whole map.
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
        """Maps features to twice the resolution.

        Args:
            x: features.
            w_up: style code of the upsampling and the first convolution.
            w_out: style code of the second convolution.
            after_up: `replace` of the first convolution.
            place: the window of its map that the result is; None for the whole map.
        """
        x = inverse_haar(x * Modulation(x.shape[-1], name="up")(w_up))
        x = StyledConv(self.features, name="conv1")(x, w_up, after_up, place)
        return StyledConv(self.features, name="conv2")(x, w_out, None, place)


class ToImage(nn.Module):
    """Modulated 1x1 convolution to the picture's wavelet bands, then an inverse Haar transform."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        w: Float[Array, "b k"],
        size: int,
    ) -> Float[Array, "b h2 w2 3"]:
        """The picture of height `size`: twice that of x, or less if x is square."""
        channels = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.normal(1.0), (channels, 12))
        bias = self.param("bias", nn.initializers.zeros, (12,))
        x = x * (Modulation(channels, name="modulation")(w) / math.sqrt(channels))
        if size == 2 * x.shape[1]:
            return inverse_haar(x @ kernel + bias)
        # The mean of a 2x2 block of an inverse Haar transform is half its low band: smaller
        # pictures need nothing else.
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

    def setup(self) -> None:
        """Creates the layers."""
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
            w: [b, 512], or W+ codes [b, n, 512] with n >= `num_styles` (further rows are ignored).
            size: side of the picture in pixels, a power of two from half the widest feature map
                down, or the full resolution (default). A smaller picture is the exact area mean of
                the full one, and cheaper.
            after_up: (resolution, features [b, r, r, c]) -> features that replace the output of the
                first convolution of the block there, before its noise, bias and leaky ReLU.
            window: the part of the full picture to draw, in cells of a map of `cells` x `cells`.

        Returns:
            [b, size, size, 3] RGB, nominally in [-1, 1], not clamped. With a window of h x w cells
            [b, h f, w f, 3], f = `resolution` / `cells`: that part of the whole picture, up to
            rounding.

        Raises:
            ValueError: a window is given together with `size` or `after_up`, or is larger than the
                map.
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
        """The features after the first `blocks` blocks."""
        x = jnp.broadcast_to(self.const, (rows.shape[0], *self.const.shape))
        x = self.conv1(x, rows[:, 0])
        for i, block in enumerate(self.block[:blocks]):
            x = block(x, rows[:, 2 * i + 1], rows[:, 2 * i + 2], after_up)
        return x

    def window_of(
        self, trunk: Float[Array, "b s s c"], w: Float[Array, "b *rows k"], window: Window
    ) -> Float[Array, "b h w 3"]:
        """Draws a window from precomputed features.

        Args:
            trunk: result of `trunk`, for these codes or others.
            w: as in `synthesis`; the rows of the layers after the trunk have an effect.
            window: as in `synthesis`.

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
        """Pictures of normally distributed z [b, 512], at full resolution."""
        return self.synthesis(self.mapping(z))


def mobile_stylegan_from_ir(
    mapping: list[tuple[str, np.ndarray]], synthesis: list[tuple[str, np.ndarray]]
) -> dict:
    """Parameters of `MobileStyleGAN` from the constants of its published OpenVINO networks.

    Args:
        mapping: (name, array) of every constant of the mapping network, in file order.
        synthesis: likewise of the synthesis network.

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
    # The demodulated kernels and the noise maps have no name of their own; both are in the order of
    # the layers.
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
        """Reorders the last axis from [ll, (lh, hl, hh) of each channel] to four blocks."""
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
