"""Latent editing consistency: does an encoder recover a code after an edit and its inverse?"""

import numpy as np
from jaxtyping import Float

TRIMMED = (1.0, 99.0)


def lec(
    codes: Float[np.ndarray, "n *rows k"], codes_again: Float[np.ndarray, "m *more k2"]
) -> Float[np.ndarray, " n"]:
    """|w - f^-1(E(G(f(w))))| of every picture, w = E(x); lower is better.

    The published number is the `trimmed_mean` of these.

    Args:
        codes: w, [n, k] or [n, rows, k].
        codes_again: of the same shape: the codes of the edited pictures, with the edit reversed.

    Raises:
        ValueError: the shapes differ.

    Reference:
        Tov et al., Designing an Encoder for StyleGAN Image Manipulation, arXiv 2102.02766.
    """
    codes, codes_again = np.asarray(codes, np.float64), np.asarray(codes_again, np.float64)
    if codes.shape != codes_again.shape or codes.ndim < 2:
        raise ValueError(
            f"codes must be [n, ..., k] and of one shape, got {codes.shape} and {codes_again.shape}"
        )
    return np.sqrt(((codes - codes_again) ** 2).reshape(len(codes), -1).sum(1))


def trimmed_mean(
    values: Float[np.ndarray, "*r n"], percentiles: tuple[float, float] = TRIMMED
) -> Float[np.ndarray, "*r"]:
    """The mean of the values between two percentiles, along the last axis.

    A statistic for `bootstrap.interval`.
    """
    low, high = np.percentile(values, percentiles, axis=-1, keepdims=True)
    kept = (values >= low) & (values <= high)
    return np.asarray(np.where(kept, values, 0).sum(-1) / kept.sum(-1))
