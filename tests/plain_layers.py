"""The few layers that a network is made of, in float64 NumPy and by their definition: independent
answers for tests.
"""

import numpy as np


def conv(x, kernel):
    """[b, h, w, c] with an odd HWIO kernel, zero padding, stride 1."""
    reach = kernel.shape[0] // 2
    padded = np.pad(x.astype(np.float64), ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    h, w = x.shape[1:3]
    taps = [(i, j) for i in range(kernel.shape[0]) for j in range(kernel.shape[1])]
    return sum(padded[:, i : i + h, j : j + w] @ kernel[i, j] for i, j in taps)


def leaky(x, slope=0.2):
    return np.where(x > 0, x, slope * x)


def batch_norm(x, params, stats, epsilon=1e-5):
    """With stored statistics; params may lack the scale."""
    normal = (x - stats["mean"]) / np.sqrt(stats["var"] + epsilon)
    return normal * params.get("scale", 1.0) + params["bias"]


def repeat2(x):
    """Every pixel becomes a 2x2 block."""
    return x.repeat(2, 1).repeat(2, 2)


def block_mean2(x):
    """Means of 2x2 blocks."""
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
