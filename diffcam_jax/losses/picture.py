"""Losses (pred, target) -> [b]: one value per picture, unweighted, not averaged over the batch.

Pictures are float32 [b, h, w, 3] RGB in [-1, 1]. Networks are passed in as functions, so nothing
here holds parameters.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.lpips import Trunk, lpips_distance, lpips_features
from diffcam_jax.ops.image import IMAGENET_MEAN, IMAGENET_STD


def mse(pred: Float[Array, "b h w c"], target: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Mean squared error over pixels and channels."""
    return ((pred - target) ** 2).mean((1, 2, 3))


def perceptual(
    pred: Float[Array, "b h w 3"], target: Float[Array, "b h w 3"], trunk: Trunk
) -> Float[Array, " b"]:
    """Mean squared error of a trunk's features, summed over its taps.

    Args:
        pred: RGB in [-1, 1].
        target: RGB in [-1, 1].
        trunk: ImageNet-normalised picture -> features. The deghosting network is trained with
            VGG16's conv4_3, weight 0.01.
    """
    mean, std = jnp.asarray(IMAGENET_MEAN), jnp.asarray(IMAGENET_STD)
    ours, theirs = (trunk(((image + 1) / 2 - mean) / std) for image in (pred, target))
    return sum((mse(a, b) for a, b in zip(ours, theirs, strict=True)), jnp.zeros(pred.shape[0]))


def lpips(
    pred: Float[Array, "b h w 3"],
    target: Float[Array, "b h w 3"],
    trunk: Trunk,
    heads: Sequence[Array],
) -> Float[Array, " b"]:
    """LPIPS of two pictures; see `lpips_features` and `lpips_distance`."""
    return lpips_distance(lpips_features(pred, trunk), lpips_features(target, trunk), heads)


def identity_distance(
    embedding_a: Float[Array, "b k"], embedding_b: Float[Array, "b k"]
) -> Float[Array, " b"]:
    """One minus the cosine between two faces' embeddings.

    Args:
        embedding_a: from `ArcFace`; need not have unit length.
        embedding_b: likewise.

    Returns:
        [b], 0 for the same direction, 2 for opposite ones.
    """
    lengths = jnp.linalg.norm(embedding_a, axis=-1) * jnp.linalg.norm(embedding_b, axis=-1)
    return 1 - (embedding_a * embedding_b).sum(-1) / lengths
