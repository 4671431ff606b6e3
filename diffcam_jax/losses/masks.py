"""What invertibility decomposition asks of its masks (2212.09262): small, and near 0 or 1."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float


def area_loss(masks: Sequence[Float[Array, "b _ _"]], limits: Sequence[float]) -> Float[Array, ""]:
    """By how much the means of masks exceed their limits, summed over the masks."""
    return sum(
        jnp.maximum(0.0, mask.mean() - limit) for mask, limit in zip(masks, limits, strict=True)
    )


def binary_loss(masks: Sequence[Float[Array, "b _ _"]]) -> Float[Array, ""]:
    """Mean distance of masks from 0 or 1, whichever is nearer, summed over the masks."""
    return sum(jnp.minimum(mask, 1 - mask).mean() for mask in masks)
