"""What keeps a StyleGAN2 of few pictures from drawing the same one again and again.

An encoder of the same width is trained along, whose codes the generator has to draw as the real
pictures they were found for: what the generator can draw then covers the pictures from the first
steps on. The mapping follows the codes, so that random codes are like those of pictures:

    l2, lpips    of a real picture and what the generator draws of its code
    spread       energy distance of random codes from codes of pictures, along random axes

Sources: Larsen et al., Autoencoding beyond pixels using a learned similarity metric (1512.09300),
of the encoder; Kolouri et al., Sliced-Wasserstein Autoencoder (1804.01947), of random axes; Szekely
and Rizzo, Energy statistics (2013), of the distance. The mapping's own rate is this project's.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from diffcam_jax.nn.latents import to_wplus
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan2_discriminator import StyleGAN2Discriminator
from diffcam_jax.train.lazy_adam import lazy_adam
from diffcam_jax.train.state import Batch, Metrics, TrainState
from diffcam_jax.train.stylegan2_losses import Losses

AXES = 256
DRAWN = 4  # random codes for each code of a picture
# The mapping's layers are scaled down a hundredfold; without an anchor they hardly have to move.
MAPPING_RATE = 30.0
ALONE_RATE = 5.0  # times the usual rate, and with momentum, while there is no discriminator


@dataclasses.dataclass(frozen=True)
class Anchor:
    """The losses of generator and encoder, whose parameters are {"generator", "anchor"}.

    Attributes:
        losses: of the generator without an anchor.
        weight: of the reconstruction beside the generator's own loss.
        lpips: its weight relative to that of L2, and its network; None leaves it out.
        lpips_weight: see above.
    """

    losses: Losses
    weight: float
    lpips: Network | None
    lpips_weight: float

    @property
    def encoder(self) -> StyleGAN2Discriminator:
        """Its module; a picture's code depends on no other picture."""
        generator = self.losses.generator
        return StyleGAN2Discriminator(generator.widths, group=1, outputs=generator.latent_size)

    def loss(
        self, state: TrainState, params: Any, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], tuple[Metrics, dict]]:
        """Reconstruction of real pictures, and distance of random codes from theirs."""
        noise, draw, axes = jax.random.split(key, 3)
        real, generator = self.losses.reals(batch), self.losses.generator
        codes = self.encoder.apply({"params": params["anchor"]}, real)
        drawn = self.losses.draw(params["generator"], to_wplus(codes, generator.num_styles), noise)
        metrics = {"l2": jnp.mean((drawn - real) ** 2)}
        total = metrics["l2"]
        if self.lpips is not None:
            far = self.lpips.module.apply(state.nets["lpips"].variables, drawn, real)
            metrics["lpips"] = far.mean()
            total += self.lpips_weight * metrics["lpips"]
        z = jax.random.normal(draw, (DRAWN * len(real), generator.latent_size))
        random = generator.apply({"params": params["generator"]}, z, method="mapping")
        metrics["spread"] = energy_distance(axes, random, jax.lax.stop_gradient(codes))
        return self.weight * (total + metrics["spread"]), (metrics, {})


def energy_distance(
    key: PRNGKeyArray, a: Float[Array, "m k"], b: Float[Array, "n k"]
) -> Float[Array, ""]:
    """Energy distance of two samples along random axes; unbiased, 0 for equal distributions.

    Args:
        key: of the axes.
        a: two vectors or more.
        b: two vectors or more.
    """
    axes = jax.random.normal(key, (a.shape[1], AXES))
    axes /= jnp.linalg.norm(axes, axis=0)
    x, y = a @ axes, b @ axes

    def among(p: Array, q: Array) -> Array:
        return jnp.abs(p[:, None] - q[None]).mean(-1).sum()

    m, n = len(x), len(y)
    between = 2 * among(x, y) / (m * n)
    return between - among(x, x) / (m * (m - 1)) - among(y, y) / (n * (n - 1))


class Optimisers(NamedTuple):
    """Of generator and encoder; without the discriminator beside them they learn faster.

    The states of one network's two are interchangeable.
    """

    generator: optax.GradientTransformation
    encoder: optax.GradientTransformation
    generator_alone: optax.GradientTransformation
    encoder_alone: optax.GradientTransformation


def anchor_optimisers(rate: float, path_every: int) -> Optimisers:
    """Creates them.

    Args:
        rate: of the generator without an anchor.
        path_every: see `lazy_adam`.
    """
    fast = ALONE_RATE * rate

    def generator(rate: float, mapping: float, every: int, betas: tuple[float, float]) -> Any:
        return optax.multi_transform(
            {"rest": lazy_adam(rate, every, betas), "mapping": lazy_adam(mapping, every, betas)},
            lambda params: {n: "mapping" if n.startswith("dense") else "rest" for n in params},
        )

    return Optimisers(
        generator(rate, MAPPING_RATE * rate, path_every, (0.0, 0.99)),
        lazy_adam(rate, 0, (0.0, 0.99)),
        generator(fast, MAPPING_RATE * rate, 0, (0.9, 0.99)),
        lazy_adam(fast, 0, (0.9, 0.99)),
    )
