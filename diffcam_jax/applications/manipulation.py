"""Codes moved along semantic boundaries: what an attribute does, from less of it to more.

A boundary [n, k] is added to W+ codes, row by row, times a strength; rows outside its layers are
zero. Shipped and fitted directions count in clear edits; the array of a file counts as it is
stored, as the released boundaries of unit length do. Source: Zhu et al., In-Domain GAN Inversion
(2004.00049), section 4.4 and the released code.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from diffcam_jax.directions import Direction, load_directions, on_layers
from diffcam_jax.directions.importers import import_direction
from diffcam_jax.errors import UserError, suggestion

LOWEST, HIGHEST, COUNT = -3.0, 3.0, 7


def read_boundaries(source: str, scale: float = 1.0) -> dict[str, Direction]:
    """Directions that a person named.

    Args:
        source: the name of a shipped direction, a file of directions (.safetensors, all that are in
            it), or a file of one array (.npy, .pt: plain, or a boundary with its layers).
        scale: what a file's array is multiplied by; the released boundaries want 1, Diff-CAM's
            directions 20.

    Raises:
        UserError: no such direction or file, or no direction in it.
    """
    path = Path(source)
    if path.suffix == ".safetensors":
        return load_directions(path)
    if path.suffix in (".npy", ".pt", ".pth"):
        return {path.stem: import_direction(path, path.stem, scale=scale)}
    shipped = load_directions()
    if source not in shipped:
        raise UserError(
            f"no direction is called {source!r}; {suggestion(source, shipped)}, or give a file"
        )
    return {source: shipped[source]}


def parse_layers(text: str | None) -> tuple[int, int] | None:
    """Layers, written as "2-5" or "4", as a half-open range.

    Raises:
        UserError: neither, or the last is before the first.
    """
    if text is None:
        return None
    first, _, last = text.partition("-")
    if not first.isdecimal() or not (last or first).isdecimal() or int(last or first) < int(first):
        raise UserError(f"--layers {text}: give the first and the last layer, for instance 2-5")
    return int(first), int(last or first) + 1


def boundary_steps(
    directions: Mapping[str, Direction],
    rows: int,
    size: int,
    generator_hash: str,
    layers: tuple[int, int] | None = None,
) -> Float[np.ndarray, "d n k"]:
    """What strength 1 adds to a generator's codes.

    Args:
        directions: by name.
        rows: of the generator's W+ codes.
        size: length of a row.
        generator_hash: of its parameters.
        layers: half-open range to keep to; None for each direction's own.

    Raises:
        UserError: a direction of another generator or dimension, layers outside the generator's,
            nothing left on them.
    """
    steps = []
    for name, direction in directions.items():
        if direction.generator and direction.generator != generator_hash:
            raise UserError(
                f"direction {name} was made for another generator; take directions of this one, "
                "or fit them"
            )
        array = direction.fitted(rows, size).array
        array = array if layers is None else on_layers(array, rows, layers)
        if not array.any():
            own = direction.layers
            raise UserError(
                f"direction {name} acts on layers {own[0]}-{own[1] - 1}: nothing is left of it "
                "on those of --layers"
            )
        steps.append(array)
    return np.stack(steps)


def strengths(
    lowest: float = LOWEST, highest: float = HIGHEST, count: int = COUNT
) -> Float[np.ndarray, " m"]:
    """Evenly spaced strengths, both ends included.

    Raises:
        UserError: no finite range, or fewer than two.
    """
    if not (np.isfinite([lowest, highest]).all() and lowest < highest) or count < 2:
        raise UserError(
            f"strengths from {lowest:g} to {highest:g} in {count} steps: give a range and 2 "
            "steps or more"
        )
    return np.linspace(lowest, highest, count, dtype=np.float32)


def manipulate(
    codes: Float[np.ndarray, "b n k"],
    steps: Float[np.ndarray, "d n k"],
    amounts: Float[np.ndarray, " m"],
) -> Float[np.ndarray, "b d m n k"]:
    """Every code moved along every direction by every strength.

    Strength 0 leaves it as it is, to the bit.

    Args:
        codes: W+.
        steps: what strength 1 adds, see `boundary_steps`.
        amounts: strengths.
    """
    return codes[:, None, None] + amounts[:, None, None] * steps[:, None]
