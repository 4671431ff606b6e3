"""Codes moved along semantic boundaries: what an attribute does, from less of it to more.

A boundary [n, k] is added to W+ codes, row by row, times a strength; rows outside its layers are
zero. Shipped and fitted directions count in clear edits; the array of a file counts as it is
stored, as the released boundaries of unit length do. Source: Zhu et al., In-Domain GAN Inversion
(2004.00049), section 4.4 and the released code.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from diffcam_jax.directions import Edit, check_layers, load_directions, on_layers
from diffcam_jax.directions.edits import is_linear, steps
from diffcam_jax.directions.importers import import_direction, read_directions, together
from diffcam_jax.errors import UserError, suggestion

LOWEST, HIGHEST, COUNT = -3.0, 3.0, 7


def read_boundaries(source: str, scale: float = 1.0) -> Mapping[str, Edit]:
    """Directions that a person named.

    Args:
        source: the name of a shipped direction, a file of directions (.safetensors, all that are in
            it), a folder of .npy files, a flow's, or a file of one array (.npy, .pt: plain, or a
            boundary with its layers).
        scale: what a file's array is multiplied by; the released boundaries want 1, Diff-CAM's
            directions 20.

    Raises:
        UserError: no such direction or file, or no direction in it.
    """
    path = Path(source)
    if path.suffix == ".safetensors" or path.is_dir():
        return read_directions(path)
    if path.suffix in (".npy", ".pt", ".pth"):
        return {path.stem: import_direction(path, path.stem, scale=scale)}
    shipped = load_directions()
    if source not in shipped:
        raise UserError(
            f"no direction is called {source!r}; {suggestion(source, shipped)}, or give a file"
        )
    return {source: shipped[source]}


def read_all(sources: Sequence[str], scale: float = 1.0) -> dict[str, Edit]:
    """The directions of several sources, see `read_boundaries`.

    Raises:
        UserError: see there, or two have a direction of one name.
    """
    return together({source: read_boundaries(source, scale) for source in sources})


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


def fitted(
    edits: Mapping[str, Edit],
    rows: int,
    size: int,
    generator_hash: str,
    layers: tuple[int, int] | None = None,
) -> list[Edit]:
    """Edits for a generator.

    Args:
        edits: by name.
        rows: of the generator's W+ codes.
        size: length of a row.
        generator_hash: of its parameters.
        layers: half-open range to keep to; None for each edit's own.

    Raises:
        UserError: an edit of another generator or dimension, layers outside the generator's,
            nothing left on them.
    """
    found = []
    for name, edit in edits.items():
        if edit.generator and edit.generator != generator_hash:
            raise UserError(
                f"direction {name} was made for another generator; take directions of this one, "
                "or fit them"
            )
        edit = edit.fitted(rows, size)
        found.append(edit if layers is None else _confined(edit, layers, rows))
    return found


def _confined(edit: Edit, layers: tuple[int, int], rows: int) -> Edit:
    check_layers(layers, rows)
    first, end = max(layers[0], edit.layers[0]), min(layers[1], edit.layers[1])
    if first < end and not is_linear([edit]):
        return dataclasses.replace(edit, layers=(first, end))
    array = on_layers(edit.array, rows, layers) if first < end else np.zeros(())
    if not array.any():
        raise UserError(
            f"direction {edit.name} acts on layers {edit.layers[0]}-{edit.layers[1] - 1}: nothing "
            "is left of it on those of --layers"
        )
    return dataclasses.replace(edit, array=array, layers=(first, end))


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
    edits: Sequence[Edit],
    amounts: Float[np.ndarray, " m"],
    condition: Mapping[str, Float[np.ndarray, " b"]] = MappingProxyType({}),
) -> Float[np.ndarray, "b d m n k"]:
    """Every code moved by every edit by every strength.

    Strength 0 leaves it as it is, to the bit.

    Args:
        codes: W+.
        edits: see `fitted`.
        amounts: strengths.
        condition: of the codes' pictures, see `edits.measured`.

    Raises:
        UserError: an edit cannot move such a face, see `Edit.moved`.
    """
    count = len(amounts)
    repeated, strengths = np.repeat(codes, count, 0), np.tile(amounts, len(codes))[:, None]
    states = {name: np.repeat(values, count) for name, values in condition.items()}
    moved = [repeated + steps([edit], repeated, strengths, states)[0] for edit in edits]
    return np.stack([x.reshape(len(codes), count, *codes.shape[1:]) for x in moved], 1)
