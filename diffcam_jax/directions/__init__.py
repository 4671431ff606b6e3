"""Semantic directions in W+: the record, its file, and the sum of several.

A direction is measured in strengths: strength 1 is one clear edit and adds exactly `array` to a W+
code, so that directions of any source (fitted here, InterFaceGAN boundaries, SeFa, GANSpace, the
official 18x512 files with their alpha of 20 on a unit-norm array) are used in the same way. The
applied scale is recorded in `normalisation`.
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from diffcam_jax.directions.acts import WHOLE
from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.files import trees
from diffcam_jax.nn.conventions import CLASSES, WPLUS_ROWS
from diffcam_jax.pretrained import store

_MOST_ROWS = 64  # of W+ codes in a file; the largest generators read 18


@dataclasses.dataclass(frozen=True)
class Direction:
    """One way to change a picture.

    Attributes:
        name: the attribute that it increases at a positive strength.
        array: [rows, k] float32, added to W+ codes of its generator at strength 1; rows outside
            `layers` are zero. A single row is a direction in W: any generator with codes of k
            numbers applies it to all its rows.
        range: strengths between which pictures stay clean (lowest, highest).
        layers: half-open range of the array's rows it acts on.
        generator: hash of the parameters of the generator it was made for, empty when unknown.
        normalisation: how the array was scaled so that 1 is one clear edit.
        method: how it was made.
        licence: terms under which it may be used.
        classes: names of `nn.bisenet.CLASSES` on which it may act; empty for all of `acts.HEAD`.
        box: (top, bottom, left, right) relative to the aligned picture's side, outside of which it
            never acts.
        score: name of the score that measures it, of `scorers.SCORERS` unless it was fitted to one
            of your own; empty when there is none.
        move: usual rise of that score at strength 1, in its own unit: the mean over those generated
            faces that have room, the lower half by the score; 0 when unknown.
        ceiling: highest score that the attribute usually reaches at strength 1, the 90 % quantile
            over generated faces; a face beyond it has no room. Infinite when unknown.
    """

    name: str
    array: np.ndarray
    range: tuple[float, float]
    layers: tuple[int, int]
    generator: str
    normalisation: str
    method: str
    licence: str
    classes: tuple[str, ...] = ()
    box: tuple[float, float, float, float] = WHOLE
    score: str = ""
    move: float = 0.0
    ceiling: float = math.inf

    def __post_init__(self):
        if self.array.ndim != 2 or self.array.dtype != np.float32:
            raise ValueError(
                f"direction {self.name!r}: expected float32 [rows, k], got {self.array.dtype} "
                f"{self.array.shape}"
            )
        check_layers(self.layers, len(self.array))
        if unknown := [name for name in self.classes if name not in CLASSES]:
            raise ValueError(
                f"direction {self.name!r}: no face-parsing class is called {', '.join(unknown)}; "
                f"known are {', '.join(CLASSES)}"
            )
        low, high = self.range
        if not -math.inf < low <= high < math.inf:
            raise ValueError(f"direction {self.name!r}: {self.range} is no range of strengths")
        top, bottom, left, right = self.box
        if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
            raise ValueError(
                f"direction {self.name!r}: box {self.box} is not (top, bottom, left, right) "
                f"as ascending fractions from 0 to 1"
            )
        if not 0 <= self.move < math.inf or not self.ceiling > -math.inf:
            raise ValueError(
                f"direction {self.name!r}: expected a finite move of at least 0 and a ceiling, "
                f"got {self.move:g} and {self.ceiling:g}"
            )

    @property
    def sha256(self) -> str:
        """Hash of the array's bytes; classifiers record it for the directions of their training."""
        return hashlib.sha256(np.ascontiguousarray(self.array).tobytes()).hexdigest()

    def fitted(self, rows: int, size: int) -> "Direction":
        """The same direction with one row for each of a generator's.

        Args:
            rows: of the generator's W+ codes.
            size: of each row.

        Raises:
            UserError: the direction has another size, or other rows than the generator; additional
                rows of zeros at the end are accepted.
        """
        own_rows, own_size = self.array.shape
        if own_size == size and own_rows == rows:
            return self
        if own_size == size and own_rows == 1:
            return dataclasses.replace(self, array=np.repeat(self.array, rows, 0), layers=(0, rows))
        if (
            own_size == size
            and own_rows > rows
            and self.layers[0] < rows
            and not self.array[rows:].any()
        ):
            layers = (self.layers[0], min(self.layers[1], rows))
            return dataclasses.replace(self, array=self.array[:rows], layers=layers)
        raise UserError(
            f"direction {self.name} has {own_rows} rows of {own_size} numbers, the generator "
            f"reads {rows} of {size}; use directions of this generator"
        )


