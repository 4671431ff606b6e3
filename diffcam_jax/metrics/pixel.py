"""Measures of pairs of pictures, pixel by pixel: MSE, PSNR, SSIM, one value for each pair.

Pictures [b, h, w, c] of 0..255, any dtype, values in float64. BasicSR's numbers, which papers on restoration report, are the
same measures with a border left out: `psnr(a, b, crop=2)`, `ssim(a, b, "gaussian", crop=2)`, and `psnr(luma(a), luma(b),
crop=2)` for its Y channel (BasicSR reads files as BGR; `luma` expects RGB).
"""

from typing import Literal

import numpy as np
from jaxtyping import Float

PEAK = 255.0
# ITU-R BT.601, studio range 16..235.
LUMA_WEIGHTS, LUMA_OFFSET = (65.481 / 255, 128.553 / 255, 24.966 / 255), 16.0

Pictures = np.ndarray


def mse(a: Pictures, b: Pictures, crop: int = 0) -> Float[np.ndarray, " b"]:
    """Mean squared error over pixels and channels.

    Args:
      a, b: pictures of one shape.
      crop: pixels at every border that do not count.

    Raises:
      ValueError: shapes differ, or nothing is left inside the border.
    """
    a, b = _inside(a, b, crop)
    return ((a - b) ** 2).mean((1, 2, 3))


def psnr(a: Pictures, b: Pictures, crop: int = 0) -> Float[np.ndarray, " b"]:
    """Peak signal-to-noise ratio in decibels, of a peak of 255; infinite for equal pictures. Arguments as in `mse`."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(PEAK**2 / mse(a, b, crop))


def ssim(
    a: Pictures, b: Pictures, window: Literal["uniform", "gaussian"] = "gaussian", crop: int = 0
) -> Float[np.ndarray, " b"]:
    """Structural similarity, the mean over channels and over the pixels whose window lies inside the picture.

    Args:
      a, b, crop: as in `mse`.
      window: "gaussian" is the published form (sigma 1.5, 11 taps, population covariance), "uniform" scikit-image's
        default (7x7, sample covariance); their values are not comparable.

    Raises:
      ValueError: shapes differ, or pictures are smaller than the window.

    Reference: Wang et al., Image Quality Assessment, IEEE TIP 2004.
    """
    from skimage.metrics import structural_similarity

    a, b = _inside(a, b, crop)
    taps = {"uniform": 7, "gaussian": 11}[window]
    if min(a.shape[1:3]) < taps:
        raise ValueError(f"SSIM with a {window} window needs {taps}x{taps} pixels, got {a.shape[1]}x{a.shape[2]}")
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False} if window == "gaussian" else {}
    pairs = zip(a, b, strict=True)
    return np.array([structural_similarity(x, y, channel_axis=-1, data_range=PEAK, **gaussian) for x, y in pairs])


def luma(pictures: Pictures) -> Float[np.ndarray, "b h w 1"]:
    """Brightness of RGB pictures, 16..235 (BT.601), not rounded."""
    return np.asarray(pictures, np.float64) @ np.array(LUMA_WEIGHTS)[:, None] + LUMA_OFFSET


def _inside(a: Pictures, b: Pictures, crop: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 4 or a.shape != b.shape:
        raise ValueError(f"pictures must be [b, h, w, c] and of one shape, got {a.shape} and {b.shape}")
    h, w = a.shape[1:3]
    if min(h, w) <= 2 * crop:
        raise ValueError(f"nothing is left of {h}x{w} pixels inside a border of {crop}")
    return a[:, crop : h - crop, crop : w - crop], b[:, crop : h - crop, crop : w - crop]
