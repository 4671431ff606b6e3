"""From a latent code to one row for each style of a generator."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def style_rows(w: Float[Array, "b *rows k"], count: int) -> Float[Array, "b n k"]:
    """W [b, k] repeated for `count` styles; W+ [b, n, k] as it is.

    Raises:
      ValueError: W+ codes of fewer rows.
    """
    rows = jnp.broadcast_to(w[:, None], (w.shape[0], count, w.shape[1])) if w.ndim == 2 else w
    if rows.shape[1] < count:
        raise ValueError(f"W+ codes need at least {count} rows, got {rows.shape[1]}")
    return rows
