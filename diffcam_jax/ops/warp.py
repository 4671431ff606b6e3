"""Bilinear sampling and warps, and resizes under both conventions for corners.

Maps are NHWC, any range. Positions are in normalised units, x to the right and y down, -1 and 1 at
the borders of the map. With `align_corners` these are the centres of the outermost pixels, without
it their outer edges; the conventions and the cubic kernel (a = -0.75) are those of torch's
grid_sample and interpolate, which the official releases of the field use. Everything is
differentiable with respect to the map and to the positions.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax.ops import image

CUBIC = -0.75


def grid_sample(
    x: Float[Array, "b h w c"], grid: Float[Array, "b h2 w2 2"], align_corners: bool = False
) -> Float[Array, "b h2 w2 c"]:
    """Samples a map at given positions, bilinearly, with zeros outside.

    Args:
        x: the map.
        grid: positions (x, y) in normalised units.
        align_corners: whether -1 and 1 are the centres of the outermost pixels, not their edges.

    Reference:
        Jaderberg et al., Spatial Transformer Networks (1506.02025), Eq. 5.
    """
    b, h, w, c = x.shape
    column, row = (_pixels(grid[..., axis], size, align_corners) for axis, size in ((0, w), (1, h)))
    left, top = jnp.floor(column), jnp.floor(row)
    # On a CPU the derivative is three times faster if whole rows of one table are gathered, with
    # row numbers and weights computed once for all channels.
    table, start = x.reshape(b * h * w, c), h * w * jnp.arange(b)[:, None, None]
    total = jnp.zeros((grid[..., 0].size, c), x.dtype)
    for i in (top, top + 1):
        for j in (left, left + 1):
            weight = (1 - jnp.abs(row - i)) * (1 - jnp.abs(column - j))
            weight = jnp.where((i >= 0) & (i < h) & (j >= 0) & (j < w), weight, 0).astype(x.dtype)
            index = start + (jnp.clip(i, 0, h - 1) * w + jnp.clip(j, 0, w - 1)).astype(jnp.int32)
            index, weight = jax.lax.optimization_barrier((index.reshape(-1), weight.reshape(-1, 1)))
            total += table.at[index].get(mode="promise_in_bounds") * weight
    return total.reshape(*grid.shape[:3], c)


def _pixels(places: Array, size: int, align_corners: bool) -> Array:
    """Normalised units to pixels, 0 at the centre of the first."""
    return (places + 1) / 2 * (size - 1) if align_corners else ((places + 1) * size - 1) / 2


def shifted(
    x: Float[Array, "b h w c"], shift: Float[Array, "b h w 2"], align_corners: bool = True
) -> Float[Array, "b h w c"]:
    """Warps a map by a field of displacements (backward warping).

    Args:
        x: the map.
        shift: displacements (dx, dy) in normalised units, added to each pixel's own position.
        align_corners: with True a zero displacement is the identity. With False the positions are
            still laid out for True but sampled under the other convention, as the release of
            2212.09262 does: a zero displacement then enlarges the map slightly and mixes zeros in
            at its border.
    """
    h, w = x.shape[1:3]
    own = np.stack(np.meshgrid(np.linspace(-1, 1, w), np.linspace(-1, 1, h)), axis=-1).astype(
        np.float32
    )
    return grid_sample(x, own + shift, align_corners)


def resize(
    x: Float[Array, "b h w c"],
    size: tuple[int, int],
    method: str = "bilinear",
    align_corners: bool = False,
) -> Float[Array, "b h2 w2 c"]:
    """Resizes a map without antialiasing, repeating the border's pixels beyond the border.

    Args:
        x: the map.
        size: (height, width) of the result.
        method: "bilinear" or "bicubic".
        align_corners: whether the outermost pixels of both maps share their centres, not their
            outer edges.
    """
    if method not in ("bilinear", "bicubic"):
        raise ValueError(f"resize method {method!r}: allowed are bilinear and bicubic")
    if method == "bilinear" and not align_corners:
        return image.resize(x, size)
    for axis, target in zip((1, 2), size, strict=True):
        if target != x.shape[axis]:
            weights = _weights(x.shape[axis], target, method, align_corners)
            x = jnp.moveaxis(
                jnp.tensordot(weights, x, ((1,), (axis,)), precision=jax.lax.Precision.HIGHEST),
                0,
                axis,
            )
    return x


@functools.lru_cache(maxsize=64)
def _weights(source: int, target: int, method: str, align_corners: bool) -> np.ndarray:
    """[target, source] matrix of one axis of a resize."""
    rows = np.arange(target)
    position = (
        rows * ((source - 1) / max(target - 1, 1))
        if align_corners
        else (rows + 0.5) * source / target - 0.5
    )
    low = np.floor(position).astype(int)
    out = np.zeros((target, source), np.float64)
    for offset in (0, 1) if method == "bilinear" else (-1, 0, 1, 2):
        distance = np.abs(position - (low + offset))
        weight = 1 - distance if method == "bilinear" else _cubic(distance)
        np.add.at(out, (rows, np.clip(low + offset, 0, source - 1)), weight)
    return out.astype(np.float32)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel."""
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
    far = CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
