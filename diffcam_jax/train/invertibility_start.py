"""Initialisation of an alignment network: correlated features of generator and encoder.

At every level canonical correlation analysis (Hotelling, 1936) finds the linear maps of both
networks' features that agree best on generated faces, where the encoder sees exactly what was
drawn. The matrices that reduce the generator's features and the encoder's maps are initialised with
them, so that differences between the two are informative from the first step; the release starts at
random and takes 1.8 million steps.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from diffcam_jax.editing.decomposition import Decomposer, encoder_maps
from diffcam_jax.nn.latents import sample_w, to_wplus

RIDGE = 1e-3  # of the mean variance, added to all: faint directions correlate by chance
# Initial logits of the masks: a fifth of a photograph is out of domain, and a finer level (n in
# m (1 + n - m)) hardly changes a coarser one before it has learned to.
COARSEST, FINER = -1.5, 2.0
_AT_ONCE = 2


def correlated(
    networks: Decomposer,
    params: dict[str, Any],
    seed: int,
    faces: int = 32,
    psi: float = 0.8,
) -> dict[str, Any]:
    """Initialises the reducing matrices of an alignment network, and the biases of its masks.

    Args:
        networks: of the decomposition; the alignment network has a multiplier below 1 and is not
            normalised.
        params: of the alignment network, initialised at random.
        seed: of the faces.
        faces: number of faces to draw.
        psi: truncation of the faces.
    """
    sums = None
    for number in tqdm(range(0, faces, _AT_ONCE), desc="correlating features", disable=None):
        key = jax.random.fold_in(jax.random.key(seed), number)
        parts = _moments(networks, key, psi)
        sums = parts if sums is None else jax.tree.map(jnp.add, sums, parts)
    params = dict(params)
    for level, moments in enumerate(jax.device_get(sums)):
        reduce, read = canonical(*moments)
        name = f"level_{level}"
        params[name] = {
            "reduce": {"kernel": _filled(params[name]["reduce"]["kernel"], reduce)},
            "network": _biased(params[name]["network"], FINER if level else COARSEST),
        }
        encoded = params[f"encoded_{level}"]
        params[f"encoded_{level}"] = {**encoded, "kernel": _filled(encoded["kernel"], read)}
    return params


@jax.jit
def _moments(
    networks: Decomposer, key: Array, psi: float | Array
) -> list[tuple[Array, Array, Array]]:
    """Second moments of a few faces' features at every level.

    Returns:
        Those of the generator, those of the encoder, and the mixed ones, for each level.
    """
    generator, sides = networks.generator, networks.aligner.module.sides
    w = sample_w(*generator, key, _AT_ONCE)
    w = w if w.ndim == 2 else w[:, 0]
    average = jnp.asarray(networks.encoder.latent_avg)
    mean = average if average.ndim == 1 else average.mean(0)
    codes = to_wplus(mean + psi * (w - mean), generator.module.num_styles)
    drawn: dict[int, Array] = {}

    def record(side: int, features: Array) -> Array:
        drawn[side] = features
        return features

    size = min(generator.module.resolution, max(networks.settings.map_size, max(sides)))
    pictures = generator(codes, size=size, after_up=record, method="synthesis")
    maps = encoder_maps(networks, pictures.clip(-1, 1))
    return [_products(drawn[side], features) for side, features in zip(sides, maps, strict=True)]


def _products(x: Float[Array, "b h w c"], y: Float[Array, "b h w d"]) -> tuple[Array, Array, Array]:
    """x'x, y'y and x'y over all places, after subtracting every picture's own mean."""
    x, y = (
        (z - z.mean((1, 2), keepdims=True)).reshape(-1, z.shape[-1]) / np.sqrt(z.size / z.shape[-1])
        for z in (x, y)
    )
    return x.T @ x, y.T @ y, x.T @ y


def canonical(
    xx: Float[np.ndarray, "c c"], yy: Float[np.ndarray, "d d"], xy: Float[np.ndarray, "c d"]
) -> tuple[Float[np.ndarray, "c k"], Float[np.ndarray, "d k"]]:
    """Canonical correlation analysis: matrices A and B for which xA and yB correlate best.

    Args:
        xx: second moments of x.
        yy: second moments of y.
        xy: mixed second moments.

    Returns:
        A and B, whose columns are sorted by correlation; k = min(c, d).
    """
    left, right = _whitening(np.asarray(xx, np.float64)), _whitening(np.asarray(yy, np.float64))
    u, _, v = np.linalg.svd(left @ np.asarray(xy, np.float64) @ right, full_matrices=False)
    return (left @ u).astype(np.float32), (right @ v.T).astype(np.float32)


def _whitening(moments: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(moments)
    return vectors / np.sqrt(np.maximum(values, 0) + RIDGE * values.mean()) @ vectors.T


def _biased(network: dict[str, Any], mask: float) -> dict[str, Any]:
    """Sets the bias of an alignment network's mask, whose initial value is sigmoid(mask)."""
    last = network["block_1"]
    shortcut = {**last["shortcut"], "bias": last["shortcut"]["bias"].at[2].set(mask)}
    return {**network, "block_1": {**last, "shortcut": shortcut}}


def _filled(kernel: Array, columns: Float[np.ndarray, "c k"]) -> Array:
    """Replaces the first columns of a kernel, as many as there are, and keeps the others."""
    count = min(kernel.shape[1], columns.shape[1])
    return jnp.concatenate([jnp.asarray(columns[:, :count]), kernel[:, count:]], axis=1)
