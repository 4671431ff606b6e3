"""Convolutions by their definition, one sample at a time, and standard normal inputs for tests."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.signal import correlate

BLUR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16


def normal_variables(model, *inputs, **kwargs):
    """Everything standard normal, as official weights are stored."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs, **kwargs))
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), jnp.float32), shapes
    )


def field(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def convolved(x: np.ndarray, kernel: np.ndarray, pad: int) -> np.ndarray:
    """One sample [h, w, c] with one kernel [k, k, c, d]; torch's convention (a correlation)."""
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    planes = [
        sum(correlate(x[..., c], kernel[..., c, d], "valid") for c in range(x.shape[2]))
        for d in range(kernel.shape[3])
    ]
    return np.stack(planes, -1)


def transposed(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Stride-2 transposed convolution of one sample, by its definition."""
    h, w, _ = x.shape
    y = np.zeros((2 * h + 1, 2 * w + 1, kernel.shape[3]))
    for i in range(3):
        for j in range(3):
            y[i : i + 2 * h : 2, j : j + 2 * w : 2] += x @ kernel[i, j]
    return y


def blurred(x: np.ndarray) -> np.ndarray:
    x = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    return np.stack([correlate(x[..., c], BLUR, "valid") for c in range(x.shape[2])], -1)
