"""Nearest-neighbour upsampling by two and a 3x3 convolution in one step.

Of the three samples along an axis that an output reads, two neighbours are copies of the same input
sample. Each of the four phases (even and odd rows and columns) is therefore a 2x2 convolution of
the small map: 16 instead of 36 multiplications per input sample, and the upsampled map is never
stored.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def nearest_conv3x3(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "b h2 w2 d"]:
    """Repeats every sample twice along both axes, then convolves with zero padding 1.

    Args:
        x: feature map, any range.
        kernel: layout HWIO.

    Returns:
        [b, 2 h, 2 w, d].
    """
    b, h, w, _ = x.shape
    rows = []
    # One convolution for each phase: with all four as channels of a single one, the gradient is 50
    # times slower on a CPU.
    for i, row_kernel in enumerate(_phases(kernel, 0)):
        columns = [
            jax.lax.conv_general_dilated(
                x,
                phase,
                (1, 1),
                ((1 - i, i), (1 - j, j)),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            for j, phase in enumerate(_phases(row_kernel, 1))
        ]
        rows.append(jnp.stack(columns, 3))
    return jnp.stack(rows, 2).reshape(b, 2 * h, 2 * w, kernel.shape[-1])


def _phases(kernel: Array, axis: int) -> tuple[Array, Array]:
    """The two taps that even and odd outputs see along an axis."""
    a, b, c = jnp.split(kernel, 3, axis)
    return jnp.concatenate([a, b + c], axis), jnp.concatenate([a + b, c], axis)