def check_layers(layers: tuple[int, int], rows: int) -> None:
    """Checks that a half-open range of layers lies within a generator's rows.

    Raises:
        UserError: it does not, or is empty.
    """
    if not 0 <= layers[0] < layers[1] <= rows:
        raise UserError(
            f"layers {layers[0]} to {layers[1]} (end excluded) do not lie within the generator's; "
            f"choose from 0 to {rows}, the first below the end"
        )


def save_directions(path: Path, directions: Mapping[str, Direction]) -> None:
    """Writes directions into one safetensors file."""
    tables = {}
    for name, direction in directions.items():
        record = dataclasses.asdict(direction)
        record["rows"] = len(record.pop("array"))
        if math.isinf(direction.ceiling):  # JSON has no infinity
            del record["ceiling"]
        tables[name] = record
    # Rows outside the layers are zero: only those in use are stored.
    params = {name: d.array[slice(*d.layers)] for name, d in directions.items()}
    trees.save(path, params, {"kind": "directions", "directions": tables})


def load_directions(path: Path | str | None = None) -> dict[str, Direction]:
    """Reads a directions file, by default the one that ships for the embedded generator.

    Args:
        path: a file written by `save_directions`, or None.

    Returns:
        Name -> Direction, in the order of the file.

    Raises:
        UserError: the file is missing, is not a directions file, or holds an invalid record.
    """
    params, metadata = (
        store.load_pretrained("directions_mobile") if path is None else trees.load(Path(path))
    )
    if metadata.get("kind") != "directions":
        raise UserError(
            f"{path}: not a directions file; make one with python -m diffcam_jax.directions import"
        )
    try:
        return {
            name: _of_record(record, params[name])
            for name, record in metadata["directions"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(
            f"{path}: no record of a direction ({type(error).__name__}: {error}); make the "
            "directions file again"
        ) from error


def _of_record(record: Mapping[str, Any], stored: np.ndarray) -> Direction:
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    # The shipped file has no row counts: all its directions have the rows of 1024 pixels.
    rows, (first, end) = given.pop("rows", WPLUS_ROWS), given["layers"]
    if not 1 <= rows <= _MOST_ROWS:
        raise ValueError(f"{rows} rows")
    if stored.ndim != 2 or len(stored) != end - first or not np.isfinite(stored).all():
        raise ValueError(f"numbers of shape {stored.shape} for the layers {first} to {end}")
    check_layers((first, end), rows)
    array = np.zeros((rows, stored.shape[1]), np.float32)
    array[first:end] = stored
    return Direction(array=array, **given)


def check_strengths(directions: Mapping[str, Direction], strengths: Mapping[str, float]) -> None:
    """Refuses unknown attributes and strengths that leave the clean range.

    Raises:
        UserError: names the closest known attribute, or the allowed range.
    """
    for name, strength in strengths.items():
        if name not in directions:
            raise UserError(f"unknown attribute {name!r}; {suggestion(name, directions)}")
        low, high = directions[name].range
        if not math.isfinite(strength) or not low <= strength <= high:
            raise UserError(
                f"strength {strength:g} of {name} is out of range; choose from {low:g} to {high:g}"
            )


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
        rows: of the codes to which they are added. A single row is repeated; codes may have more
            rows than their generator reads, which get zeros. By default the arrays are not changed.
    """
    if rows is None:
        return np.stack([directions[name].array for name in names])
    stack = []
    for array in (directions[name].array for name in names):
        array = np.repeat(array, rows, 0) if len(array) == 1 else array[:rows]
        stack.append(np.pad(array, ((0, rows - len(array)), (0, 0))))
    return np.stack(stack)


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
