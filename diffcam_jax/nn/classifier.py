"""The DA classifier: which attribute separates two pictures (Diff-CAM, 2207.08134, section 3.3).

A ResNet cut inside layer3. The first part, features(), runs on the inverted and on the edited picture with the same
weights; their difference feeds the second part, head(). Pictures are NHWC RGB in [-1,1], without ImageNet
normalisation. The official network is depth 101, width 64, split 10 (of 23 blocks); the mobile one is thin and shallow.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.resnet import BLOCKS, ResNet
from diffcam_jax.ops.image import resize


class DiffClassifier(nn.Module):
    """Difference-of-features classifier over N edit directions.

    Attributes:
        depth, width, strides: of the ResNet.
        shrink: whole factor by which pictures are area-averaged first; 2 makes training four times cheaper.
        num_classes: N, the number of directions it tells apart.
        split: blocks of layer3 that belong to features(); the rest belongs to head().
    """

    depth: int = 101
    width: int = 64
    num_classes: int = 17
    split: int = 10
    strides: Sequence[int] = (1, 2, 2, 2)
    shrink: int = 1

    def setup(self) -> None:
        if not 0 <= self.split <= BLOCKS[self.depth][2]:
            raise ValueError(f"split {self.split}: layer3 of depth {self.depth} has {BLOCKS[self.depth][2]} blocks")
        self.trunk = ResNet(self.depth, self.width, strides=self.strides)
        self.fc = nn.Dense(self.num_classes)

    def features(self, images: Float[Array, "b h w 3"], train: bool = False) -> Float[Array, "b h2 w2 c"]:
        """conv1 .. layer2 and the first `split` blocks of layer3; for the official net [b,16,16,1024] at 256."""
        size = (images.shape[1] // self.shrink, images.shape[2] // self.shrink)
        x = self.trunk.stem(resize(images, size, "area"), train)
        x = self.trunk.stage(2, self.trunk.stage(1, x, train), train)
        return self.trunk.stage(3, x, train, stop=self.split)

    def head(
        self, delta: Float[Array, "b h w c"], train: bool = False
    ) -> tuple[Float[Array, "b n"], Float[Array, "b h2 w2 c2"]]:
        """Logits and H, the activations of layer4, the last convolution stage (official: [b,8,8,2048] at 256)."""
        x = self.trunk.stage(3, delta, train, start=self.split)
        activations = self.trunk.stage(4, x, train)
        return self.score(activations), activations

    def score(self, activations: Float[Array, "b h w c"]) -> Float[Array, "b n"]:
        """Logits from H: average pooling and the linear layer, the part that Eq. 3 differentiates."""
        return self.fc(jnp.mean(activations, axis=(1, 2)))

    def __call__(
        self, inverted: Float[Array, "b h w 3"], edited: Float[Array, "b h w 3"], sign: int = 1, train: bool = False
    ) -> tuple[Float[Array, "b n"], Float[Array, "b h2 w2 c"]]:
        """head(sign * (features(edited) - features(inverted))).

        Both pictures go through one pass, so in training they share their batch statistics.

        Args:
            inverted, edited: the pair, [-1,1].
            sign: +1 as in the official code, -1 as in Eq. 1.
            train: batch normalisation by batch statistics.
        """
        both = self.features(jnp.concatenate([inverted, edited]), train)
        before, after = jnp.split(both, 2)
        return self.head(sign * (after - before), train)
