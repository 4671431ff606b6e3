"""Ranges and resizes of pictures and masks.

Pictures are [b,h,w,3] float32 in [-1,1], masks [b,h,w] float32 in [0,1], photographs [h,w,3] uint8
or uint16. The resizes follow torch's F.interpolate, which every official release of the field uses.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt, UInt8

# Mean and standard deviation of RGB in [0,1] by which torchvision's networks expect their input to
# be normalised.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_unit(
    pixels: UInt[np.ndarray, "*shape"] | UInt[Array, "*shape"],
) -> Float[np.ndarray, "*shape"] | Float[Array, "*shape"]:
    """Converts uint8 or uint16 to float32 in [-1,1], in NumPy or inside a compiled program."""
    return pixels.astype(np.float32) * np.float32(2 / np.iinfo(pixels.dtype).max) - np.float32(1)


def from_unit(
    images: Float[np.ndarray | Array, "*shape"], dtype: type = np.uint8
) -> UInt[np.ndarray, "*shape"]:
    """Converts [-1,1] to uint8 or uint16, clamped and rounded: the exact inverse of `to_unit`."""
    top = np.iinfo(dtype).max
    unit = (np.asarray(images, np.float32) + np.float32(1)) * np.float32(top / 2)
    return np.rint(np.clip(unit, 0, top)).astype(dtype)


def quantise(images: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """Converts [-1,1] to uint8, clamped and rounded, inside a compiled program."""
    return jnp.round(jnp.clip(images * 127.5 + 127.5, 0, 255)).astype(jnp.uint8)


@functools.lru_cache(maxsize=64)
def _weights(source: int, target: int, method: str) -> np.ndarray:
    """[target, source] matrix of one axis of a resize."""
    out = np.zeros((target, source), np.float64)
    rows = np.arange(target)
    if method == "bilinear":  # align_corners False: pixel centres at half-integers, clamped
        position = np.clip((rows + 0.5) * source / target - 0.5, 0, source - 1)
        low = np.floor(position).astype(int)
        np.add.at(out, (rows, low), 1 - (position - low))
        np.add.at(out, (rows, np.minimum(low + 1, source - 1)), position - low)
    else:  # adaptive average pooling: cells from floor(i * s / t) to ceil((i + 1) * s / t)
        for row in rows:
            start, stop = row * source // target, -(-(row + 1) * source // target)
            out[row, start:stop] = 1 / (stop - start)
    return out.astype(np.float32)


def resize(
    x: Float[Array, "b h w *c"], size: tuple[int, int], method: str = "bilinear"
) -> Float[Array, "b h2 w2 *c"]:
    """Resizes axes 1 and 2 as torch's F.interpolate does (align_corners False, no antialiasing).

    Args:
        x: pictures or masks, any range.
        size: (height, width) of the result.
        method: "nearest" takes source pixel floor(i * source / target); "bilinear" clamps at the
            borders; "area" is the adaptive average, the exact block mean for whole factors.
    """
    if method not in ("nearest", "bilinear", "area"):
        raise ValueError(f"resize method {method!r}: allowed are nearest, bilinear and area")
    for axis, target in zip((1, 2), size, strict=True):
        source = x.shape[axis]
        if target == source:
            continue
        if method == "nearest":
            x = jnp.take(x, np.arange(target) * source // target, axis=axis)
        elif method == "area" and source % target == 0:
            shape = (*x.shape[:axis], target, source // target, *x.shape[axis + 1 :])
            x = jnp.mean(x.reshape(shape), axis=axis + 1)
        else:
            weights = _weights(source, target, method)
            x = jnp.moveaxis(
                jnp.tensordot(weights, x, ((1,), (axis,)), precision=jax.lax.Precision.HIGHEST),
                0,
                axis,
            )
    return x
