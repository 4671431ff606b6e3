"""Sheets of pictures with labels, as files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from diffcam_jax.panel import labelled_grid
from diffcam_jax.photo import write_photo

Labelled = tuple[str, UInt8[np.ndarray, "_ _ 3"]]
SIDE = 240


def write_sheet(path: Path, sheet: Any) -> None:
    """Writes what `panel` made."""
    write_photo(path, np.asarray(sheet))


def write_crossing(
    path: Path, rows: Sequence[Labelled], columns: Sequence[Labelled], pictures: UInt8[np.ndarray, "m n s s 3"]
) -> None:
    """A grid of pictures under and beside those they were made of.

    Args:
        path: of the file.
        rows, columns: (label, picture) of what each row and each column was made of.
        pictures: one for every pair.
    """
    made = [[beside, *(("", picture) for picture in row)] for beside, row in zip(rows, pictures)]
    write_sheet(path, labelled_grid([[("", None), *columns], *made], SIDE))
