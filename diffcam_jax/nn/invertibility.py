"""Networks of invertibility decomposition: where to move and where to mask generator features.

At every side of 32, 64, 128 and 256 pixels a module compares the generator's features with an
encoder's and gives an alignment field [b, side, side, 3]: a shift (dx, dy) in normalised units, at
most `scale`, by which the generator's features are warped, and a mask in [0, 1], 1 where the
photograph shows what the generator cannot draw. Maps are NHWC float32, levels go from coarse to
fine. The features are those after the up-convolution to that side (`after_up` of
`StyleGAN2Generator.synthesis` and `MobileStyleGAN.synthesis`).

The defaults are the official ones, oddities included. `align_corners=True`, `normalised=False` and
a small `multiplier` make the variant for the embedded generator.

Source: Out-of-domain GAN Inversion via Invertibility Decomposition (2212.09262).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.e4e import Encoder4Editing
from diffcam_jax.nn.irse import PReLU
from diffcam_jax.nn.psp import COARSE_ROWS, MIDDLE_ROWS
from diffcam_jax.ops.fir import TAPS_1331, fir
from diffcam_jax.ops.warp import resize, shifted

SIDES = (32, 64, 128, 256)


def merge(mask: Float[Array, "*shape"], finer: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Updates a mask by another one: m (1 + n - m), in [0, 1] for masks in [0, 1].

    Args:
        mask: m, of the previous cycle or the coarser level.
        finer: n, which is added to it.
    """
    return jnp.clip(finer * mask + mask * (1 - mask), 0.0, 1.0)


def _instance_norm(affine: bool = True) -> nn.InstanceNorm:
    return nn.InstanceNorm(epsilon=1e-5, use_bias=affine, use_scale=affine, use_fast_variance=False)


class Bottleneck(nn.Module):
    """Instance norm, 3x3 convolution, PReLU, 3x3 convolution and instance norm, added to the input.

    Attributes:
        features: channels of the result; where the input has another number, a 1x1 convolution and
            an instance norm adapt it.
        normalised: False replaces the norms at the end by biases.
    """

    features: int
    normalised: bool = True

    def setup(self) -> None:
        """Creates the layers."""
        bias = not self.normalised
        self.norm1, self.prelu = _instance_norm(), PReLU()
        self.conv1 = nn.Conv(self.features, (3, 3), use_bias=False)
        self.conv2 = nn.Conv(self.features, (3, 3), use_bias=bias)
        self.shortcut = nn.Conv(self.features, (1, 1), use_bias=bias)
        if self.normalised:
            self.norm2, self.shortcut_norm = _instance_norm(), _instance_norm()

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        """Maps features [b, h, w, c] to `features` channels."""
        y = self.conv2(self.prelu(self.conv1(self.norm1(x))))
        y = self.norm2(y) if self.normalised else y
        if x.shape[-1] == self.features:
            return x + y
        x = self.shortcut(x)
        return y + (self.shortcut_norm(x) if self.normalised else x)


class AlignNet(nn.Module):
    """Two maps to a field of shifts and masks.

    Attributes:
        scale: largest shift in normalised units.
        normalised: whether the three outputs pass instance norms before they are squashed, as
            officially. They then have the same mean and deviation for every photograph, and so
            nearly the same share of it counts as out of domain, whatever it shows.
    """

    scale: float = 0.08
    normalised: bool = True

    @nn.compact
    def __call__(
        self, generated: Float[Array, "b h w c"], encoded: Float[Array, "b h w c"]
    ) -> Float[Array, "b h w 3"]:
        """dx, dy in [-scale, scale] and the mask in (0, 1), not yet blurred.

        Args:
            generated: the generator's features.
            encoded: the encoder's features.
        """
        generated, encoded = _instance_norm(False)(generated), _instance_norm(False)(encoded)
        x = jnp.concatenate([generated - encoded, encoded], axis=-1)
        x = Bottleneck(x.shape[-1], name="block_0")(x)
        x = Bottleneck(3, self.normalised, name="block_1")(x)
        return jnp.concatenate([jnp.tanh(x[..., :2]) * self.scale, nn.sigmoid(x[..., 2:])], axis=-1)


