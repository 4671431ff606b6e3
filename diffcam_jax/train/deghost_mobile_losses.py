"""The losses of the small deghosting network.

Mask and blend are those of the product (`editor.PRODUCT_CONFIG`), made on the device from the raw
mask: after a change of them the network is to be trained again, on the same data. Losses count the
region that the result is pasted into (`EditConfig.paste`), and the rest with config.outside:

    pixel    absolute error, smooth near zero, weighted by the region
    lpips    LPIPS-Alex of a square of config.crop pixels around the mask, of the result pasted into
             the truth
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.editing.compose import blend, refine
from diffcam_jax.editor.editor import PRODUCT_CONFIG
from diffcam_jax.nn.mobile_deghosting import MobileDeghoster, Views
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import to_unit
from diffcam_jax.train.state import Batch, Metrics, TrainState

ROUNDING = 0.01  # of the absolute error, in the range of 2


class Losses:
    """The losses of the network, and the restored pictures that they look at.

    Args:
        config: the whole configuration.
        deghoster: the module.
        generator: the module of the prior.
        lpips: its network; None leaves it out.
    """

    def __init__(
        self, config: ConfigDict, deghoster: MobileDeghoster, generator: Any, lpips: Network | None
    ) -> None:
        self._config, self._lpips = config, lpips
        self._deghoster, self._generator = deghoster, generator

    def views(self, batch: Batch) -> tuple[Views, Float[Array, "b s s 3"], Float[Array, "b s s"]]:
        """Returns the inputs of the network, the truth, and the region that is pasted."""
        original, inverted, edited, truth = (
            to_unit(batch[name]) for name in ("original", "inverted", "edited", "truth")
        )
        found, config = batch["mask"].astype(jnp.float32) / 255, PRODUCT_CONFIG
        mask = refine(found, config.mask)
        views = Views(
            blend(original, edited.clip(-1, 1), mask),
            original,
            inverted,
            edited,
            mask,
            batch["code"],
        )
        return views, truth, refine(mask, config.paste)

    def restore(self, state: TrainState, params: Any, views: Views) -> Float[Array, "b s s 3"]:
        """Restores pictures."""
        return self._deghoster.apply(
            {"params": params}, views, self._generator, state.nets["generator"].variables
        )

    def distance(
        self, state: TrainState, a: Float[Array, "b s s 3"], b: Float[Array, "b s s 3"]
    ) -> Float[Array, " b"]:
        """LPIPS of pictures."""
        return self._lpips.module.apply(state.nets["lpips"].variables, a, b)

    def loss(
        self, state: TrainState, params: Any, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Array, tuple[Metrics, dict]]:
        """The weighted sum of the losses, a mean over the batch; nothing in it is random."""
        config = self._config
        views, truth, region = self.views(batch)
        restored = self.restore(state, params, views)
        error = (jnp.sqrt((restored - truth) ** 2 + ROUNDING**2) - ROUNDING).mean(-1)
        metrics = {"pixel": (error * (region + config.outside)).mean()}
        total = config.loss.pixel * metrics["pixel"]
        if self._lpips is not None:
            pasted = blend(truth, restored, region)
            pair = cropped(
                jnp.concatenate([pasted, truth], -1), region, min(config.crop, truth.shape[1])
            )
            metrics["lpips"] = self.distance(state, *jnp.split(pair, 2, axis=-1)).mean()
            total += config.loss.lpips * metrics["lpips"]
        return total, (metrics, {})


def cropped(
    x: Float[Array, "b h h c"], mask: Float[Array, "b h h"], side: int
) -> Float[Array, "b s s c"]:
    """Cuts a square out of every picture, around the centre of mass of its mask."""
    size = x.shape[1]
    places, whole = jnp.arange(size, dtype=jnp.float32), jnp.maximum(mask.sum((1, 2)), 1e-6)
    centres = ((mask.sum(3 - axis) @ places) / whole for axis in (1, 2))
    rows, columns = (
        jnp.clip(centre - side / 2, 0, size - side).astype(jnp.int32) for centre in centres
    )
    return jax.vmap(lambda y, i, j: jax.lax.dynamic_slice(y, (i, j, 0), (side, side, y.shape[-1])))(
        x, rows, columns
    )


def psnr_inside(
    found: Float[Array, "b h w 3"], truth: Float[Array, "b h w 3"], region: Float[Array, "b h w"]
) -> Float[Array, " b"]:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1], with pixels weighted by a region.

    NaN where the region is empty.
    """
    error = ((found - truth) ** 2).mean(-1)
    return 10 * jnp.log10(4 * region.sum((1, 2)) / (error * region).sum((1, 2)))
