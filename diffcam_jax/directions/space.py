"""Codes of a generator's prior, and the coordinates in which boundaries between them are fitted.

Codes are [n, r, k]: r is 1 where the generator uses one w in all its layers (the embedded one,
StyleGAN2), or its number of rows where every layer has a w of its own (the StyleGAN v1 of in-domain
inversion, and inverted W+ codes).

Whitened coordinates are u = (w - mean) V / sqrt(lambda), row by row. In them the prior is
isotropic, so the normal of a boundary is also the most likely way across it, and two orthogonal
directions move independent attributes. Plain coordinates are w - mean up to one factor, as in
InterFaceGAN (Shen et al., arXiv 1907.10786).
"""

import math
import weakref
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffcam_jax.files import trees
from diffcam_jax.nn.latents import moments, sample_w, wplus_rows
from diffcam_jax.nn.network import Network
from diffcam_jax.pretrained import networks as pretrained

EMBEDDED = "mobile_stylegan_ffhq"


class CodeSpace(NamedTuple):
    """Moments of the prior in every row, and the coordinates based on them.

    Attributes:
        mean: [r, k] average code, the centre of truncation.
        eigenvectors: [r, k, k] orthonormal columns of each row's covariance, by descending
            eigenvalue.
        eigenvalues: [r, k] variances along them.
        whitened: whether coordinates are in standard deviations along the eigenvectors.
    """

    mean: Float[np.ndarray, "r k"]
    eigenvectors: Float[np.ndarray, "r k k"]
    eigenvalues: Float[np.ndarray, "r k"]
    whitened: bool = True

    def coordinates(self, codes: Float[np.ndarray, "n rows k"]) -> Float[np.ndarray, "n d"]:
        """Coordinates of codes, all rows concatenated.

        Dimensions without variance become zero.

        Args:
            codes: with `r` rows, or with any number when r is 1.
        """
        coordinates = codes - self.mean
        if self.whitened:
            by_row = np.matmul(coordinates.transpose(1, 0, 2), self.eigenvectors).transpose(1, 0, 2)
            coordinates = by_row / np.sqrt(np.maximum(self.eigenvalues, 1e-6))
        else:
            # This scale does not depend on the generator, so that one SVM penalty suits all.
            coordinates = coordinates / np.sqrt(self.eigenvalues.mean())
        return coordinates.reshape(len(codes), -1)

    def step(self, normal: Float[np.ndarray, " d"]) -> Float[np.ndarray, "rows k"]:
        """Step of one prior standard deviation along a unit normal.

        With several rows it is one in each row on average; rows are treated as independent of each
        other, which only affects the unit of length.
        """
        rows = normal.reshape(-1, self.mean.shape[1])
        if self.whitened:
            step = np.matmul(self.eigenvectors, (np.sqrt(self.eigenvalues) * rows)[..., None])[
                ..., 0
            ]
        else:
            along = np.matmul(rows[:, None], self.eigenvectors)[:, 0]
            step = rows * np.sqrt((along**2 * self.eigenvalues).sum())
        return (math.sqrt(len(rows)) * step).astype(np.float32)


# A network is never changed, so it is hashed once.
_hashes: weakref.WeakKeyDictionary[Network, str] = weakref.WeakKeyDictionary()


def open_generator(folder: str | Path | None) -> Network:
    """The generator of a folder of converted weights, or the embedded one.

    Raises:
        UserError: the folder has no generator.
    """
    module, variables = pretrained.load(EMBEDDED if folder is None else folder).network("generator")
    return Network(module, jax.device_put(variables))


def generator_hash(generator: Network) -> str:
    """The hash by which directions and codes identify their generator."""
    if generator not in _hashes:
        _hashes[generator] = trees.tree_hash(generator.variables["params"])
    return _hashes[generator]


def draw(generator: Network, key: jax.Array, count: int) -> Float[np.ndarray, "n r k"]:
    """Codes of normal draws, [n, r, k].

    r is 1 where all layers share one w. More draws of a key begin with those of fewer.
    """
    codes = np.asarray(sample_w(generator.module, generator.variables, key, count))
    if codes.ndim == 2:
        return codes[:, None]
    return codes[:, :1] if (codes == codes[:, :1]).all() else codes


def truncated(
    codes: Float[np.ndarray, "n r k"], mean: Float[np.ndarray, "r k"], psi: float
) -> Float[np.ndarray, "n r k"]:
    """Codes moved towards the mean in every row: 1 changes nothing, 0 gives the mean."""
    return mean + psi * (codes - mean)


def prior_codes(
    generator: Network, seed: int, count: int, psi: float
) -> Float[np.ndarray, "n r k"]:
    """Codes of the prior, truncated; r as in `draw`."""
    drawn = draw(generator, jax.random.key(seed), count)
    return truncated(drawn, code_space(generator).mean, psi)


def samples(generator: Network, seed: int, count: int, psi: float) -> Float[np.ndarray, "n rows k"]:
    """Truncated W+ codes of the prior, with a row for every one that the generator reads."""
    codes = prior_codes(generator, seed, count, psi)
    return np.broadcast_to(codes, (count, wplus_rows(generator.module), codes.shape[2]))


def code_space(generator: Network, whitened: bool = True, draws: int = 4096) -> CodeSpace:
    """Coordinates from the moments of `draws` codes of the prior."""
    codes = jnp.asarray(draw(generator, jax.random.key(0), draws))
    stats = [moments(codes[:, row]) for row in range(codes.shape[1])]
    return CodeSpace(
        np.stack([np.asarray(row.mean) for row in stats]),
        np.stack([np.asarray(row.eigenvectors) for row in stats]),
        np.stack([np.asarray(row.eigenvalues) for row in stats]),
        whitened,
    )
