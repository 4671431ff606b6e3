"""The DA classifier: which attribute separates two pictures (Diff-CAM, 2207.08134, section 3.3).

features() runs on the inverted and on the edited picture with the same weights; their difference is
the input of head(). Pictures are NHWC RGB in [-1,1], without ImageNet normalisation.
`DiffClassifier` is the official network, a ResNet cut inside layer3 (depth 101, width 64, split 10
of 23 blocks); every cell of its last map sees the whole picture. `LocalClassifier` is the one that
ships with this package: a cell sees only its surroundings, so that its evidence stays where the
edit acts.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.mobilenet_v2 import ROWS, STEM_WIDTH, Stem, residual_blocks
from diffcam_jax.nn.resnet import BLOCKS, ResNet
from diffcam_jax.ops.image import IMAGENET_MEAN, IMAGENET_STD, resize
from diffcam_jax.ops.pixel_shuffle import pixel_unshuffle


class PairClassifier(nn.Module):
    """Base class of the classifiers.

    A subclass has features(), head(), score() and a linear layer `fc` after H.
    """

    def evidence(self, activations: Float[Array, "b h w c"]) -> Float[Array, "b h w n"]:
        """The evidence of each cell of H for each class: up to a constant, the sum inside Eq. 4."""
        return self.fc(activations)

    def __call__(
        self,
        inverted: Float[Array, "b h w 3"],
        edited: Float[Array, "b h w 3"],
        sign: int = 1,
        train: bool = False,
    ) -> tuple[Float[Array, "b n"], Float[Array, "b h2 w2 c"]]:
        """head(sign * (features(edited) - features(inverted))).

        Both pictures go through one pass, so in training they share their batch statistics.

        Args:
            inverted: picture of the inverted code, [-1,1].
            edited: picture of the edited code, [-1,1].
            sign: +1 as in the official code, -1 as in Eq. 1.
            train: normalise by batch statistics (make "batch_stats" mutable) instead of stored
                ones.
        """
        both = self.features(jnp.concatenate([inverted, edited]), train)
        before, after = jnp.split(both, 2)
        return self.head(sign * (after - before), train)


class DiffClassifier(PairClassifier):
    """Difference-of-features classifier over N edit directions.

    Attributes:
        depth: of the ResNet.
        width: of the ResNet.
        num_classes: N, the number of directions that it distinguishes.
        split: number of blocks of layer3 that belong to features(); the others belong to head().
        strides: of the ResNet.
        shrink: whole factor by which pictures are first area-averaged; 2 makes training four times
            cheaper.
    """

    depth: int = 101
    width: int = 64
    num_classes: int = 17
    split: int = 10
    strides: Sequence[int] = (1, 2, 2, 2)
    shrink: int = 1

    def setup(self) -> None:
        """Creates the layers; raises ValueError when layer3 has fewer blocks than `split`."""
        if not 0 <= self.split <= BLOCKS[self.depth][2]:
            raise ValueError(
                f"split {self.split}: layer3 of depth {self.depth} has {BLOCKS[self.depth][2]} "
                "blocks"
            )
        self.trunk = ResNet(self.depth, self.width, strides=self.strides)
        self.fc = nn.Dense(self.num_classes)

    def features(
        self, images: Float[Array, "b h w 3"], train: bool = False
    ) -> Float[Array, "b h2 w2 c"]:
        """conv1 to layer2 and the first `split` blocks of layer3.

        For the official network [b,16,16,1024] at 256 pixels.
        """
        size = (images.shape[1] // self.shrink, images.shape[2] // self.shrink)
        x = self.trunk.stem(resize(images, size, "area"), train)
        x = self.trunk.stage(2, self.trunk.stage(1, x, train), train)
        return self.trunk.stage(3, x, train, stop=self.split)

    def head(
        self, delta: Float[Array, "b h w c"], train: bool = False
    ) -> tuple[Float[Array, "b n"], Float[Array, "b h2 w2 c2"]]:
        """Logits and H, the activations of layer4, the last convolution stage.

        H of the official network is [b,8,8,2048] at 256 pixels.
        """
        x = self.trunk.stage(3, delta, train, start=self.split)
        activations = self.trunk.stage(4, x, train)
        return self.score(activations), activations

    def score(self, activations: Float[Array, "b h w c"]) -> Float[Array, "b n"]:
        """Logits from H: average pooling and the linear layer; Eq. 3 differentiates this part."""
        return self.fc(jnp.mean(activations, axis=(1, 2)))


class LocalTrunk(nn.Module):
    """The first blocks of MobileNetV2 (arXiv 1801.04381) and its layer names: maps at 1/4 and 1/8.

    Attributes:
        stem: see `MobileNetV2`.
        rows: see `MobileNetV2`; these end at 1/8.
    """

    stem: int = STEM_WIDTH
    rows: Sequence[tuple[int, int, int, int]] = ROWS[:3]

    def setup(self) -> None:
        """Creates the layers."""
        self.conv, self.bn = Stem(self.stem), nn.BatchNorm(epsilon=1e-5)
        self.block = residual_blocks(self.stem, self.rows)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h8 w8 c"]:
        # Strides of 2, each centred on the first of its two pixels, would shift the maps by 3.5 and
        # 1.5 pixels down and to the right of what they show.
        """Maps pictures to features at 1/8: those at 1/8 and the unshuffled ones at 1/4."""
        x = jnp.pad(images[:, 3:, 3:], ((0, 0), (0, 3), (0, 3), (0, 0)), mode="edge")
        x = ((x + 1) / 2 - jnp.asarray(IMAGENET_MEAN)) / jnp.asarray(IMAGENET_STD)
        x = fine = nn.relu6(self.bn(self.conv(x), use_running_average=True))
        for block in self.block:
            x = block(x)
            if 4 * x.shape[1] == images.shape[1]:
                fine = x
        return jnp.concatenate([pixel_unshuffle(fine), x], axis=-1)


class LocalClassifier(PairClassifier):
    """Classifier with local evidence, like bags of local features (Brendel and Bethge, 1904.00760).

    A cell of the map, one for each 8x8 pixels, sees 59 pixels around it, and the layers after it
    treat every cell separately. The head has no biases: where two pictures have the same features,
    H is 0, no class has evidence, and neither has the mask. The difference is divided by its own
    size where that exceeds a learned floor, so that faint changes (skin that ages) count beside
    strong ones (teeth). The score pools by log-sum-exp (Pinheiro and Collobert, arXiv 1411.6228):
    closed eyes are half a percent of a picture and would disappear in an average. Its gradient is
    still the class's row of the linear layer at every cell, up to a factor, so that Eq. 3 and 4
    give the same map as with an average.

    Attributes:
        num_classes: N.
        width: channels of the layers between the features and H, and of H.
        layers: number of layers between the features and H.
        stem: of the trunk, which is not trained.
        rows: of the trunk.
        enlarge: whole factor by which pictures are first enlarged, for small ones: a cell is one
            for each 8 / enlarge pixels.
    """

    num_classes: int = 10
    width: int = 160
    layers: int = 3
    stem: int = STEM_WIDTH
    rows: Sequence[tuple[int, int, int, int]] = ROWS[:3]
    enlarge: int = 1

    def setup(self) -> None:
        """Creates the layers."""
        self.trunk = LocalTrunk(self.stem, self.rows)
        self.floor = self.param("floor", nn.initializers.constant(-1.0), ())  # of the logarithm
        self.layer = [
            nn.Dense(self.width, use_bias=False, kernel_init=nn.initializers.he_normal())
            for _ in range(self.layers)
        ]
        self.fc = nn.Dense(self.num_classes, use_bias=False)

    def features(
        self, images: Float[Array, "b h w 3"], train: bool = False
    ) -> Float[Array, "b h2 w2 c"]:
        """A map at 1/8 of the enlarged side, divisible by 8: [b,32,32,128] at 256 pixels.

        `train` makes no difference.
        """
        size = (images.shape[1] * self.enlarge, images.shape[2] * self.enlarge)
        return self.trunk(resize(images, size))

    def head(
        self, delta: Float[Array, "b h w c"], train: bool = False
    ) -> tuple[Float[Array, "b n"], Float[Array, "b h w c2"]]:
        """Logits and H, [b,32,32,width] at 256 pixels; `train` makes no difference."""
        size = jnp.mean(jnp.square(delta), axis=-1, keepdims=True)
        x = delta * jax.lax.rsqrt(size + jnp.exp(2 * self.floor))
        for layer in self.layer:
            x = nn.relu(layer(x))
        return self.score(x), x

    def score(self, activations: Float[Array, "b h w c"]) -> Float[Array, "b n"]:
        """Logits from H: the linear layer at every cell, pooled; Eq. 3 differentiates this part."""
        votes = self.evidence(activations)
        return jax.nn.logsumexp(votes, axis=(1, 2)) - jnp.log(votes.shape[1] * votes.shape[2])
