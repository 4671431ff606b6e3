"""The regularisers of encoders, and the stages in which Encoder4Editing learns its rows.

Codes are W+ [b, n, k]; values are one per picture, [b], unweighted.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def stage_of(step: int | Int[Array, ""], start: int, every: int, rows: int) -> Int[Array, ""]:
    """The last row that has a delta of its own: none before `start`, then one more every `every`
    steps.

    Args:
        step: steps taken so far.
        start: step at which the first delta comes in.
        every: steps from one delta to the next.
        rows: of W+.

    Returns:
        0 to rows - 1.

    Reference:
        Tov et al., Designing an Encoder for StyleGAN Image Manipulation (2102.02766), section 4.1.
    """
    return jnp.clip(jnp.where(step < start, 0, 1 + (step - start) // every), 0, rows - 1)


def masked_rows(codes: Float[Array, "b n k"], stage: Int[Array, ""]) -> Float[Array, "b n k"]:
    """Gives the rows behind `stage` the first row's code.

    One program does for all stages, as the deltas are multiplied by 0.
    """
    mask = (jnp.arange(codes.shape[1]) <= stage)[:, None]
    first = codes[:, :1]
    return first + mask * (codes - first)


def delta_norm(codes: Float[Array, "b n k"]) -> Float[Array, " b"]:
    """Lengths of the rows' differences from the first, summed over rows.

    No gradient where a difference is 0.
    """
    return optax.safe_norm(codes[:, 1:] - codes[:, :1], 0.0, axis=-1).sum(1)


def w_norm(codes: Float[Array, "b n k"], latent_avg: Float[Array, "*rows k"]) -> Float[Array, " b"]:
    """Length of the whole code's difference from the average code."""
    return optax.safe_norm(codes - latent_avg, 0.0, axis=(1, 2))


def code_r1(
    discriminator: Callable[[Float[Array, "b k"]], Float[Array, " b"]], codes: Float[Array, "b k"]
) -> Float[Array, " b"]:
    """Squared norm of the gradient of a discriminator's logit with respect to each real code.

    Weigh it with gamma / 2.

    Reference:
        Mescheder et al., Which Training Methods for GANs do actually Converge? (1801.04406), eq. 9.
    """
    gradient = jax.grad(lambda x: discriminator(x).sum())(codes)
    return (gradient**2).sum(1)
