"""The encoders of ReStyle, which correct a code from the picture and its reconstruction.

Input [b,256,256,6]: picture and current reconstruction, RGB in [-1,1] each. All rows of W+ are read
from the last features. The loop itself is `encoding.restyle_loop`.

Source: Alaluf et al., ReStyle (2104.02699).
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.irse import COUNTS, IRSE, WIDTHS, PReLU, norm
from diffcam_jax.nn.psp import BODY_STRIDE, Map2Style
from diffcam_jax.nn.resnet import BasicBlock, StemConv


def _rows(codes: list[Float[Array, "b k"]], progressive: bool) -> Float[Array, "b n k"]:
    if progressive:
        codes = codes[:1] + [codes[0] + delta for delta in codes[1:]]
    return jnp.stack(codes, axis=1)


class BackboneEncoder(nn.Module):
    """ReStyle on the IR-SE body, for faces.

    Attributes:
        n_styles: rows of W+.
        progressive: whether the rows after the first are deltas from it, as in ReStyle's e4e
            variant.
        size: longer side of the pictures, which sets the depth of the heads.
        width: length of a row.
        counts: see `IRSE`.
        widths: see `IRSE`.
        squeeze: see `IRSE`.
        channels: of the heads; None takes `width`, as in the official ones.
    """

    n_styles: int = 18
    progressive: bool = False
    size: int = 256
    width: int = 512
    counts: Sequence[int] = COUNTS
    widths: Sequence[int] = WIDTHS
    squeeze: int | None = 16
    channels: int | None = None

    def setup(self) -> None:
        """Creates the layers."""
        self.body = IRSE(self.counts, self.widths, self.squeeze)
        halvings = int(math.log2(self.size // BODY_STRIDE))
        self.styles = [Map2Style(self.width, halvings, self.channels) for _ in range(self.n_styles)]

    def __call__(
        self, images: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b n k"]:
        """Correction of the W+ code.

        `train` normalises by batch statistics (make "batch_stats" mutable).
        """
        x = self.body(images, train)[-1]
        return _rows([head(x) for head in self.styles], self.progressive)


class ResNetBackboneEncoder(nn.Module):
    """ReStyle for other things than faces: ResNet-34 with a PReLU after the stem and no max pool.

    Attributes:
        n_styles: see `BackboneEncoder`.
        progressive: see `BackboneEncoder`.
        size: see `BackboneEncoder`.
        width: see `BackboneEncoder`.
        counts: basic blocks of the four stages.
        widths: channels of the four stages; the stem has those of the first.
        channels: see `BackboneEncoder`.
    """

    n_styles: int = 18
    progressive: bool = False
    size: int = 256
    width: int = 512
    counts: Sequence[int] = (3, 4, 6, 3)
    widths: Sequence[int] = WIDTHS
    channels: int | None = None

    def setup(self) -> None:
        """Creates the layers."""
        self.conv1, self.bn1, self.prelu = StemConv(self.widths[0]), norm(), PReLU()
        blocks, before = [], self.widths[0]
        for stage, (count, width) in enumerate(zip(self.counts, self.widths, strict=True)):
            blocks.append(BasicBlock(width, 1 if stage == 0 else 2, stage > 0 or before != width))
            blocks += [BasicBlock(width) for _ in range(count - 1)]
            before = width
        self.body = blocks
        halvings = int(math.log2(self.size // BODY_STRIDE))
        self.styles = [Map2Style(self.width, halvings, self.channels) for _ in range(self.n_styles)]

    def __call__(
        self, images: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b n k"]:
        """Correction of the W+ code.

        `train` normalises by batch statistics (make "batch_stats" mutable).
        """
        x = self.prelu(self.bn1(self.conv1(images), not train))
        for block in self.body:
            x = block(x, train)
        return _rows([head(x) for head in self.styles], self.progressive)
