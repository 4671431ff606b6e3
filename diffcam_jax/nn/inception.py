"""Inception-V3 with the weights and the pooling that define the Fréchet inception distance (FID).

Layout NHWC, pictures RGB in [-1, 1], resized to 299x299 by `fid_resize`. Layers are named as in
torchvision, in lower case. The network of 2015 that FID uses (Szegedy et al., 1512.00567) differs
from today's torchvision weights: it has 1008 classes, its averages do not count the padding, and
the last block pools by a maximum instead of an average. Inference only.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax.ops.image import resize
from diffcam_jax.ops.pool import max_pool

SIZE = 299  # pixels
FEATURES = 2048


def fid_resize(images: Float[Array, "b h w 3"]) -> Float[Array, "b 299 299 3"]:
    """Bilinear resize as in the PyTorch port of FID: half-pixel centres, no antialiasing.

    Args:
        images: RGB in [-1, 1]; not clamped.
    """
    return resize(images, (SIZE, SIZE), "bilinear")


class BasicConv(nn.Module):
    """Convolution without bias, batch normalisation with stored statistics, ReLU."""

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Maps features [b, h, w, c] to `features` channels."""
        stride = (self.stride, self.stride)
        x = nn.Conv(self.features, self.kernel, stride, self.padding, use_bias=False, name="conv")(
            x
        )
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


def average_pool3(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Mean over 3x3 neighbours at stride 1; at the border over those that exist."""
    h, w = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    x = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    rows, columns = (
        np.minimum(np.arange(n) + 1, n - 1) - np.maximum(np.arange(n) - 1, 0) + 1 for n in (h, w)
    )
    return x * np.asarray(1 / np.outer(rows, columns), np.float32)[..., None]


def _chain(x: Array, name: str, *layers: tuple[int, tuple[int, int]]) -> Array:
    for index, (features, kernel) in enumerate(layers, start=1):
        x = BasicConv(features, kernel, name=f"{name}_{index}")(x)
    return x


class MixedA(nn.Module):
    """5b to 5d, at 35x35: 1x1, 5x5, two 3x3 in sequence, average."""

    pool_features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        """Concatenates the four branches."""
        branches = [
            BasicConv(64, name="branch1x1")(x),
            _chain(x, "branch5x5", (48, (1, 1)), (64, (5, 5))),
            _chain(x, "branch3x3dbl", (64, (1, 1)), (96, (3, 3)), (96, (3, 3))),
            BasicConv(self.pool_features, name="branch_pool")(average_pool3(x)),
        ]
        return jnp.concatenate(branches, axis=-1)


class MixedB(nn.Module):
    """6a: from 35x35 to 17x17."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Concatenates the three branches, at half the resolution."""
        double = _chain(x, "branch3x3dbl", (64, (1, 1)), (96, (3, 3)))
        branches = [
            BasicConv(384, (3, 3), 2, "VALID", name="branch3x3")(x),
            BasicConv(96, (3, 3), 2, "VALID", name="branch3x3dbl_3")(double),
            max_pool(x, 3),
        ]
        return jnp.concatenate(branches, axis=-1)


class MixedC(nn.Module):
    """6b to 6e, at 17x17: 1x1, a factorised 7x7, two of them in sequence, average."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        """Concatenates the four branches."""
        n, row, column = self.width, (1, 7), (7, 1)
        branches = [
            BasicConv(192, name="branch1x1")(x),
            _chain(x, "branch7x7", (n, (1, 1)), (n, row), (192, column)),
            _chain(x, "branch7x7dbl", (n, (1, 1)), (n, column), (n, row), (n, column), (192, row)),
            BasicConv(192, name="branch_pool")(average_pool3(x)),
        ]
        return jnp.concatenate(branches, axis=-1)


class MixedD(nn.Module):
    """7a: from 17x17 to 8x8."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Concatenates the three branches, at half the resolution."""
        seven = _chain(x, "branch7x7x3", (192, (1, 1)), (192, (1, 7)), (192, (7, 1)))
        branches = [
            BasicConv(320, (3, 3), 2, "VALID", name="branch3x3_2")(
                _chain(x, "branch3x3", (192, (1, 1)))
            ),
            BasicConv(192, (3, 3), 2, "VALID", name="branch7x7x3_4")(seven),
            max_pool(x, 3),
        ]
        return jnp.concatenate(branches, axis=-1)


class MixedE(nn.Module):
    """7b and 7c, at 8x8: branches that end in a row and a column side by side, and a pool."""

    pool: str

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w 2048"]:
        """Concatenates the six outputs of the four branches."""
        three = _chain(x, "branch3x3", (384, (1, 1)))
        double = _chain(x, "branch3x3dbl", (448, (1, 1)), (384, (3, 3)))
        pooled = average_pool3(x) if self.pool == "average" else max_pool(x, 3, stride=1, pad=1)
        branches = [
            BasicConv(320, name="branch1x1")(x),
            BasicConv(384, (1, 3), name="branch3x3_2a")(three),
            BasicConv(384, (3, 1), name="branch3x3_2b")(three),
            BasicConv(384, (1, 3), name="branch3x3dbl_3a")(double),
            BasicConv(384, (3, 1), name="branch3x3dbl_3b")(double),
            BasicConv(192, name="branch_pool")(pooled),
        ]
        return jnp.concatenate(branches, axis=-1)


class InceptionV3(nn.Module):
    """The FID network.

    Attributes:
        num_classes: outputs of the linear layer, 1008 in the published file; None omits it.
    """

    num_classes: int | None = None

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w 3"]
    ) -> tuple[Float[Array, "b 2048"], dict[str, Array]]:
        """The features of the last average pool, and taps.

        Args:
            images: RGB in [-1, 1], 299x299 for FID (at least 75 pixels).

        Returns:
            (features, {"block0": [b, 73, 73, 64], "block1": [b, 35, 35, 192], "block2": [b, 17, 17,
            768]}); the taps are those of the shorter variants of FID. With `num_classes` also
            "logits" [b, num_classes].
        """
        taps = {}
        x = BasicConv(32, (3, 3), 2, "VALID", name="conv2d_1a_3x3")(images)
        x = BasicConv(32, (3, 3), 1, "VALID", name="conv2d_2a_3x3")(x)
        x = BasicConv(64, (3, 3), name="conv2d_2b_3x3")(x)
        x = taps["block0"] = max_pool(x, 3)
        x = BasicConv(80, name="conv2d_3b_1x1")(x)
        x = BasicConv(192, (3, 3), 1, "VALID", name="conv2d_4a_3x3")(x)
        x = taps["block1"] = max_pool(x, 3)
        for name, pool_features in (("5b", 32), ("5c", 64), ("5d", 64)):
            x = MixedA(pool_features, name=f"mixed_{name}")(x)
        x = MixedB(name="mixed_6a")(x)
        for name, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            x = MixedC(width, name=f"mixed_{name}")(x)
        taps["block2"] = x
        x = MixedD(name="mixed_7a")(x)
        x = MixedE("average", name="mixed_7b")(x)
        x = MixedE("maximum", name="mixed_7c")(x)
        features = jnp.mean(x, axis=(1, 2))
        if self.num_classes is not None:
            taps["logits"] = nn.Dense(self.num_classes, name="fc")(features)
        return features, taps
