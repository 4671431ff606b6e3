"""What every method of inversion gives."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffcam_jax.inversion.tuning import Deltas


class Inversion(NamedTuple):
    """The result.

    Attributes:
        codes: [b, n, k] W+ codes of the lowest loss seen; of "pivotal_tuning" the pivots.
        loss: [b] that loss; NaN for a picture whose loss was never finite.
        history: [steps, b] the loss before every step; a picture at rest repeats its last, restarts
            follow one another.
        steps: how many were made.
        seconds: in all but compiling; compile_seconds: until the first step was under way.
        notes: what a person should know, a sentence each: restarts after a loss that was no number,
            time that ran out.
        tuned: of "pivotal_tuning" the changes of the generator, path of a tensor -> [b, ...] in
            half precision, for `tuning.tuned_generator`; None for the methods that move codes only.
    """

    codes: Float[np.ndarray, "b n k"]
    loss: Float[np.ndarray, " b"]
    history: Float[np.ndarray, "steps b"]
    steps: int
    seconds: float
    compile_seconds: float
    notes: tuple[str, ...]
    tuned: Deltas | None = None
