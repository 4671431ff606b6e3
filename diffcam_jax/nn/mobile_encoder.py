"""A small encoder into W+: MobileNetV2, a feature pyramid, one w, and low-rank offsets of the rows.

Pictures are NHWC RGB in [-1, 1] at a side divisible by 32; codes are offsets from the average code,
[b, n, k]. Heads read maps on a fixed grid, so that parameters trained at one side can be trained
further at another. The rows are one w, plus an offset that a level of the pyramid adds to all of
its rows, plus a correction of few coefficients for each row: near W, where edits work (Tov et al.,
arXiv 2102.02766), by construction and not by a loss alone.

The arrangement is this project's; levels and their rows are those of pSp (arXiv 2008.00951), the
body is MobileNetV2 (arXiv 1801.04381).
"""

import itertools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.mobilenet_v2 import ROWS, STEM_WIDTH, MobileNetV2
from diffcam_jax.nn.psp import COARSE_ROWS, MIDDLE_ROWS
from diffcam_jax.nn.resnet import Pointwise
from diffcam_jax.ops.image import resize

SLOPE = 0.2


class Reader(nn.Module):
    """Features of a whole map with separate weights for every position: faces are aligned.

    Attributes:
        features: length of the result.
        channels: to which every cell is reduced first.
        grid: cells along a side.
    """

    features: int
    channels: int
    grid: int

    def setup(self) -> None:
        """Creates the layers."""
        self.reduce, self.norm = Pointwise(self.channels), nn.BatchNorm(momentum=0.9, epsilon=1e-5)
        self.dense = nn.Dense(self.features)

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b f"]:
        """Feature vectors [b, features]; `train` normalises by batch statistics."""
        x = nn.leaky_relu(self.norm(self.reduce(x), not train), SLOPE)
        x = resize(x, (self.grid, self.grid), "area" if x.shape[1] > self.grid else "bilinear")
        return nn.leaky_relu(self.dense(x.reshape(len(x), -1)), SLOPE)


class Level(nn.Module):
    """The offsets of one pyramid level: a common one, and low-rank ones in a shared basis."""

    rows: int
    width: int
    rank: int

    def setup(self) -> None:
        """Creates the layers."""
        small = nn.initializers.normal(0.01)
        self.common = nn.Dense(self.width, kernel_init=small)
        self.coefficients = nn.Dense(self.rows * self.rank)
        self.basis = nn.Dense(self.width, use_bias=False, kernel_init=small)

    def __call__(self, features: Float[Array, "b f"]) -> Float[Array, "b n k"]:
        """Offsets [b, rows, width] from the features of a reader."""
        coefficients = self.coefficients(features).reshape(-1, self.rows, self.rank)
        return self.common(features)[:, None] + self.basis(coefficients)


class MobileEncoder(nn.Module):
    """The encoder.

    Attributes:
        n_styles: rows of W+; 2 log2(size of the generator) - 2.
        size: side of the pictures.
        width: length of a row.
        channels: of the pyramid.
        features: of each level's reader.
        reduced: channels of a reader's cells.
        grid: cells along a side of a reader.
        rank: coefficients of a row.
        stem: see `MobileNetV2`.
        rows: see `MobileNetV2`.
        frozen: see `MobileNetV2`.
    """

    n_styles: int = 18
    size: int = 256
    width: int = 512
    channels: int = 128
    features: int = 320
    reduced: int = 40
    grid: int = 8
    rank: int = 48
    stem: int = STEM_WIDTH
    rows: Sequence[tuple[int, int, int, int]] = ROWS
    frozen: int = 0

    def setup(self) -> None:
        """Creates the layers."""
        self.body = MobileNetV2(self.stem, self.rows, self.frozen)
        self.lateral = [nn.Dense(self.channels) for _ in range(3)]
        self.reader = [Reader(self.features, self.reduced, self.grid) for _ in range(3)]
        bounds = [
            min(bound, self.n_styles) for bound in (0, COARSE_ROWS, MIDDLE_ROWS, self.n_styles)
        ]
        counts = [after - before for before, after in itertools.pairwise(bounds)]
        self.level = [Level(count, self.width, self.rank) for count in counts if count]
        self.base = nn.Dense(self.width, kernel_init=nn.initializers.normal(0.01))

    def __call__(
        self, images: Float[Array, "b h w 3"], train: bool = False
    ) -> Float[Array, "b n k"]:
        """Offsets of the W+ code from the average.

        Args:
            images: RGB in [-1, 1].
            train: normalise by batch statistics (make "batch_stats" mutable), not stored ones.
        """
        x, read = None, []
        for features, lateral, reader in zip(
            self.body(images, train)[::-1], self.lateral, self.reader, strict=True
        ):
            side = lateral(features)
            x = side if x is None else side + x.repeat(2, 1).repeat(2, 2)
            read.append(reader(x, train))
        base = self.base(jnp.concatenate(read, axis=-1))
        offsets = jnp.concatenate([level(f) for level, f in zip(self.level, read)], axis=1)
        return base[:, None] + offsets
