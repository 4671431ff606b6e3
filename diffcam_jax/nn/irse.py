"""IR-SE50: ArcFace's residual network, as a face recogniser and as the body of StyleGAN encoders.

Pictures are NHWC RGB in [-1,1]; the encoders' own inputs may have more channels. A unit is batch
normalisation, two 3x3 convolutions with a PReLU between them, batch normalisation and a
squeeze-and-excitation gate; nothing follows the sum with its shortcut. The first unit of each of
the four groups halves the map: 256 -> 128, 64, 32 and 16 pixels.

Sources: Deng et al., ArcFace (1801.07698); Hu et al., Squeeze-and-Excitation Networks (1709.01507);
pixel2style2pixel (2008.00951) for the crop of the identity loss.
"""

import itertools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.ops.image import resize

COUNTS = (3, 4, 14, 3)
WIDTHS = (64, 128, 256, 512)
# The part of an aligned 256x256 picture on which the recogniser was trained.
CROP_ROWS, CROP_COLUMNS, CROP_SIZE = slice(35, 223), slice(32, 220), 112


def _conv(features: int, size: int, stride: int = 1) -> nn.Conv:
    """Convolution without bias, with symmetric padding."""
    return nn.Conv(features, (size, size), (stride, stride), padding=size // 2, use_bias=False)


def norm() -> nn.BatchNorm:
    """Batch normalisation with torch's eps; stored statistics keep 0.9 of their old values."""
    return nn.BatchNorm(momentum=0.9, epsilon=1e-5)


class PReLU(nn.Module):
    """Rectifier with a learned negative slope for every channel."""

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Applies the rectifier to the last axis."""
        slope = self.param("negative_slope", nn.initializers.constant(0.25), (x.shape[-1],))
        return jnp.where(x > 0, x, slope * x)


class Unit(nn.Module):
    """One residual unit.

    Attributes:
        width: channels of the output.
        stride: 1, or 2 to halve the map.
        project: whether the shortcut has a convolution, needed where the number of channels
            changes; otherwise it only subsamples.
        squeeze: divisor of the channels inside the gate; None omits the gate.
    """

    width: int
    stride: int = 1
    project: bool = False
    squeeze: int | None = 16

    def setup(self) -> None:
        """Creates the layers."""
        self.bn1, self.conv1, self.prelu = norm(), _conv(self.width, 3), PReLU()
        self.conv2, self.bn2 = _conv(self.width, 3, self.stride), norm()
        if self.squeeze is not None:
            self.fc1 = nn.Dense(self.width // self.squeeze, use_bias=False)
            self.fc2 = nn.Dense(self.width, use_bias=False)
        if self.project:
            self.shortcut_conv, self.shortcut_bn = _conv(self.width, 1), norm()

    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b h2 w2 d"]:
        """Maps features; `train` normalises by batch statistics."""
        frozen = not train
        y = self.prelu(self.conv1(self.bn1(x, frozen)))
        y = self.bn2(self.conv2(y), frozen)
        if self.squeeze is not None:
            gate = nn.sigmoid(self.fc2(nn.relu(self.fc1(y.mean((1, 2))))))
            y = y * gate[:, None, None]
        x = x[:, :: self.stride, :: self.stride]
        if self.project:
            x = self.shortcut_bn(self.shortcut_conv(x), frozen)
        return y + x


def group_maps(
    x: Float[Array, "b h w c"], units: Sequence[nn.Module], counts: Sequence[int], train: bool
) -> tuple[Float[Array, "b _ _ _"], ...]:
    """The input layer's map, and that of the last unit of every group.

    Args:
        x: output of the input layer.
        units: of all groups, each from a map and `train` to a map.
        counts: units of each group.
        train: as for `IRSE`.
    """
    maps, rest = [x], iter(units)
    for count in counts:
        for unit in itertools.islice(rest, count):
            x = unit(x, train)
        maps.append(x)
    return tuple(maps)


class IRSE(nn.Module):
    """The body: an input layer and four groups of units.

    Attributes:
        counts: units of each group; (3, 4, 14, 3) is IR-SE50.
        widths: channels of each group; the input layer has those of the first.
        squeeze: divisor of the channels inside the gates; None for a body without gates (IR-50).
    """

    counts: Sequence[int] = COUNTS
    widths: Sequence[int] = WIDTHS
    squeeze: int | None = 16

    def setup(self) -> None:
        """Creates the layers."""
        self.input_conv, self.input_bn, self.input_prelu = _conv(self.widths[0], 3), norm(), PReLU()
        units, before = [], self.widths[0]
        for count, width in zip(self.counts, self.widths, strict=True):
            units.append(Unit(width, 2, before != width, self.squeeze))
            units += [Unit(width, squeeze=self.squeeze) for _ in range(count - 1)]
            before = width
        self.unit = units

    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Features of the input layer and of the last unit of every group.

        Of IR-SE50 these are units 2, 6, 20 and 23.

        Args:
            x: pictures, usually [b,256,256,3] or, for ReStyle, [b,256,256,6].
            train: normalise by batch statistics (make "batch_stats" mutable) instead of stored
                ones.
        """
        x = self.input_prelu(self.input_bn(self.input_conv(x), not train))
        return group_maps(x, self.unit, self.counts, train)


class ArcFace(nn.Module):
    """Face recogniser: pictures with similar embeddings show the same person. Not trained here.

    Attributes:
        features: length of the embedding.
        counts: see `IRSE`.
        widths: see `IRSE`.
        squeeze: see `IRSE`.
    """

    features: int = 512
    counts: Sequence[int] = COUNTS
    widths: Sequence[int] = WIDTHS
    squeeze: int | None = 16

    def setup(self) -> None:
        """Creates the layers."""
        self.body = IRSE(self.counts, self.widths, self.squeeze)
        self.output_bn, self.output_dense, self.embedding_bn = (
            norm(),
            nn.Dense(self.features),
            norm(),
        )

    def __call__(self, faces: Float[Array, "b h w 3"]) -> Float[Array, "b k"]:
        """Embeddings of unit length.

        Args:
            faces: [b,112,112,3] RGB in [-1,1], see `identity_crop`.
        """
        x = self.output_bn(self.body(faces)[-1], True)
        x = self.embedding_bn(self.output_dense(x.reshape(len(x), -1)), True)
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def identity_crop(images: Float[Array, "b h w 3"]) -> Float[Array, "b 112 112 3"]:
    """The face of an aligned picture as `ArcFace` expects it.

    Args:
        images: FFHQ-aligned, 256x256 or larger; larger ones are first area-averaged to 256.

    Returns:
        The crop of 188x188 pixels reduced by adaptive averaging, whose cells are 2 or 3 pixels
        wide.

    Raises:
        ValueError: the pictures are smaller than 256.
    """
    if min(images.shape[1:3]) < 256:
        raise ValueError(
            f"pictures of {images.shape[1]}x{images.shape[2]}: the identity crop needs 256x256 "
            "or more"
        )
    images = resize(images, (256, 256), "area")
    return resize(images[:, CROP_ROWS, CROP_COLUMNS], (CROP_SIZE, CROP_SIZE), "area")
