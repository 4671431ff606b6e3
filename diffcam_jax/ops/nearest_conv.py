"""Doubling of a feature map by its nearest neighbours followed by a 3x3 convolution, without the
larger map.

Among the three samples that an output looks at, two neighbours are copies of the same one, so each
of the four phases (even and odd rows and columns) is a 2x2 convolution of the small map: 16 instead
of 36 multiplications for every input sample.
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
      kernel: HWIO.

    Returns:
      [b, 2 h, 2 w, d].
    """
    b, h, w, _ = x.shape
    rows = []
    # One convolution for each phase: all four as channels of a single one have a gradient that is
    # 50 times slower on a CPU.
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
