"""Edits of W+ codes by the official StyleFlow checkpoint, whose conditions are 17 numbers.

A code flows to the Gaussian under its own attributes and back under changed ones. Only the rows
that the release publishes for the changed attributes are then taken over, so that the others keep
what they say about the face.

Source: Abdal et al., StyleFlow (2008.02401), section 4.3; conditions and rows are those of the
release.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.styleflow import flow, inverse

LIGHTS = 9  # numbers of lighting, with which a condition begins
ATTRIBUTES = (
    "gender",
    "glasses",
    "yaw",
    "pitch",
    "baldness",
    "beard",
    "age",
    "expression",
)
LIGHT = "light"
# Half-open ranges of the rows of W+ on which each acts.
ROWS = {
    "gender": (0, 8),
    "glasses": (2, 4),
    "yaw": (0, 4),
    "pitch": (0, 4),
    "baldness": (0, 6),
    "beard": (5, 10),
    "age": (4, 8),
    "expression": (4, 6),
    LIGHT: (7, 12),
}


def changed(
    condition: Float[np.ndarray, "b c"], changes: Mapping[str, float | np.ndarray]
) -> Float[np.ndarray, "b c"]:
    """A condition with some attributes changed.

    Args:
        condition: lighting, then `ATTRIBUTES`.
        changes: attribute -> its new value, in the units of the flow's training; "light" -> nine
            numbers.

    Raises:
        UserError: an attribute is unknown, or a value is not finite or of another length.
    """
    target = np.array(condition, np.float32)
    for name, value in changes.items():
        if name not in ROWS:
            raise UserError(f"a flow knows no attribute {name!r}; {suggestion(name, ROWS)}")
        numbers = np.asarray(value, np.float32)
        if numbers.shape != ((LIGHTS,) if name == LIGHT else ()):
            raise UserError(f"{name}: give {f'{LIGHTS} numbers' if name == LIGHT else 'a number'}")
        if not np.isfinite(numbers).all():
            raise UserError(f"{name}: {value} is not finite")
        place = slice(LIGHTS) if name == LIGHT else LIGHTS + ATTRIBUTES.index(name)
        target[:, place] = numbers
    return target


def moved(
    network: Network,
    codes: Float[Array | np.ndarray, "b n k"],
    condition: Float[np.ndarray, "b c"],
    changes: Mapping[str, float | np.ndarray],
) -> Float[Array, "b n k"]:
    """Codes after an edit; rows outside of those of the changed attributes are the same.

    Args:
        network: a `StyleFlow` of the codes' generator.
        codes: W+.
        condition: of the codes: what the faces show.
        changes: see `changed`.

    Raises:
        UserError: see `changed`, or the flow takes other conditions.
    """
    if condition.shape[1] != network.module.conditions:
        raise UserError(
            f"the flow takes {network.module.conditions} numbers of a condition, not "
            f"{condition.shape[1]}"
        )
    target = changed(condition, changes)
    z, _ = flow(network, codes, condition)
    found = inverse(network, z, target)
    rows = np.zeros(codes.shape[1], bool)
    for name in changes:
        rows[slice(*ROWS[name])] = True
    return jnp.where(rows[:, None], found, jnp.asarray(codes))
