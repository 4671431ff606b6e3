"""Coarse features of pictures: cheap, without a network, and no substitute for Inception's.

Distances of these features compare stages of one training, or test a protocol. Pictures are uint8
RGB with sides of at least 8 pixels.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from diffcam_jax.metrics.batches import Batched, Pictures
from diffcam_jax.ops.image import resize

FEATURES = 224


def thumbnail_features(images: UInt8[Array, "b h w 3"]) -> Float[Array, "b 224"]:
    """The coarse colours of a picture, and the positions of its detail.

    Returns:
        [b, 224]: mean colour of 8x8 cells, then the mean contrast of the lightness between
        neighbours, across and down, in 4x4 cells; both relative to the full range.
    """
    x = images.astype(jnp.float32) / 255
    grey = x.mean(-1, keepdims=True)
    across, down = jnp.abs(jnp.diff(grey, axis=2)), jnp.abs(jnp.diff(grey, axis=1))
    parts = [
        resize(x, (8, 8), "area"),
        *(resize(edges, (4, 4), "area") for edges in (across, down)),
    ]
    return jnp.concatenate([part.reshape(len(x), -1) for part in parts], 1)


class ThumbnailFeatures:
    """The features of any number of pictures; arguments as for `InceptionFeatures`."""

    def __init__(self, devices: Sequence[jax.Device] | None = None, batch: int = 8) -> None:
        self._run = Batched(lambda _, features: features, {}, thumbnail_features, devices, batch)

    def __call__(self, pictures: Pictures) -> Float[np.ndarray, "n 224"]:
        """The features of uint8 RGB pictures [n, h, w, 3], or of any iterable of [h, w, 3]."""
        return self._run(pictures).reshape(-1, FEATURES)
