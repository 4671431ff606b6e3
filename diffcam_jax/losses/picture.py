"""Losses: (pred, target) -> [b], one value per picture, unweighted and not averaged over the batch.

Pictures float32 [b, h, w, 3] RGB in [-1, 1]. Networks are passed in as functions, so nothing here holds parameters.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.ops.image import IMAGENET_MEAN, IMAGENET_STD

# LPIPS v0.1: ImageNet's mean and standard deviation, expressed for pictures in [-1, 1].
LPIPS_SHIFT = (-0.030, -0.088, -0.188)
LPIPS_SCALE = (0.458, 0.448, 0.450)
LPIPS_EPSILON = 1e-10

Trunk = Callable[[Float[Array, "b h w 3"]], Sequence[Array]]


def mse(pred: Float[Array, "b h w c"], target: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Mean squared error over pixels and channels."""
    return ((pred - target) ** 2).mean((1, 2, 3))


def perceptual(pred: Float[Array, "b h w 3"], target: Float[Array, "b h w 3"], trunk: Trunk) -> Float[Array, " b"]:
    """Mean squared error of a trunk's features, summed over its taps.

    Args:
        pred, target: RGB in [-1, 1].
        trunk: ImageNet-normalised picture -> features. The deghosting network is trained with VGG16's conv4_3, weight 0.01.
    """
    mean, std = jnp.asarray(IMAGENET_MEAN), jnp.asarray(IMAGENET_STD)
    ours, theirs = (trunk(((image + 1) / 2 - mean) / std) for image in (pred, target))
    return sum((mse(a, b) for a, b in zip(ours, theirs, strict=True)), jnp.zeros(pred.shape[0]))


def lpips_features(image: Float[Array, "b h w 3"], trunk: Trunk) -> tuple[Array, ...]:
    """A trunk's features, each scaled to unit length over the channels.

    Args:
        image: RGB in [-1, 1].
        trunk: normalised picture -> features at the taps, in the order of the heads.

    Returns:
        One [b, h_k, w_k, c_k] per tap. The target's can be computed once and kept.
    """
    features = trunk((image - jnp.asarray(LPIPS_SHIFT)) / jnp.asarray(LPIPS_SCALE))
    return tuple(_unit(feature) for feature in features)


def _unit(feature: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    squares = (feature**2).sum(-1, keepdims=True)
    # Where all features are zero the root has no gradient: keep it away from 0 there, the quotient stays 0.
    norm = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)
    return feature / (norm + LPIPS_EPSILON)


def lpips_distance(pred: Sequence[Array], target: Sequence[Array], heads: Sequence[Array]) -> Float[Array, " b"]:
    """LPIPS between two sets of unit-length features.

    Args:
        pred, target: from `lpips_features`.
        heads: one non-negative [c_k] per tap.

    Returns:
        [b], the sum over taps of the spatial mean of the weighted squared differences.

    Reference:
        Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (1801.03924), eq. 1.
    """
    total = jnp.zeros(pred[0].shape[0])
    for a, b, head in zip(pred, target, heads, strict=True):
        total = total + ((a - b) ** 2 @ head).mean((1, 2))
    return total


def lpips(
    pred: Float[Array, "b h w 3"], target: Float[Array, "b h w 3"], trunk: Trunk, heads: Sequence[Array]
) -> Float[Array, " b"]:
    """LPIPS of two pictures; see `lpips_features` and `lpips_distance`."""
    return lpips_distance(lpips_features(pred, trunk), lpips_features(target, trunk), heads)


def identity_distance(embedding_a: Float[Array, "b k"], embedding_b: Float[Array, "b k"]) -> Float[Array, " b"]:
    """One minus the cosine between two faces' embeddings.

    Args:
        embedding_a, embedding_b: from `ArcFace`; other lengths than 1 are allowed.

    Returns:
        [b], 0 for the same direction, 2 for opposite ones.
    """
    lengths = jnp.linalg.norm(embedding_a, axis=-1) * jnp.linalg.norm(embedding_b, axis=-1)
    return 1 - (embedding_a * embedding_b).sum(-1) / lengths
