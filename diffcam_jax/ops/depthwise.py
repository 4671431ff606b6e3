"""Depthwise 3x3 convolutions as sums of shifted maps, zero padding 1, stride 1 or 2.

XLA's depthwise convolutions are many times slower on a CPU, their gradients most of all. Maps are
NHWC; a kernel [3, 3, c] has one filter for each channel.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def depthwise3x3(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c"]
) -> Float[Array, "b h w c"]:
    """Depthwise 3x3 convolution as nine shifted multiply-adds."""
    return _shifted_sum(x, kernel)


def _padded(x: Array) -> Array:
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _shifted_sum(x: Array, kernel: Array) -> Array:
    h, w = x.shape[1:3]
    padded = _padded(x)
    return sum(padded[:, i : i + h, j : j + w] * kernel[i, j] for i in range(3) for j in range(3))


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _shifted_sum(x, kernel), (x, kernel)


def _backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
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


depthwise3x3.defvjp(_forward, _backward)


def _phases(x: Float[Array, "b h w c"]) -> list[list[Float[Array, "b h2 w2 c"]]]:
    """Pixels at even and odd rows and columns: [row parity][column parity]."""
    b, h, w, c = x.shape
    cells = x.reshape(b, h // 2, 2, w // 2, 2, c)
    return [[cells[:, :, i, :, j] for j in range(2)] for i in range(2)]


# Of the cells of two samples: tap 0 (offset -1) reads the odd sample of the previous cell, tap 1
# the even and tap 2 the odd one of its own cell.
_TAPS = ((1, 1), (0, 0), (1, 0))  # (parity, cells back)


def _back(x: Array, rows: int, columns: int) -> Array:
    """Moves x by whole cells down and right (up and left where negative), zeros moving in."""
    h, w = x.shape[1:3]
    pad = [(0, 0), (max(rows, 0), max(-rows, 0)), (max(columns, 0), max(-columns, 0)), (0, 0)]
    x = jnp.pad(x, pad)
    return x[:, max(-rows, 0) :, max(-columns, 0) :][:, :h, :w]


@jax.custom_vjp
def depthwise3x3_halving(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c"]
) -> Float[Array, "b h2 w2 c"]:
    """Depthwise 3x3 convolution of stride 2, of maps with even sides."""
    phases = _phases(x)
    return sum(
        _back(phases[p][q], r, s) * kernel[i, j]
        for i, (p, r) in enumerate(_TAPS)
        for j, (q, s) in enumerate(_TAPS)
    )


def _halving_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return depthwise3x3_halving(x, kernel), (x, kernel)


def _halving_backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """Each of the four phases gathers from the gradient.

    XLA's own transpose, nine pads, does not fuse.
    """
    x, kernel = residuals
    phases, parts, taps = _phases(x), [[0, 0], [0, 0]], [[None] * 3 for _ in range(3)]
    for i, (p, r) in enumerate(_TAPS):
        for j, (q, s) in enumerate(_TAPS):
            parts[p][q] += _back(gradient, -r, -s) * kernel[i, j]
            taps[i][j] = (_back(phases[p][q], r, s) * gradient).sum((0, 1, 2))
    whole = jnp.stack([jnp.stack(row, axis=3) for row in parts], axis=2)  # [b, h/2, 2, w/2, 2, c]
    return whole.reshape(x.shape), jnp.array(taps)


depthwise3x3_halving.defvjp(_halving_forward, _halving_backward)
