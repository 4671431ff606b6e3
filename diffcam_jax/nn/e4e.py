"""Encoder4Editing (2102.02766): a pSp encoder whose rows stay close to one code of W, so that edits
keep working.

Pictures NHWC RGB in [-1,1]. The first head gives the code, the others what their row differs from
it by; training brings these deltas in one after the other.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffcam_jax.nn.psp import GradualStyleEncoder


class Encoder4Editing(GradualStyleEncoder):
    """The parameters are those of `GradualStyleEncoder`; what is made of the heads differs."""

    def __call__(
        self, images: Float[Array, "b h w c"], train: bool = False, stage: int | None = None
    ) -> Float[Array, "b n k"]:
        """Offsets of the W+ code from the average.

        Args:
            images: RGB in [-1,1].
            train: batch normalisation by batch statistics (make "batch_stats" mutable) instead of
                the stored ones.
            stage: last row that has a delta of its own; 0 gives a code of W, None all deltas.

        Raises:
            ValueError: a negative stage.
        """
        stage = self.n_styles - 1 if stage is None else min(stage, self.n_styles - 1)
        if stage < 0:
            raise ValueError(f"stage {stage}: allowed are 0 to {self.n_styles - 1}")
        code, *deltas = self.heads(images, stage + 1, train)
        rows = [code] + [code + delta for delta in deltas]
        return jnp.stack(rows + [code] * (self.n_styles - len(rows)), axis=1)
