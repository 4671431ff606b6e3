"""What is asked for of a batch, as the arrays that `edit_batch` takes."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from diffcam_jax.directions.edits import Edit, is_linear, measured, steps
from diffcam_jax.directions.record import for_rows
from diffcam_jax.editing.edit import Edits


def edits_of(
    chosen: Sequence[Edit],
    strengths: Float[np.ndarray, "b r"],
    classes: Int[np.ndarray, " r"],
    pictures: UInt8[np.ndarray, "b s s 3"],
    codes: Float[np.ndarray, "b rows k"],
) -> Edits:
    """Successive edits of a batch.

    Linear ones stay as they are; for others the pictures are measured, and every code is moved.

    Args:
        chosen: in the order in which they are applied, fitted to the codes' generator.
        strengths: of each edit for each picture.
        classes: index of each edit's attribute among the classifier's classes.
        pictures: aligned.
        codes: of the pictures.

    Raises:
        UserError: an edit cannot move a face in such a condition, see `Edit.moved`.
    """
    if is_linear(chosen):
        found = np.stack([for_rows(edit.array, codes.shape[1]) for edit in chosen])
    else:
        found = steps(chosen, codes, strengths, measured(pictures, chosen))
    amounts = np.asarray(strengths, np.float32)
    return Edits(*map(jnp.asarray, (found, amounts, np.asarray(classes, np.int32))))
