"""StyleGAN2's convolutions that double or halve the resolution, with the [1,3,3,1] blur.

Up: a stride-2 transposed 3x3 convolution, then the blur. The transposed convolution is split into
its four phases, plain convolutions at the low resolution with 2x2, 2x1, 1x2 and 1x1 kernels: no
zero is multiplied. The blur reads the separate phases, so that the high resolution is written only
once. Down: the blur, then a stride-2 convolution as the sum of four plain ones on the phases of its
input; this does not speed up the forward pass, but second derivatives are many times faster on a
CPU.

Source: Karras et al., Analyzing and Improving the Image Quality of StyleGAN (1912.04958).
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.ops.fir import TAPS_1331, fir

# Blur factors for an axis on which every second sample is zero: twice 1/8 and 3/8.
_OUTER, _INNER = 0.25, 0.75


def up_conv(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "b h2 w2 d"]:
    """Doubles both spatial axes.

    Args:
        x: features.
        kernel: entry [i, j] weighs x[y, x] in the sample [2 y + i, 2 x + j] of the transposed
            convolution.

    Returns:
        [b, 2 h, 2 w, d].
    """
    b, h, w, _ = x.shape
    d = kernel.shape[-1]
    columns = [
        _blurred(_conv(x, part[2::-2], 1, 1), _conv(x, part[1:2], 1, 1), 1)
        for part in (kernel[:, 2::-2], kernel[:, 1:2])
    ]
    rows = [
        jnp.stack(_blurred(even, odd, 2), 3).reshape(b, h, 2 * w, d)
        for even, odd in zip(*columns, strict=True)
    ]
    return jnp.stack(rows, 2).reshape(b, 2 * h, 2 * w, d)


def down_conv(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "b h2 w2 d"]:
    """Halves both spatial axes, which must be even.

    Args:
        x: features.
        kernel: of the stride-2 convolution that follows the blur, layout HWIO.

    Returns:
        [b, h / 2, w / 2, d].
    """
    x = fir(x, TAPS_1331, (2, 2))
    parts = [_conv(x[:, i::2, j::2], kernel[i::2, j::2], 0, 0) for i in (0, 1) for j in (0, 1)]
    return sum(parts[1:], parts[0])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(x: Array, kernel: Array, rows: int, columns: int) -> Array:
    """Plain convolution whose kernel gradient is one matrix product for each tap.

    For these kernels that is many times faster than XLA's own gradient.
    """
    padding = ((rows, rows), (columns, columns))
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _conv_backward(
    rows: int, columns: int, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    n, m = kernel.shape[:2]
    h, w = gradient.shape[1:3]
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    by_x = _conv(gradient, turned, n - 1 - rows, m - 1 - columns)
    x = jax.lax.pad(
        x, jnp.zeros((), x.dtype), ((0, 0, 0), (rows, rows, 0), (columns, columns, 0), (0, 0, 0))
    )
    taps = [
        [jnp.einsum("bhwc,bhwd->cd", x[:, i : i + h, j : j + w], gradient) for j in range(m)]
        for i in range(n)
    ]
    return by_x, jnp.stack([jnp.stack(row) for row in taps])


_conv.defvjp(
    lambda x, kernel, rows, columns: (_conv(x, kernel, rows, columns), (x, kernel)), _conv_backward
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _blurred(even: Array, odd: Array, axis: int) -> tuple[Array, Array]:
    """The even and the odd samples of the blurred signal, from those of the signal.

    Args:
        even: n + 1 samples 0, 2, ... of a signal of 2 n + 1.
        odd: n + 2 samples -1, 1, 3, ..., of which the first and the last are zero.
        axis: the axis to blur along.
    """
    n = even.shape[axis] - 1
    e, e1, o, o1, o2 = (
        _at(even, axis, n, 0),
        _at(even, axis, n, 1),
        *(_at(odd, axis, n, k) for k in range(3)),
    )
    return _OUTER * (o + e1) + _INNER * (e + o1), _OUTER * (e + o2) + _INNER * (o1 + e1)


def _at(x: Array, axis: int, count: int, start: int) -> Array:
    return jax.lax.slice_in_dim(x, start, start + count, axis=axis)


def _blurred_backward(axis: int, _: None, gradients: tuple[Array, Array]) -> tuple[Array, Array]:
    n = gradients[0].shape[axis]
    widths = [(2, 2) if k == axis else (0, 0) for k in range(4)]
    a, b = (jnp.pad(g, widths) for g in gradients)
    even = _INNER * (_at(a, axis, n + 1, 2) + _at(b, axis, n + 1, 1))
    even += _OUTER * (_at(a, axis, n + 1, 1) + _at(b, axis, n + 1, 2))
    odd = _OUTER * (_at(a, axis, n + 2, 2) + _at(b, axis, n + 2, 0))
    odd += _INNER * (_at(a, axis, n + 2, 1) + _at(b, axis, n + 2, 1))
    return even, odd


_blurred.defvjp(lambda even, odd, axis: (_blurred(even, odd, axis), None), _blurred_backward)
