"""The latent discriminator of Encoder4Editing, which tells w of the mapping from encoded w.

The input are codes w [b, 512], one row of W+ at a time; logits are positive for a code of the
mapping network.

Source: Tov et al., Designing an Encoder for StyleGAN Image Manipulation (2102.02766).
"""

import flax.linen as nn
from jaxtyping import Array, Float

from diffcam_jax.nn.psp import EqualLinear

SLOPE = 0.2


class LatentDiscriminator(nn.Module):
    """Dense layers with leaky ReLUs of slope 0.2 between them.

    Attributes:
        width: of the hidden layers.
        depth: number of layers; the last one gives the logit.
    """

    width: int = 512
    depth: int = 4

    @nn.compact
    def __call__(self, codes: Float[Array, "b k"]) -> Float[Array, " b"]:
        """Logits of codes."""
        x = codes
        for _ in range(self.depth - 1):
            x = nn.leaky_relu(EqualLinear(self.width)(x), SLOPE)
        return EqualLinear(1)(x)[:, 0]
