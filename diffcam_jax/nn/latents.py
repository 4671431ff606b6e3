"""Latent codes w [b, 512] and W+ [b, n, 512], and the distribution of w under the prior."""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.conventions import WPLUS_ROWS


@flax.struct.dataclass
class LatentStats:
    """First and second moments of w over the prior.

    Attributes:
        mean: [512] average w, the centre of truncation.
        eigenvectors: [512, 512] orthonormal columns of the covariance, by descending eigenvalue.
        eigenvalues: [512] variances along them.
    """

    mean: Float[Array, " k"]
    eigenvectors: Float[Array, "k k"]
    eigenvalues: Float[Array, " k"]


def latent_stats(
    model: nn.Module, variables: Mapping[str, Any], key: jax.Array, n: int = 4096
) -> LatentStats:
    """Moments of w = mapping(z) over `n` normal draws of z.

    Args:
        model: generator with a `mapping` method and a `latent_size`.
        variables: its variables, at least {"params": ...}.
        key: PRNG key of the draws.
        n: number of draws.
    """
    w = sample_w(model, variables, key, n)
    # Where every row has a mapping of its own, each row counts as a draw.
    return moments(w.reshape(-1, w.shape[-1]))


def moments(w: Float[Array, "n k"]) -> LatentStats:
    """Moments of given codes."""
    mean = w.mean(0)
    eigenvalues, eigenvectors = jnp.linalg.eigh((w - mean).T @ (w - mean) / (len(w) - 1))
    return LatentStats(mean, eigenvectors[:, ::-1], jnp.maximum(eigenvalues[::-1], 0.0))


def sample_w(
    model: nn.Module,
    variables: Mapping[str, Any],
    key: jax.Array,
    n: int,
    label: Float[Array, "n c"] | None = None,
) -> Float[Array, "n *rows k"]:
    """Draws `n` codes w = mapping(z) with z normal.

    They are [n, rows, k] where every row has a mapping of its own.

    Args:
        model: generator with a `mapping` method and a `latent_size`.
        variables: its variables.
        key: PRNG key of the draws.
        n: number of draws.
        label: of each draw, for a conditional generator; by default its chosen class.

    Raises:
        UserError: the generator is conditional, and no class was chosen.
    """
    labels = () if label is None else (label,)
    z = jax.random.normal(key, (n, model.latent_size))
    return model.apply(variables, z, *labels, method="mapping")


def wplus_rows(generator: nn.Module) -> int:
    """Rows of the W+ codes of a generator's family; a distilled one may ignore the last of them."""
    return 2 * int(math.log2(generator.resolution)) - 2


def style_rows(w: Float[Array, "b *rows k"], count: int) -> Float[Array, "b n k"]:
    """W [b, k] repeated for `count` styles; W+ [b, n, k] unchanged.

    Raises:
        ValueError: the W+ codes have fewer rows.
    """
    rows = jnp.broadcast_to(w[:, None], (w.shape[0], count, w.shape[1])) if w.ndim == 2 else w
    if rows.shape[1] < count:
        raise ValueError(f"W+ codes need at least {count} rows, got {rows.shape[1]}")
    return rows


def truncate(
    w: Float[Array, "... k"], mean: Float[Array, " k"], psi: float | Float[Array, ""]
) -> Float[Array, "... k"]:
    """Truncation trick: moves w towards the mean; psi 1 changes nothing, psi 0 gives the mean."""
    return mean + psi * (w - mean)


def to_wplus(w: Float[Array, "b k"], n: int = WPLUS_ROWS) -> Float[Array, "b n k"]:
    """Repeats one w for each of `n` layers."""
    return jnp.broadcast_to(w[:, None], (w.shape[0], n, w.shape[1]))


def whiten(
    delta: Float[Array, "... k"], stats: LatentStats, epsilon: float = 1e-3
) -> Float[Array, "... k"]:
    """Coordinates of a difference of codes in standard deviations of the prior.

    Args:
        delta: difference of codes, w - mean for instance.
        stats: moments of w.
        epsilon: added to the eigenvalues, which keeps directions that the prior hardly uses
            bounded.
    """
    return (delta @ stats.eigenvectors) * jax.lax.rsqrt(stats.eigenvalues + epsilon)


def mix_styles(
    first: Float[Array, "b *rows k"],
    second: Float[Array, "b *more k"],
    index: int,
    num_styles: int = WPLUS_ROWS,
) -> Float[Array, "b n k"]:
    """Style mixing: coarse layers of one code, fine layers of another.

    Args:
        first: [b, k], or W+ codes [b, num_styles, k]; gives the rows before `index`.
        second: likewise; gives the other rows.
        index: 0 takes all rows from the second, `num_styles` all from the first.
        num_styles: rows of the result.

    Reference:
        Karras et al., A Style-Based Generator Architecture (1812.04948), section 3.1.
    """
    first, second = (to_wplus(w, num_styles) if w.ndim == 2 else w for w in (first, second))
    return jnp.concatenate([first[:, :index], second[:, index:num_styles]], 1)
