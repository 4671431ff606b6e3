"""Losses of codes, and the stages in which Encoder4Editing learns its rows.

Codes are W+ [b, n, k]; values are one per picture, [b], unweighted.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def stage_of(step: int | Int[Array, ""], start: int, every: int, rows: int) -> Int[Array, ""]:
    """Last row with a delta of its own: none before `start`, then one more every `every` steps.

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
    """Gives the rows after `stage` the first row's code.

    One program serves all stages, as the deltas are multiplied by 0.
    """
    mask = (jnp.arange(codes.shape[1]) <= stage)[:, None]
    first = codes[:, :1]
    return first + mask * (codes - first)


def delta_norm(codes: Float[Array, "b n k"]) -> Float[Array, " b"]:
    """Lengths of the rows' differences from the first row, summed over rows.

    There is no gradient where a difference is 0.
    """
    return optax.safe_norm(codes[:, 1:] - codes[:, :1], 0.0, axis=-1).sum(1)


def w_norm(codes: Float[Array, "b n k"], latent_avg: Float[Array, "*rows k"]) -> Float[Array, " b"]:
    """Length of the whole code's difference from the average code."""
    return optax.safe_norm(codes - latent_avg, 0.0, axis=(1, 2))


def whitened_error(
    difference: Float[Array, "b n k"], whitening: Float[Array, "k k"]
) -> Float[Array, " b"]:
    """Mean square of a difference of codes in standard deviations of the prior."""
    return ((difference @ whitening) ** 2).mean((1, 2))


# The losses of codes by the names of their weights: (codes, known codes or None,
# `TrainState.extra`) -> [b].
CODE_LOSSES: Mapping[str, Callable[[Array, Any, Mapping[str, Any]], Array]] = {
    "w_norm": lambda codes, known, extra: w_norm(codes, extra["latent_avg"]),
    "delta": lambda codes, known, extra: delta_norm(codes),
    "code": lambda codes, known, extra: ((codes - known) ** 2).mean((1, 2)),
    "whitened": lambda codes, known, extra: whitened_error(codes - known, extra["whitening"]),
    "prior": lambda codes, known, extra: whitened_error(
        codes - extra["latent_avg"], extra["whitening"]
    ),
}
NEED_CODES = ("code", "whitened")  # those that compare with known codes


def code_r1(
    discriminator: Callable[[Float[Array, "b k"]], Float[Array, " b"]], codes: Float[Array, "b k"]
) -> Float[Array, " b"]:
    """Squared norm of the gradient of a discriminator's logit with respect to each real code.

    Its weight is gamma / 2.

    Reference:
        Mescheder et al., Which Training Methods for GANs do actually Converge? (1801.04406), eq. 9.
    """
    gradient = jax.grad(lambda x: discriminator(x).sum())(codes)
    return (gradient**2).sum(1)
