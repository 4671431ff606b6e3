"""Encoder4Editing (2102.02766): a pSp encoder whose rows stay close to one code of W.

Codes near W can be edited with the usual directions. Pictures are NHWC RGB in [-1,1]. The first
head gives the code, each of the others the delta of its row; training introduces these deltas one
after the other.

Source: Tov et al., Designing an Encoder for StyleGAN Image Manipulation (2102.02766).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.psp import GradualStyleEncoder


class Encoder4Editing(GradualStyleEncoder):
    """Has the parameters of `GradualStyleEncoder`; only the use of the heads differs."""

    def __call__(
        self, images: Float[Array, "b h w c"], train: bool = False, stage: int | None = None
    ) -> Float[Array, "b n k"]:
        """Offsets of the W+ code from the average.

        Args:
            images: RGB in [-1,1].
            train: normalise by batch statistics (make "batch_stats" mutable) instead of stored
                ones.
            stage: last row that has a delta of its own; 0 gives a code of W, None uses all deltas.

        Raises:
            ValueError: the stage is negative.
        """
        stage = self.n_styles - 1 if stage is None else min(stage, self.n_styles - 1)
        if stage < 0:
            raise ValueError(f"stage {stage}: allowed are 0 to {self.n_styles - 1}")
        code, *deltas = self.heads(images, stage + 1, train)
        rows = [code] + [code + delta for delta in deltas]
        return jnp.stack(rows + [code] * (self.n_styles - len(rows)), axis=1)
