"""Pixel metrics of pairs of pictures: MSE, PSNR, SSIM, MS-SSIM; one value per pair, differentiable.

Pictures are NHWC RGB of one shape, float32 in [-1, 1] or uint8, which stands for the same range.
MSE is in these units, squared, as papers on inversion report it: for pictures in 0..255 it is
127.5^2 = 16256.25 times as large, for pictures in 0..1 a quarter. The others do not depend on the
range.

BasicSR's numbers, which papers on restoration report, exclude a border: `psnr(a, b, crop=2)`,
`ssim(a, b, crop=2)`, and `psnr(luma(a), luma(b), crop=2)` for its Y channel (BasicSR reads files as
BGR; `luma` expects RGB).
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from diffcam_jax.ops.image import to_unit

RANGE = 2.0
# ITU-R BT.601, studio range 16..235, for channels in 0..1 and a result in 0..255.
LUMA_WEIGHTS, LUMA_OFFSET = (65.481, 128.553, 24.966), 16.0
# Exponents of the scales, the finest first.
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_C1, _C2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
_TAPS = {"uniform": 7, "gaussian": 11}
_SIGMA = 1.5

Pictures = Float[Array, "_ _ _ _"] | UInt8[Array, "_ _ _ _"]
Window = Literal["uniform", "gaussian"]


@functools.partial(jax.jit, static_argnames="crop")
def mse(a: Pictures, b: Pictures, crop: int = 0) -> Float[Array, " b"]:
    """Mean squared error over pixels and channels, pictures in [-1, 1].

    Args:
        a: pictures.
        b: pictures of the same shape.
        crop: pixels at every border that do not count.

    Raises:
        ValueError: the shapes differ, or nothing is left inside the border.
    """
    a, b = _inside(a, b, crop)
    return ((a - b) ** 2).mean((1, 2, 3))


@functools.partial(jax.jit, static_argnames="crop")
def psnr(a: Pictures, b: Pictures, crop: int = 0) -> Float[Array, " b"]:
    """Peak signal-to-noise ratio in decibels, the peak being the whole range.

    Infinite for equal pictures. Arguments as for `mse`.
    """
    return 10 * jnp.log10(RANGE**2 / mse(a, b, crop))


@functools.partial(jax.jit, static_argnames=("window", "crop"))
def ssim(
    a: Pictures, b: Pictures, window: Window = "gaussian", crop: int = 0
) -> Float[Array, " b"]:
    """Structural similarity, the mean over channels and over pixels whose window lies inside.

    Args:
        a: as in `mse`.
        b: as in `mse`.
        window: "gaussian" is the published form (sigma 1.5, 11 taps, population covariance),
            "uniform" scikit-image's default (7x7, sample covariance); their values are not
            comparable.
        crop: as in `mse`.

    Raises:
        ValueError: the shapes differ, or the pictures are smaller than the window.

    Reference:
        Wang et al., Image Quality Assessment, IEEE TIP 2004, eq. 13.
    """
    a, b = _inside(a, b, crop)
    brightness, contrast = _terms(a, b, window)
    return (brightness * contrast).mean((1, 2, 3))


@functools.partial(jax.jit, static_argnames="crop")
def ms_ssim(a: Pictures, b: Pictures, crop: int = 0) -> Float[Array, " b"]:
    """Multi-scale structural similarity over five scales, each half as large as the previous one.

    Contrast and structure of every scale and the brightness of the coarsest are averaged over the
    picture for each channel, then multiplied with their exponents (a negative average counts as 0),
    then averaged over the channels.

    Args:
        a: as in `mse`; at least 161 pixels.
        b: as in `mse`.
        crop: as in `mse`.

    Raises:
        ValueError: the shapes differ, or the pictures are too small for the window at the coarsest
            scale.

    Reference:
        Wang et al., Multi-scale structural similarity, Asilomar 2003, eq. 7.
    """
    a, b = _inside(a, b, crop)
    least = (_TAPS["gaussian"] - 1) * 2 ** (len(MS_SSIM_WEIGHTS) - 1) + 1
    if min(a.shape[1:3]) < least:
        raise ValueError(f"MS-SSIM needs {least}x{least} pixels, got {a.shape[1]}x{a.shape[2]}")
    result = jnp.ones((a.shape[0], a.shape[3]))
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        if scale:
            a, b = _halved(a), _halved(b)
        brightness, contrast = _terms(a, b, "gaussian")
        last = scale == len(MS_SSIM_WEIGHTS) - 1
        result = result * _power((brightness * contrast if last else contrast).mean((1, 2)), weight)
    return result.mean(-1)


def luma(pictures: Pictures) -> Float[Array, "b h w 1"]:
    """Brightness of RGB pictures (BT.601), not rounded, mapped from 0..255 to [-1, 1]."""
    unit = (_unit(pictures) + 1) / 2
    weighted = sum(unit[..., i : i + 1] * weight for i, weight in enumerate(LUMA_WEIGHTS))
    return (weighted + LUMA_OFFSET) / 127.5 - 1


def _terms(a: Array, b: Array, window: Window) -> tuple[Array, Array]:
    """The brightness term of SSIM, and the product of contrast and structure, at every pixel.

    Only pixels whose window lies inside count.
    """
    taps = _TAPS[window]
    if min(a.shape[1:3]) < taps:
        raise ValueError(
            f"SSIM with a {window} window needs {taps}x{taps} pixels, got {a.shape[1]}x{a.shape[2]}"
        )
    # Moments about the pictures' own means, on which covariances do not depend: fewer digits
    # cancel.
    centre_a, centre_b = (z.mean((1, 2), keepdims=True) for z in (a, b))
    x, y = a - centre_a, b - centre_b
    # One pass over five stacked maps: a fifth of the program to compile.
    maps = _mean(jnp.stack([x, y, x * x, y * y, x * y], axis=-1), window)
    mean_x, mean_y, square_x, square_y, product = jnp.moveaxis(maps, -1, 0)
    # Population covariance for the Gaussian, sample covariance for the uniform window.
    scale = taps**2 / (taps**2 - 1) if window == "uniform" else 1.0
    variances = scale * (square_x - mean_x**2 + square_y - mean_y**2)
    covariance = scale * (product - mean_x * mean_y)
    # From [-1, 1] to [0, 2], where black is 0 as the published constants assume.
    mean_a, mean_b = mean_x + centre_a + 1, mean_y + centre_b + 1
    brightness = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return brightness, (2 * covariance + _C2) / (variances + _C2)


def _mean(x: Array, window: Window) -> Array:
    """Weighted means over the windows that lie inside, as shifted sums along each axis."""
    taps = _TAPS[window]
    raw = [
        math.exp(-((i - taps // 2) ** 2) / (2 * _SIGMA**2)) if window == "gaussian" else 1.0
        for i in range(taps)
    ]
    for axis in (1, 2):
        size = x.shape[axis] - taps + 1
        x = sum(
            jax.lax.slice_in_dim(x, i, i + size, axis=axis) * (tap / sum(raw))
            for i, tap in enumerate(raw)
        )
    return x


def _halved(x: Array) -> Array:
    """Means of 2x2 pixels; the last row and column of an odd size are repeated."""
    b, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    return x.reshape(b, (h + 1) // 2, 2, (w + 1) // 2, 2, c).mean((2, 4))


def _power(x: Array, exponent: float) -> Array:
    """x^exponent, 0 with gradient 0 where x is not positive."""
    return jnp.where(x > 0, jnp.where(x > 0, x, 1.0) ** exponent, 0.0)


def _unit(pictures: Pictures) -> Array:
    return to_unit(pictures) if pictures.dtype == jnp.uint8 else pictures


def _inside(a: Pictures, b: Pictures, crop: int) -> tuple[Array, Array]:
    if a.ndim != 4 or a.shape != b.shape:
        raise ValueError(
            f"pictures must be [b, h, w, c] and of one shape, got {a.shape} and {b.shape}"
        )
    h, w = a.shape[1:3]
    if min(h, w) <= 2 * crop:
        raise ValueError(f"nothing is left of {h}x{w} pixels inside a border of {crop}")
    return tuple(_unit(x)[:, crop : h - crop, crop : w - crop] for x in (a, b))
