"""Directions made of vectors, and stacked ones."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from diffcam_jax.directions.record import Direction, check_layers, for_rows


def on_layers(
    vector: Float[np.ndarray, "*one k"], rows: int, layers: tuple[int, int]
) -> Float[np.ndarray, "rows k"]:
    """A step for all rows ([k] or [1, k]) or one for each ([rows, k]), zero outside some layers.

    Raises:
        UserError: the layers do not lie within the rows.
    """
    check_layers(layers, rows)
    array = np.zeros((rows, vector.shape[-1]), np.float32)
    array[slice(*layers)] = np.broadcast_to(vector, array.shape)[slice(*layers)]
    return array


def direction_matrix(
    directions: Mapping[str, Direction], names: list[str], rows: int | None = None
) -> Float[np.ndarray, "n rows k"]:
    """Stacks the arrays of the named directions.

    Args:
        directions: by name.
        names: of the directions to stack, in this order.
        rows: of the codes to which they are added, see `for_rows`. By default the arrays are not
            changed.
    """
    if rows is None:
        return np.stack([directions[name].array for name in names])
    return np.stack([for_rows(directions[name].array, rows) for name in names])


def from_vector(
    vector: Float[np.ndarray, "*one k"],
    name: str,
    rows: int,
    layers: tuple[int, int],
    length: float | None,
    generator: str,
    method: str,
) -> Direction:
    """A direction made of a vector for all rows of a generator, or one for each.

    Args:
        vector: [k], [1, k] or [rows, k].
        name: see `Direction`.
        rows: of the generator's W+ codes.
        layers: half-open range of rows that it acts on.
        length: mean length that strength 1 adds to a row; None takes the vector unscaled.
        generator: see `Direction`.
        method: see `Direction`.

    Raises:
        UserError: the layers do not lie within the rows.
    """
    array = on_layers(vector, rows, layers)
    used = array[slice(*layers)]
    if length is not None:
        array = array * np.float32(length / np.sqrt((used**2).sum(1).mean()))
    normalisation = "one standard deviation" if length is None else f"length {length:g} in W"
    return Direction(
        name, array, (-2.0, 2.0), layers, generator, normalisation, method, "as the generator"
    )
