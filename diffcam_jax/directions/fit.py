"""Fits semantic directions to scored samples, as InterFaceGAN does (Shen et al., arXiv 1907.10786).

The linear SVM is trained on whitened codes, u = (w - mean) V / sqrt(lambda): there the prior is isotropic, so the normal of
the boundary is also the most natural way across it, and two directions that are orthogonal move independent attributes.
Back in W a step of one prior standard deviation along the normal n is V sqrt(lambda) n.
"""

import dataclasses

import numpy as np
from jaxtyping import Float
from sklearn.svm import LinearSVC


@dataclasses.dataclass(frozen=True)
class Boundary:
    """Separating direction of one attribute in whitened coordinates.

    Attributes:
      normal: [512] unit vector towards higher scores.
      accuracy: share of held-out extreme samples on the right side.
      samples: number of samples the SVM was trained on.
    """

    normal: np.ndarray
    accuracy: float
    samples: int


def fit_boundary(
    codes: Float[np.ndarray, "n k"], scores: np.ndarray, ratio: float = 0.25, penalty: float = 1e-3, seed: int = 0
) -> Boundary:
    """Separates the samples with the highest scores from those with the lowest by a linear SVM.

    Args:
      codes: [n, 512] whitened codes.
      scores: [n] scores, NaN where a sample could not be scored.
      ratio: share of the samples taken from each end (InterFaceGAN: 0.02 of half a million).
      penalty: C of the SVM; small, since 512 weights are fitted to a few thousand samples.
      seed: of the 70/30 split into training and held-out samples.

    Raises:
      ValueError: fewer than 20 samples with a score.
    """
    valid = np.flatnonzero(np.isfinite(scores))
    count = int(len(valid) * ratio)
    if count < 10:
        raise ValueError(f"only {len(valid)} scored samples; at least {int(10 / ratio)} are needed")
    order = valid[np.argsort(scores[valid], kind="stable")]
    chosen = np.concatenate([order[:count], order[-count:]])
    labels = np.repeat([0, 1], count)
    shuffled = np.random.default_rng(seed).permutation(2 * count)
    train, held_out = np.split(shuffled, [int(0.7 * 2 * count)])
    svm = LinearSVC(C=penalty, dual=False, random_state=seed).fit(codes[chosen[train]], labels[train])
    accuracy = float(svm.score(codes[chosen[held_out]], labels[held_out]))
    normal = svm.coef_[0] / np.linalg.norm(svm.coef_[0])
    return Boundary(normal.astype(np.float32), accuracy, len(train))


def condition(normal: Float[np.ndarray, " k"], others: list[np.ndarray]) -> Float[np.ndarray, " k"]:
    """Conditional manipulation: removes from a normal what lies in the span of the others.

    Args:
      normal: [512] direction to keep.
      others: any number of [512] directions of attributes that are to stay as they are.

    Returns:
      [512] unit vector, orthogonal to all of `others`.

    Raises:
      ValueError: nothing is left.
    """
    if others:
        basis = np.linalg.svd(np.stack(others), full_matrices=False)[2]
        normal = normal - basis.T @ (basis @ normal)
    length = np.linalg.norm(normal)
    if length < 1e-6:
        raise ValueError("the direction lies in the span of its conditions: nothing is left of it")
    return (normal / length).astype(np.float32)


def whitened(
    codes: Float[np.ndarray, "n k"], mean: np.ndarray, eigenvectors: np.ndarray, eigenvalues: np.ndarray
) -> Float[np.ndarray, "n k"]:
    """Whitened coordinates of codes; dimensions without variance come out as zero."""
    return ((codes - mean) @ eigenvectors) / np.sqrt(np.maximum(eigenvalues, 1e-6))


def unwhitened(normal: Float[np.ndarray, " k"], eigenvectors: np.ndarray, eigenvalues: np.ndarray) -> np.ndarray:
    """Step in W of one prior standard deviation along a whitened direction."""
    return (eigenvectors @ (np.sqrt(eigenvalues) * normal)).astype(np.float32)
