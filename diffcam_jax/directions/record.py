"""The record of a linear direction in W+.

A direction is measured in strengths: strength 1 is one clear edit and adds exactly `array` to a W+
code, so that directions of any source (fitted here, InterFaceGAN boundaries, SeFa, GANSpace, the
official 18x512 files with their alpha of 20 on a unit-norm array) are used in the same way. The
applied scale is recorded in `normalisation`.
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from diffcam_jax.directions.acts import WHOLE
from diffcam_jax.errors import UserError
from diffcam_jax.nn.conventions import CLASSES

MOST_ROWS = 64  # of W+ codes in a file; the largest generators read 18


@dataclasses.dataclass(frozen=True, eq=False)
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

    conditions: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        if self.array.ndim != 2 or self.array.dtype != np.float32:
            raise ValueError(
                f"direction {self.name!r}: expected float32 [rows, k], got {self.array.dtype} "
                f"{self.array.shape}"
            )
        check_record(self, len(self.array))

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

    def moved(
        self,
        codes: Float[np.ndarray, "b n k"],
        strength: float | Float[np.ndarray, " b"],
        condition: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> Float[np.ndarray, "b n k"]:
        """Codes after this edit, see `edits.Edit`; rows that the array does not have stay."""
        amount = np.asarray(strength, np.float32)[..., None, None]
        return codes + amount * for_rows(self.array, codes.shape[1])


def check_record(edit: Any, rows: int) -> None:
    """Checks what the records of all edits have in common.

    Args:
        edit: a `Direction`, or another implementation of `edits.Edit`.
        rows: of the codes that it is for.

    Raises:
        UserError: see `check_layers`.
        ValueError: a class, the range, the box, the move or the ceiling makes no sense.
    """
    check_layers(edit.layers, rows)
    if unknown := [name for name in edit.classes if name not in CLASSES]:
        raise ValueError(
            f"direction {edit.name!r}: no face-parsing class is called {', '.join(unknown)}; "
            f"known are {', '.join(CLASSES)}"
        )
    low, high = edit.range
    if not -math.inf < low <= high < math.inf:
        raise ValueError(f"direction {edit.name!r}: {edit.range} is no range of strengths")
    top, bottom, left, right = edit.box
    if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
        raise ValueError(
            f"direction {edit.name!r}: box {edit.box} is not (top, bottom, left, right) "
            f"as ascending fractions from 0 to 1"
        )
    if not 0 <= edit.move < math.inf or not edit.ceiling > -math.inf:
        raise ValueError(
            f"direction {edit.name!r}: expected a finite move of at least 0 and a ceiling, "
            f"got {edit.move:g} and {edit.ceiling:g}"
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


def for_rows(array: Float[np.ndarray, "_ k"], rows: int) -> Float[np.ndarray, "{rows} k"]:
    """A direction's array for codes of so many rows.

    A single row is repeated; codes may have more rows than their generator reads, which get zeros.
    """
    array = np.repeat(array, rows, 0) if len(array) == 1 else array[:rows]
    return np.pad(array, ((0, rows - len(array)), (0, 0)))