class SpatialAlignment(nn.Module):
    """The spatial alignment and masking module of one level ("SAMM").

    Attributes:
        width: channels to which the generator's features are reduced for the comparison; None
            compares them unreduced.
        scale: see `AlignNet`.
        normalised: see `AlignNet`.
        cycles: how often the features are compared and moved.
        align_corners: False samples at positions laid out for the other convention, as officially,
            so that a zero shift is not quite the identity; see `ops.warp.shifted`.
    """

    width: int | None = None
    scale: float = 0.08
    normalised: bool = True
    cycles: int = 2
    align_corners: bool = False

    def setup(self) -> None:
        """Creates the layers."""
        self.network = AlignNet(self.scale, self.normalised)
        if self.width is not None:
            # Without a bias, so that reducing and moving commute.
            self.reduce = nn.Dense(self.width, use_bias=False)

    def __call__(
        self,
        generated: Float[Array, "b h w c"],
        encoded: Float[Array, "b h w d"],
        coarser: Float[Array, "b h2 w2 3"] | None = None,
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w 3"]]:
        """Moves the generator's features towards the encoder's.

        Args:
            generated: the generator's features.
            encoded: the encoder's features, with the same number of channels, or `width`.
            coarser: the field of the previous level; its mask is refined, its shifts are not used.

        Returns:
            The features, moved where the mask is 1 and unchanged where it is 0, and the field.

        Reference:
            2212.09262, spatial alignment and masking; every cycle moves the original features by
            the sum of the shifts so far.
        """
        seen = generated if self.width is None else self.reduce(generated)
        current = seen
        shift, mask = None, None
        for cycle in range(self.cycles):
            # The blur also pulls shifts and mask towards zero at the border.
            field = fir(self.network(current, encoded), TAPS_1331, (2, 1))
            if cycle == 0:
                shift, mask = field[..., :2], field[..., 2:]
            else:
                shift = jnp.clip(shift + field[..., :2], -self.scale, self.scale)
                mask = merge(mask, field[..., 2:])
            if cycle < self.cycles - 1:
                current = self._moved(seen, shift, mask)
        if coarser is not None:
            mask = merge(
                resize(coarser[..., 2:], mask.shape[1:3], "bicubic", align_corners=True), mask
            )
        return self._moved(generated, shift, mask), jnp.concatenate([shift, mask], axis=-1)

    def _moved(self, x: Array, shift: Array, mask: Array) -> Array:
        return shifted(x, shift, self.align_corners) * mask + x * (1 - mask)


class Aligner(nn.Module):
    """All trained parts: for each level a 1x1 convolution of the encoder's map and a SAMM.

    Attributes:
        sides: of the levels in pixels, each twice the previous one.
        features: the generator's channels at these sides.
        inputs: the encoder's channels at these sides.
        multiplier: number of channels in which features are compared, relative to the generator's;
            below 1 these are reduced by a matrix.
        scale: see `SpatialAlignment`.
        cycles: see `SpatialAlignment`.
        align_corners: see `SpatialAlignment`.
        normalised: see `SpatialAlignment`.
        pyramid: channels of a top-down path over the encoder's maps, which tells fine levels what
            coarse ones see: early maps show outlines, and the inside of an object looks like
            anything. 0, as officially, has no path.
    """

    sides: Sequence[int] = SIDES
    features: Sequence[int] = (512, 512, 256, 128)
    inputs: Sequence[int] = (256, 128, 64, 64)
    multiplier: float = 1.0
    scale: float = 0.08
    cycles: int = 2
    align_corners: bool = False
    normalised: bool = True
    pyramid: int = 0

    def setup(self) -> None:
        """Creates the layers."""
        narrow = self.multiplier != 1
        widths = [max(1, round(features * self.multiplier)) for features in self.features]
        self.encoded = [nn.Dense(width) for width in widths]
        self.level = [
            SpatialAlignment(
                width if narrow else None,
                self.scale,
                self.normalised,
                self.cycles,
                self.align_corners,
            )
            for width in widths
        ]
        if self.pyramid:
            self.lateral = [nn.Dense(self.pyramid) for _ in widths]
            # The path adds nothing at first: initially the levels compare the maps themselves.
            self.told = [
                nn.Dense(width, use_bias=False, kernel_init=nn.initializers.zeros)
                for width in widths
            ]

    def encode(self, maps: Sequence[Float[Array, "b _ _ _"]]) -> list[Float[Array, "b _ _ _"]]:
        """The encoder's maps, coarse to fine, in the channels that each level compares."""
        encoded = [dense(features) for dense, features in zip(self.encoded, maps)]
        if not self.pyramid:
            return encoded
        path = None
        for index, (lateral, told) in enumerate(zip(self.lateral, self.told)):
            side = lateral(maps[index])
            path = nn.leaky_relu(
                side if path is None else side + resize(path, side.shape[1:3]), 0.2
            )
            encoded[index] += told(path)
        return encoded

    def align(
        self,
        index: int,
        generated: Float[Array, "b h w c"],
        encoded: Float[Array, "b h w d"],
        coarser: Float[Array, "b h2 w2 3"] | None = None,
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w 3"]]:
        """Level `index`, 0 for the coarsest, on the result of `encode`; see `SpatialAlignment`."""
        return self.level[index](generated, encoded, coarser)

    def __call__(
        self, generated: Sequence[Float[Array, "b _ _ _"]], maps: Sequence[Float[Array, "b _ _ _"]]
    ) -> list[Float[Array, "b _ _ 3"]]:
        """The fields of all levels on given features.

        In an edit, the generator draws the features of each level from those of the previous one.
        """
        fields: list = []
        for index, (features, encoded) in enumerate(zip(generated, self.encode(maps), strict=True)):
            fields.append(self.align(index, features, encoded, fields[-1] if fields else None)[1])
        return fields


class BicubicEncoder4Editing(Encoder4Editing):
    """e4e as in the release of this method: with bicubic upsampling in the pyramid.

    e4e's own weights therefore give other codes in it.
    """

    def heads(
        self, images: Float[Array, "b h w c"], stop: int, train: bool = False
    ) -> list[Float[Array, "b k"]]:
        """The outputs of the first `stop` heads."""
        _, _, fine, middle, coarse = self.body(images, train)
        maps = [coarse]
        for lateral in (self.latlayer1(middle), self.latlayer2(fine)):
            maps.append(
                resize(maps[-1], lateral.shape[1:3], "bicubic", align_corners=True) + lateral
            )
        levels = [sum(row >= bound for bound in (COARSE_ROWS, MIDDLE_ROWS)) for row in range(stop)]
        return [head(maps[level]) for head, level in zip(self.styles, levels)]
