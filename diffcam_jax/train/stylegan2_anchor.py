"""What keeps a StyleGAN2 of few pictures from drawing the same one again and again.

A picture's first principal components, whitened, are taken as the first numbers of its z, and the
others drawn at random. The generator, whose mapping at first reads no others, has to draw such
codes as their pictures. Whitened components are distributed as z is, up to second order: what the
generator can draw covers the pictures from the first steps on, and random codes are like those of
pictures.

Source: Bojanowski et al., Optimizing the Latent Space of Generative Networks (1707.05776), whose
codes begin as principal components. That they stay so beside a discriminator is this project's.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from diffcam_jax.nn.latents import to_wplus
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import resize, to_unit
from diffcam_jax.train.state import Batch, Metrics, TrainState
from diffcam_jax.train.stylegan2_losses import Losses
from diffcam_jax.train.trainer import Source

SIDE = 16  # of the thumbnails whose components are taken
COMPONENTS = 64
PICTURES = 2048  # of the first batches, from which they are computed
# Without a discriminator the generator learns at so many times the usual rate, with momentum.
ALONE_RATE, MOMENTUM = 3.0, 0.9


@dataclasses.dataclass(frozen=True)
class Anchor:
    """The anchor's loss; the components are in the state, as "anchor_mean" and "anchor_axes".

    Attributes:
        losses: of the generator without an anchor.
        weight: of the reconstruction beside the generator's own loss.
        lpips: the network; None leaves LPIPS out.
        lpips_weight: weight of LPIPS relative to that of L2.
    """

    losses: Losses
    weight: float
    lpips: Network | None
    lpips_weight: float

    def loss(
        self, state: TrainState, params: Any, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], tuple[Metrics, dict]]:
        """Distance of real pictures from what the generator draws of their codes."""
        noise, rest = jax.random.split(key)
        real, generator = self.losses.reals(batch), self.losses.generator
        found = components(real, state.extra["anchor_mean"], state.extra["anchor_axes"])
        others = generator.latent_size - found.shape[1]
        z = jnp.concatenate([found, jax.random.normal(rest, (len(real), others))], 1)
        w = generator.apply({"params": params}, z, method="mapping")
        drawn = self.losses.draw(params, to_wplus(w, generator.num_styles), noise)
        metrics = {"l2": jnp.mean((drawn - real) ** 2)}
        total = metrics["l2"]
        if self.lpips is not None:
            far = self.lpips.module.apply(state.nets["lpips"].variables, drawn, real)
            metrics["lpips"] = far.mean()
            total += self.lpips_weight * metrics["lpips"]
        return self.weight * total, (metrics, {})


def components(
    images: Float[Array, "b s s 3"], mean: Float[Array, " d"], axes: Float[Array, "d n"]
) -> Float[Array, "b n"]:
    """The whitened components of pictures in [-1, 1], see `principal_axes`."""
    return (_thumbnails(images) - mean) @ axes


def principal_axes(
    images: UInt8[np.ndarray, "m s s 3"], count: int
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d n"]]:
    """The mean thumbnail, and the axes along which thumbnails vary most, for a variance of 1.

    Args:
        images: some hundreds at least.
        count: of axes; fewer where the pictures vary along fewer.
    """
    small = np.asarray(_thumbnails(jnp.asarray(to_unit(images))), np.float64)
    mean = small.mean(0)
    variances, axes = np.linalg.eigh(np.cov(small.T, bias=True))
    largest = [i for i in np.argsort(-variances)[:count] if variances[i] > 1e-9 * variances[-1]]
    whitened = axes[:, largest] / np.sqrt(variances[largest])
    return mean.astype(np.float32), whitened.astype(np.float32)


def axes_of(data: Source, batch_size: int, latent_size: int) -> dict[str, Array]:
    """What the anchor keeps in the state, from the first batches of a run.

    Args:
        data: of the run.
        batch_size: pictures in a batch.
        latent_size: length of z, of which the components are half at most.
    """
    from jax.experimental import multihost_utils

    count = -(-PICTURES // batch_size)
    images = np.concatenate([data[step]["image"] for step in range(count)])
    found = principal_axes(images, min(COMPONENTS, latent_size // 2))
    if jax.process_count() > 1:  # each of them sees other pictures
        found = multihost_utils.broadcast_one_to_all(found)
    return dict(zip(("anchor_mean", "anchor_axes"), map(jnp.asarray, found), strict=True))


def reading(variables: dict[str, Any], count: int) -> dict[str, Any]:
    """Initial variables of a generator whose mapping reads the first numbers of z alone.

    The others would be noise that hides them; the mapping may learn to read them later.
    """
    params = variables["params"]
    kernel = params["dense_0"]["kernel"]
    first = kernel.at[count:].set(0) * math.sqrt(len(kernel) / count)
    dense = {**params["dense_0"], "kernel": first}
    return {**variables, "params": {**params, "dense_0": dense}}


def _thumbnails(images: Float[Array, "b s s 3"]) -> Float[Array, "b d"]:
    side = min(SIDE, images.shape[1])
    return resize(images, (side, side), "area").reshape(len(images), -1)
