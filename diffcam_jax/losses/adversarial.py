"""Adversarial losses and regularisers of StyleGAN2, as pure functions; unweighted.

Logits are [b, 1] or [b], positive for a real picture; pictures [b, h, w, 3] RGB in [-1, 1].
Networks are passed in as functions.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def nonsaturating_loss(fake: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """The generator's loss for each generated picture, softplus(-logit).

    Args:
        fake: the discriminator's logits of generated pictures.

    Reference:
        Goodfellow et al., Generative Adversarial Networks (1406.2661), section 3.
    """
    return jax.nn.softplus(-fake)


def logistic_loss(
    real: Float[Array, "*batch"], fake: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """The discriminator's loss for each pair of a real and a generated picture.

    Args:
        real: the discriminator's logits of real pictures.
        fake: its logits of generated pictures.

    Reference:
        Goodfellow et al., Generative Adversarial Networks (1406.2661), eq. 1.
    """
    return jax.nn.softplus(-real) + jax.nn.softplus(fake)


def r1_penalty(
    discriminator: Callable[[Float[Array, "b h w 3"]], Array], images: Float[Array, "b h w 3"]
) -> Float[Array, " b"]:
    """Squared norm of the gradient of the summed logits with respect to each real picture.

    It is weighted with gamma / 2.

    Args:
        discriminator: pictures -> logits. If it compares the samples of a batch, so does the
            gradient.
        images: real pictures.

    Reference:
        Mescheder et al., Which Training Methods for GANs do actually Converge? (1801.04406), eq. 9.
    """
    gradient = jax.grad(lambda x: discriminator(x).sum())(images)
    return (gradient**2).sum((1, 2, 3))


class PathLength(NamedTuple):
    """Result of `path_length_penalty`.

    Attributes:
        penalty: [b].
        lengths: [b].
        mean: the new running mean, which carries no gradient.
    """

    penalty: Float[Array, " b"]
    lengths: Float[Array, " b"]
    mean: Float[Array, ""]


def path_length_penalty(
    synthesis: Callable[[Float[Array, "b n k"]], Float[Array, "b h w 3"]],
    codes: Float[Array, "b n k"],
    noise: Float[Array, "b h w 3"],
    mean: Float[Array, ""] | float,
    decay: float = 0.01,
) -> PathLength:
    """Squared deviation of the path length (change of the picture per step in W+) from its mean.

    Args:
        synthesis: W+ codes -> pictures.
        codes: W+ codes, one w repeated for each layer.
        noise: standard normal, of the pictures' shape: the random direction in which the change is
            measured.
        mean: running mean of the lengths, 0 at the start.
        decay: weight of the new lengths in it.

    Reference:
        Karras et al., Analyzing and Improving the Image Quality of StyleGAN (1912.04958), eq. 4.
    """
    direction = noise / math.sqrt(noise.shape[1] * noise.shape[2])
    gradient = jax.grad(lambda codes: (synthesis(codes) * direction).sum())(codes)
    lengths = jnp.sqrt((gradient**2).sum(2).mean(1))
    new_mean = mean + decay * (lengths.mean() - mean)
    return PathLength((lengths - new_mean) ** 2, lengths, jax.lax.stop_gradient(new_mean))
