"""The result of every method of inversion."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffcam_jax.inversion.tuned_parts import Deltas


class Inversion(NamedTuple):
    """Codes and how they were found.

    Attributes:
        codes: [b, n, k] W+ codes of the lowest loss seen; for "pivotal_tuning" the pivots.
        loss: [b] that loss; NaN for a picture whose loss was never finite.
        history: [steps, b] the loss before every step; a settled picture repeats its last one,
            restarts follow each other.
        steps: number of steps.
        seconds: total time without compilation.
        compile_seconds: time until the first step was running.
        notes: messages for the user, a sentence each: restarts after a loss that was not finite,
            time that ran out.
        tuned: for "pivotal_tuning" the changes of the generator, path of a tensor -> [b, ...] in
            half precision, for `tuning.tuned_generator`; None for the other methods.
    """

    codes: Float[np.ndarray, "b n k"]
    loss: Float[np.ndarray, " b"]
    history: Float[np.ndarray, "steps b"]
    steps: int
    seconds: float
    compile_seconds: float
    notes: tuple[str, ...]
    tuned: Deltas | None = None
