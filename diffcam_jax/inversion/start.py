"""Initial codes of a search: the mean code, or random codes for a restart."""

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from diffcam_jax.nn.latents import sample_w, to_wplus
from diffcam_jax.nn.network import Network

MEAN_DRAWS = 4096
# Restarts begin at typical faces: untruncated codes are often far from any face.
RESTART_PSI = 0.7


def _as_rows(codes: Float[Array, "b *rows k"], rows: int) -> Float[Array, "b n k"]:
    return to_wplus(codes, rows) if codes.ndim == 2 else codes


def mean_code(generator: Network, rows: int) -> Float[Array, "n k"]:
    """The average of the mapping network's codes, one row for every layer."""
    codes = jax.jit(sample_w, static_argnums=(0, 3))(*generator, jax.random.key(0), MEAN_DRAWS)
    return _as_rows(codes.mean(0, keepdims=True), rows)[0]


def random_codes(
    generator: Network, mean: Float[Array, "n k"], key: PRNGKeyArray, count: int
) -> Float[Array, "count n k"]:
    """Random codes from the mapping network, truncated towards the mean.

    Args:
        generator: the network.
        mean: from `mean_code`.
        key: the same key gives the same codes.
        count: number of codes.
    """
    codes = jax.jit(sample_w, static_argnums=(0, 3))(*generator, key, count)
    return mean + RESTART_PSI * (_as_rows(codes, len(mean)) - mean)
