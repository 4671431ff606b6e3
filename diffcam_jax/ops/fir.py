"""Separable FIR filters on NHWC feature maps: blur, and resampling by two.

Every filter is a sum of shifted slices with constant factors, which XLA fuses into one pass; a
depthwise convolution of the same taps is many times slower on a CPU. Resampling is polyphase: no
zero is inserted or multiplied. The derivative of a blur is a blur, that of upsampling is
downsampling and vice versa, so gradients of any order keep these fast forms.

Filters are true convolutions with zero padding and the same taps along both spatial axes, as in
StyleGAN2 (arXiv 1912.04958).
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Taps = tuple[float, ...]

# The [1,3,3,1] filter of StyleGAN2, sum 1; and the [1,2,1] filter of StyleGAN v1.
TAPS_1331: Taps = (0.125, 0.375, 0.375, 0.125)
TAPS_121: Taps = (0.25, 0.5, 0.25)


def _padded(x: Array, axis: int, before: int, after: int) -> Array:
    widths = [(0, 0, 0)] * x.ndim
    widths[axis] = (before, after, 0)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), widths)  # negative widths crop


def _slices(x: Array, axis: int, starts: range, count: int, step: int) -> list[Array]:
    return [jax.lax.slice_in_dim(x, s, s + (count - 1) * step + 1, step, axis) for s in starts]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def fir(x: Float[Array, "b h w c"], taps: Taps, pad: tuple[int, int]) -> Float[Array, "b h2 w2 c"]:
    """Filters both spatial axes.

    Args:
        x: feature map or picture, any range.
        taps: n factors, Python floats, the same for rows and columns. A gain in them is applied
            once along each axis, hence squared.
        pad: zeros before and after, for both axes; negative values crop.

    Returns:
        [b, h + sum(pad) - n + 1, w + sum(pad) - n + 1, c].
    """
    for axis in (1, 2):
        padded = _padded(x, axis, *pad)
        count = padded.shape[axis] - len(taps) + 1
        parts = _slices(padded, axis, range(len(taps)), count, 1)
        x = sum(part * tap for part, tap in zip(parts, reversed(taps), strict=True))
    return x


def _fir_backward(taps: Taps, pad: tuple[int, int], _: None, gradient: Array) -> tuple[Array]:
    last = len(taps) - 1
    return (fir(gradient, taps[::-1], (last - pad[0], last - pad[1])),)


fir.defvjp(lambda x, taps, pad: (fir(x, taps, pad), None), _fir_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def upsample(x: Float[Array, "b h w c"], taps: Taps = TAPS_1331) -> Float[Array, "b h2 w2 c"]:
    """Doubles both spatial axes: zeros between the samples, four taps times two, padding (2, 1).

    Args:
        x: feature map or picture, any range.
        taps: four factors that sum to 1, which preserves a constant away from the border.

    Returns:
        [b, 2 h, 2 w, c].
    """
    a, b, c, d = (2 * tap for tap in taps)
    for axis in (1, 2):
        before, here, after = _slices(_padded(x, axis, 1, 1), axis, range(3), x.shape[axis], 1)
        shape = list(x.shape)
        shape[axis] *= 2
        x = jnp.stack([before * d + here * b, here * c + after * a], axis + 1).reshape(shape)
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def downsample(x: Float[Array, "b h w c"], taps: Taps = TAPS_1331) -> Float[Array, "b h2 w2 c"]:
    """Halves both spatial axes, which must be even: four taps, padding (1, 1), every second sample.

    Args:
        x: feature map or picture, any range.
        taps: four factors that sum to 1.

    Returns:
        [b, h / 2, w / 2, c].
    """
    for axis in (1, 2):
        parts = _slices(_padded(x, axis, 1, 1), axis, range(4), x.shape[axis] // 2, 2)
        x = sum(part * tap for part, tap in zip(parts, reversed(taps), strict=True))
    return x


# Up and down are each other's transpose, except for the direction of the taps and a factor of 2 for
# each axis.
upsample.defvjp(
    lambda x, taps: (upsample(x, taps), None), lambda taps, _, g: (4 * downsample(g, taps[::-1]),)
)
downsample.defvjp(
    lambda x, taps: (downsample(x, taps), None), lambda taps, _, g: (upsample(g, taps[::-1]) / 4,)
)
