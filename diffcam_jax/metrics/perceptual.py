"""LPIPS v0.1 of pairs of pictures (Zhang et al., arXiv 1801.03924); lower is closer.

Published numbers differ in the trunk and in the size of the pictures: report both. The pSp family
compares at 256 pixels.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.metrics.batches import Batched, Pictures, to_square
from diffcam_jax.nn.lpips import TRUNKS
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import to_unit
from diffcam_jax.pretrained import networks as pretrained

STORED = ("alex", "vgg")
SMALLEST = 32


class Lpips:
    """Perceptual distance of pairs.

    Args:
        net: trunk, "alex", "vgg" or "squeeze". The first is what evaluations usually report, the
            second what the GANInverter benchmark and losses use.
        size: both pictures are scaled to size x size: area mean when shrinking, bilinear when
            enlarging. None compares pictures unscaled, which compiles one program for every size.
        devices: None uses all devices of this process.
        weights: folder that `python -m convert_weights lpips` wrote; None takes the stored parts,
            which lack "squeeze".
        batch: pairs per device at a time.

    Raises:
        UserError: the net is unknown or has no weights, or the size is below 32.
    """

    def __init__(
        self,
        net: str = "alex",
        size: int | None = 256,
        devices: Sequence[jax.Device] | None = None,
        weights: str | Path | None = None,
        batch: int = 8,
    ) -> None:
        if size is not None and size < SMALLEST:
            raise UserError(
                f"LPIPS needs pictures of at least {SMALLEST} pixels; a size of {size} was "
                "requested"
            )
        module, variables = _network(net, weights)
        prepare = to_unit if size is None else lambda images: to_square(images, size)
        self._run = Batched(module.apply, variables, prepare, devices, batch)

    def __call__(self, a: Pictures, b: Pictures) -> Float[np.ndarray, " n"]:
        """The distance of every pair.

        Args:
            a: uint8 RGB pictures [n, h, w, 3], or an iterable of [h, w, 3] whose sizes may differ
                when `size` is given.
            b: likewise, as many.

        Raises:
            UserError: the numbers of pictures differ, or something is not a picture.
        """
        return self._run(a, b)


def _network(net: str, folder: str | Path | None) -> Network:
    if net not in TRUNKS:
        raise UserError(f"LPIPS has no net {net!r}; {suggestion(net, TRUNKS)}")
    if folder is None:
        if net not in STORED:
            raise UserError(
                f"no weights of LPIPS {net} are stored; convert them with python -m "
                "convert_weights lpips and give the folder"
            )
        return pretrained.load("lpips").network(f"lpips_{net}")
    network = pretrained.load(folder).network("lpips")
    if network.module.net != net:
        raise UserError(
            f"{folder} holds LPIPS {network.module.net}, not {net}; give the folder of {net}"
        )
    return network
