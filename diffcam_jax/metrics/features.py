"""Inception-V3 features of pictures, on which FID, KID, precision and recall are based.

The weights are those of 2015 that define FID; the resize to 299x299 is bilinear without
antialiasing, as in the PyTorch port (`nn.inception.fid_resize`), so distances are comparable with
published ones. Source: Heusel et al., arXiv 1706.08500.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from diffcam_jax.metrics.batches import Batched, Pictures
from diffcam_jax.nn.inception import FEATURES, fid_resize
from diffcam_jax.pretrained import networks as pretrained


class InceptionFeatures:
    """The pooled features of pictures of any size.

    Args:
        devices: None uses all devices of this process.
        batch: pictures per device at a time.

    Raises:
        UserError: the weights are neither cached nor can they be fetched.
    """

    def __init__(self, devices: Sequence[jax.Device] | None = None, batch: int = 8) -> None:
        module, variables = pretrained.load("inception").network("inception")
        self._run = Batched(lambda v, x: module.apply(v, x)[0], variables, _resized, devices, batch)

    def __call__(self, pictures: Pictures) -> Float[np.ndarray, "n 2048"]:
        """The features of pictures.

        Args:
            pictures: uint8 RGB [n, h, w, 3], or any iterable of [h, w, 3] whose sizes may differ.

        Raises:
            UserError: something else is among them.
        """
        return self._run(pictures).reshape(-1, FEATURES)


def _resized(images: UInt8[Array, "b h w 3"]) -> Float[Array, "b 299 299 3"]:
    # In [0, 1] first, as in the port, which gives the same rounding.
    return 2 * fid_resize(images.astype(jnp.float32) / 255) - 1
