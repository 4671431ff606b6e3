"""LPIPS v0.1 of pairs of pictures (Zhang et al., arXiv 1801.03924), lower is nearer.

Published numbers differ in the trunk and in the size of the pictures: say both. The pSp family
compares at 256 pixels.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from diffcam_jax.errors import UserError
from diffcam_jax.metrics.batches import Batched, Pictures, to_square
from diffcam_jax.nn.lpips import TRUNKS
from diffcam_jax.nn.network import Network
from diffcam_jax.pretrained import networks as pretrained

STORED = ("alex", "vgg")
SMALLEST = 32


class Lpips:
    """Perceptual distance of pairs.

    Args:
        net: trunk, "alex", "vgg" or "squeeze". The first is what evaluations usually report, the
            second what the GANInverter benchmark and losses use.
        size: both pictures are brought to size x size: area mean when shrinking, bilinear when
            growing. None compares pictures as they are, which compiles one program for every size.
        devices: None takes all of this process.
        weights: folder that `python -m convert_weights lpips` wrote; None takes the stored parts,
            which lack "squeeze".
        batch: pairs for one device at a time.

    Raises:
        UserError: an unknown net, no weights for it, or a size below 32.
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
                f"LPIPS needs pictures of {SMALLEST} pixels at least; a size of {size} was asked "
                "for"
            )
        module, variables = _network(net, weights)
        prepare = _unit if size is None else lambda images: to_square(images, size)
        self._run = Batched(module.apply, variables, prepare, devices, batch)

    def __call__(self, a: Pictures, b: Pictures) -> Float[np.ndarray, " n"]:
        """The distance of every pair.

        Args:
            a, b: uint8 RGB pictures [n, h, w, 3], or iterables of [h, w, 3] whose sizes may differ
                when `size` is given.

        Raises:
            UserError: different numbers of pictures, or something that is none.
        """
        return self._run(a, b)


def _network(net: str, folder: str | Path | None) -> Network:
    if net not in TRUNKS:
        raise UserError(f"LPIPS has no net {net!r}; there are {', '.join(TRUNKS)}")
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


def _unit(images: UInt8[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    return images.astype(jnp.float32) / 127.5 - 1
