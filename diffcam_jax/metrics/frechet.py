"""Frechet distance between two sets of feature vectors, each taken for a normal distribution; FID with Inception features.

Everything in float64 on the host. Reference: Heusel et al., arXiv 1706.08500; published numbers come from covariances with
n - 1 in the denominator and a square root of the covariances' product, which this equals.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Statistics(NamedTuple):
    """Mean [d] and covariance [d, d] of a set, float64."""

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]


class FeatureStatistics:
    """Collects mean and covariance batch by batch, without keeping the features."""

    def __init__(self) -> None:
        self.count = 0
        self._mean: np.ndarray | float = 0.0
        self._scatter: np.ndarray | float = 0.0

    def update(self, features: np.ndarray) -> None:
        """Adds a batch of feature vectors [n, d].

        Raises:
          ValueError: not two axes.
        """
        x = np.asarray(features, np.float64)
        if x.ndim != 2:
            raise ValueError(f"features must be [n, d], got {x.shape}")
        if len(x) == 0:
            return
        # Sums about the running mean lose no digits where plain sums of squares would (Chan et al., 1979).
        total = self.count + len(x)
        mean = x.mean(0)
        centred, shift = x - mean, mean - self._mean
        self._scatter = self._scatter + centred.T @ centred + np.outer(shift, shift) * (self.count * len(x) / total)
        self._mean = self._mean + shift * (len(x) / total)
        self.count = total

    def compute(self) -> Statistics:
        """The statistics of everything added so far.

        Raises:
          ValueError: fewer than two vectors.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 feature vectors, got {self.count}")
        return Statistics(np.asarray(self._mean), np.asarray(self._scatter) / (self.count - 1))


def statistics(features: np.ndarray) -> Statistics:
    """Mean and covariance of feature vectors [n, d], n >= 2."""
    collected = FeatureStatistics()
    collected.update(features)
    return collected.compute()


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 sqrt(A B)).

    The trace of the square root is the sum of the roots of the eigenvalues of A^1/2 B A^1/2, which is symmetric: real, and
    without trouble for covariances without full rank, where a general matrix square root may fail.

    Raises:
      ValueError: of different numbers of features.
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
