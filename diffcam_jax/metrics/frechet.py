"""Fréchet distance between two sets of feature vectors (FID with Inception features).

Each set is modelled as a normal distribution. Everything is float64 on the host. Reference: Heusel
et al., arXiv 1706.08500; published numbers come from covariances with n - 1 in the denominator and
a square root of the covariances' product, which this equals. Written by hand, because a general
matrix square root may fail for covariances without full rank.

FID of few pictures is far too large: the bias decreases only with the number of pictures, and below
`ENOUGH` the covariance of 2048 features does not even have full rank. Compare numbers of equally
many pictures, and use KID (`kernel`) for few.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffcam_jax.errors import UserError
from diffcam_jax.metrics.bootstrap import Interval, half_samples, spread_interval

ENOUGH = 2048
HALVES = 24


class Statistics(NamedTuple):
    """Mean [d] and covariance [d, d] of a set, float64."""

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]


class Moments(NamedTuple):
    """Accumulated moments of a set.

    Attributes:
        count: number of vectors.
        mean: their mean [d].
        scatter: [d, d], the sum of outer products of the deviations from the mean.
    """

    count: int
    mean: Float[np.ndarray, " d"]
    scatter: Float[np.ndarray, "d d"]


def init(features: int = 2048) -> Moments:
    """The moments of an empty set of vectors of length `features`."""
    return Moments(0, np.zeros(features), np.zeros((features, features)))


def update(state: Moments, features: np.ndarray) -> Moments:
    """Adds a batch of feature vectors [n, d].

    Raises:
        ValueError: the array does not have two axes, d differs, or a number is not finite.
    """
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or x.shape[1] != len(state.mean):
        raise ValueError(f"features must be [n, {len(state.mean)}], got {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("features that are not finite have no distance")
    if len(x) == 0:
        return state
    mean = x.mean(0)
    centred = x - mean
    return merge(state, Moments(len(x), mean, centred.T @ centred))


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of two sets together."""
    if a.count == 0 or b.count == 0:
        return a if b.count == 0 else b
    # Sums about the means keep the digits that plain sums of squares would lose (Chan et al.,
    # 1979).
    total, shift = a.count + b.count, b.mean - a.mean
    scatter = a.scatter + b.scatter + np.outer(shift, shift) * (a.count * b.count / total)
    return Moments(total, a.mean + shift * (b.count / total), scatter)


def compute(state: Moments) -> Statistics:
    """Mean and covariance of all vectors added so far.

    Raises:
        UserError: there are fewer than two vectors.
    """
    if state.count < 2:
        raise UserError(
            f"a Frechet distance needs at least 2 pictures of each set, got {state.count}; add "
            "pictures"
        )
    return Statistics(state.mean, state.scatter / (state.count - 1))


def statistics(features: np.ndarray) -> Statistics:
    """Mean and covariance of feature vectors [n, d], n >= 2."""
    features = np.asarray(features)
    if features.ndim != 2:
        raise ValueError(f"features must be [n, d], got {features.shape}")
    return compute(update(init(features.shape[1]), features))


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 sqrt(A B)).

    The trace of the square root is the sum of the roots of the eigenvalues of A^1/2 B A^1/2, which
    is symmetric: its eigenvalues are real, and covariances need not have full rank.

    Raises:
        ValueError: the numbers of features differ.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features of {len(a.mean)} and {len(b.mean)} numbers cannot be compared")
    root = _root(a.covariance)
    eigenvalues = np.linalg.eigvalsh(root @ b.covariance @ root)
    trace = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    shift = a.mean - b.mean
    return float(shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2 * trace)


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def frechet_interval(
    a: np.ndarray, b: np.ndarray, repeats: int = HALVES, seed: int = 0, level: float = 0.95
) -> Interval:
    """The Fréchet distance with a confidence interval from random halves of both sets.

    The interval describes the chance in the choice of pictures; the bias of small sets, which
    shifts both ends alike, is not part of it. No matrix larger than the smallest of the sets and
    the features is ever decomposed: few pictures cost little, however many features there are.

    Args:
        a: feature vectors [n, d], at least 4.
        b: feature vectors [m, d], at least 4.
        repeats: number of halves.
        seed: of the draw.
        level: of confidence.

    Raises:
        UserError: there are too few vectors.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    count = min(len(a), len(b))
    if count < 4:
        raise UserError(
            f"a confidence interval of FID needs at least 4 pictures of each set, got {count}; "
            "add pictures"
        )
    value = _distance(a, b)
    halves = zip(
        half_samples(len(a), repeats, seed), half_samples(len(b), repeats, seed + 1), strict=True
    )
    return spread_interval(
        value, np.array([_distance(a[i], b[j]) for i, j in halves]), count, level
    )


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """The same distance from the features themselves.

    With A = P'P and B = Q'Q, tr sqrt(A B) is the nuclear norm of P Q'.
    """
    shift = a.mean(0) - b.mean(0)
    p, q = (_factor(x) for x in (a, b))
    product = p @ q.T if len(p) <= len(q) else q @ p.T
    # Singular values as roots of the eigenvalues of the square, which take a fraction of the time.
    trace = np.sqrt(np.maximum(np.linalg.eigvalsh(product @ product.T), 0)).sum()
    return float(shift @ shift + (p**2).sum() + (q**2).sum() - 2 * trace)


def _factor(x: np.ndarray) -> np.ndarray:
    """P with P'P the covariance of the rows of x, and no more rows than columns."""
    centred = (x - x.mean(0)) / np.sqrt(len(x) - 1)
    return centred if len(x) <= x.shape[1] else np.linalg.qr(centred, mode="r")
