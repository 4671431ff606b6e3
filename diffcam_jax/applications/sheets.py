"""Sheets of pictures with labels, as files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.faces.panel import labelled_grid
from diffcam_jax.faces.photo import write_photo

Labelled = tuple[str, UInt8[np.ndarray, "_ _ 3"]]
SIDE = 240


def write_sheet(path: Path, sheet: Any) -> None:
    """Writes what `panel` made."""
    write_photo(path, np.asarray(sheet))


def write_crossing(
    path: Path,
    rows: Sequence[Labelled],
    columns: Sequence[Labelled],
    pictures: UInt8[np.ndarray, "m n s s 3"],
) -> None:
    """A grid of pictures under and beside those they were made of.

    Args:
        path: of the file.
        rows: (label, picture) of what each row was made of.
        columns: the same for each column.
        pictures: one for every pair.
    """
    made = [[beside, *(("", picture) for picture in row)] for beside, row in zip(rows, pictures)]
    write_sheet(path, labelled_grid([[("", None), *columns], *made], SIDE))


def write_between(
    path: Path,
    pictures: UInt8[np.ndarray, "m n s s 3"],
    ends: Sequence[tuple[str, UInt8[np.ndarray, "_ _ 3"] | None]] = (),
) -> None:
    """Pictures between others, each under its share of the way.

    Args:
        path: of the file.
        pictures: in rows; a grid between four corners, or one row between two ends.
        ends: of one row: name and photograph, None where there is none.
    """
    shares = [f"{share:.2f}" for share in np.linspace(0, 1, pictures.shape[1])]
    if not ends:
        rows = [[(f"{y}, {x}", p) for x, p in zip(shares, row)] for y, row in zip(shares, pictures)]
        write_sheet(path, labelled_grid(rows, 200))
        return
    shown = [(f"{name} (photograph)", picture) for name, picture in ends]
    shares[0], shares[-1] = (f"{name}: {s}" for (name, _), s in zip(ends, (shares[0], shares[-1])))
    cells = [shown[0], *zip(shares, pictures[0]), shown[1]]
    write_sheet(path, labelled_grid([[cell for cell in cells if cell[1] is not None]], 320))


def write_strengths(
    path: Path,
    photograph: UInt8[np.ndarray, "_ _ 3"] | None,
    names: Sequence[str],
    amounts: Float[np.ndarray, " n"],
    pictures: UInt8[np.ndarray, "m n s s 3"],
) -> None:
    """A row of pictures for each direction, from the lowest strength to the highest.

    Args:
        path: of the file.
        photograph: shown in front of each row; None where there is none.
        names: of the directions.
        amounts: strengths.
        pictures: for every direction and strength.
    """
    first = [] if photograph is None else [("photograph", photograph)]
    rows = [
        [*first, *((f"{name} {amount:+.3g}", picture) for amount, picture in zip(amounts, row))]
        for name, row in zip(names, pictures)
    ]
    write_sheet(path, labelled_grid(rows, SIDE))
