"""Semantic directions in W+: the record, its file, and the sum of several.

A direction is measured in strengths: strength 1 is one clear edit and adds exactly `array` to a W+ code, so that
directions of any source (fitted here, InterFaceGAN boundaries, SeFa, the official 18x512 files with their alpha of 20 on a
unit-norm array) are used alike. The scale that was applied is recorded in `normalisation`.
"""

import dataclasses
import difflib
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diffcam_jax import weights
from diffcam_jax.errors import UserError
from diffcam_jax.latents import WPLUS_ROWS


@dataclasses.dataclass(frozen=True)
class Direction:
    """One way to change a face.

    Attributes:
      name: what it does at a positive strength.
      array: [18, 512] float32, added to W+ at strength 1; rows outside `layers` are zero.
      range: strengths between which pictures stay clean (lowest, highest).
      layers: half-open range of W+ rows it acts on.
      generator: hash of the generator's parameters it was made for, empty when unknown.
      normalisation: how the array was scaled so that 1 is one clear edit.
      method: how it was made.
      licence: terms it may be used under.
    """

    name: str
    array: np.ndarray
    range: tuple[float, float]
    layers: tuple[int, int]
    generator: str
    normalisation: str
    method: str
    licence: str

    def __post_init__(self):
        if self.array.shape != (WPLUS_ROWS, 512) or self.array.dtype != np.float32:
            raise ValueError(
                f"direction {self.name!r}: expected float32 [18, 512], got {self.array.dtype} {self.array.shape}"
            )

    @property
    def sha256(self) -> str:
        """Hash of the array's bytes; classifiers record it for the directions they were trained on."""
        return hashlib.sha256(np.ascontiguousarray(self.array).tobytes()).hexdigest()


def save_directions(path: Path, directions: Mapping[str, Direction]) -> None:
    """Writes directions into one safetensors file, arrays in half precision when that is exact."""
    tables = {}
    for name, direction in directions.items():
        record = dataclasses.asdict(direction)
        del record["array"]
        tables[name] = record
    # Rows outside the layers are zero and compress to nothing: only the rows in use are stored.
    params = {name: d.array[slice(*d.layers)] for name, d in directions.items()}
    weights.save(path, params, {"kind": "directions", "directions": tables})


def load_directions(path: Path | str | None = None) -> dict[str, Direction]:
    """Reads a directions file, by default the one that ships for the embedded generator.

    Args:
      path: a file written by `save_directions`, or None.

    Returns:
      name -> Direction, in the order of the file.

    Raises:
      UserError: the file is missing or no directions file.
    """
    params, metadata = weights.load_pretrained("directions_mobile") if path is None else weights.load(Path(path))
    if metadata.get("kind") != "directions":
        raise UserError(f"{path}: not a directions file; make one with python -m diffcam_jax.directions import")
    directions = {}
    for name, record in metadata["directions"].items():
        array = np.zeros((WPLUS_ROWS, 512), np.float32)
        array[slice(*record["layers"])] = params[name]
        record = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
        directions[name] = Direction(array=array, **record)
    return directions


def check_strengths(directions: Mapping[str, Direction], strengths: Mapping[str, float]) -> None:
    """Refuses unknown attributes and strengths that leave the clean range.

    Raises:
      UserError: with the nearest known name, or the allowed range.
    """
    for name, strength in strengths.items():
        if name not in directions:
            near = difflib.get_close_matches(name, directions, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(directions)}"
            raise UserError(f"unknown attribute {name!r}; {hint}")
        low, high = directions[name].range
        if not math.isfinite(strength) or not low <= strength <= high:
            raise UserError(f"strength {strength:g} of {name} is out of range; choose from {low:g} to {high:g}")


def from_vector(
    vector: np.ndarray, name: str, layers: tuple[int, int], length: float, generator: str, method: str
) -> Direction:
    """A direction that adds the same vector [512], scaled to `length`, to every row of a range of layers."""
    array = np.zeros((WPLUS_ROWS, 512), np.float32)
    array[slice(*layers)] = vector * (length / np.linalg.norm(vector))
    return Direction(name, array, (-2.0, 2.0), layers, generator, f"length {length:g} in W", method, "as the generator")


def direction_matrix(directions: Mapping[str, Direction], names: list[str]) -> np.ndarray:
    """Stacks the arrays of the named directions to [n, 18, 512]."""
    return np.stack([directions[name].array for name in names])
