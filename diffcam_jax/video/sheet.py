"""A picture of a clip: a few frames, and below them what became of them."""

from pathlib import Path

import numpy as np

from diffcam_jax.errors import UserError
from diffcam_jax.faces.photo import read_photo, to_8_bits, write_photo

_COUNT, _WIDTH, _GAP = 6, 360, 8


def numbers(frames: int) -> list[int]:
    """The frames that are shown, evenly spread."""
    return sorted({round(float(x)) for x in np.linspace(0, frames - 1, _COUNT)})


def keep(work: Path, number: int, before: np.ndarray, after: np.ndarray) -> None:
    """Keeps a frame for the sheet.

    Args:
        work: folder.
        number: of the frame.
        before: the frame [h, w, 3], uint8 or uint16.
        after: the edited frame.
    """
    import cv2

    pair = []
    for pixels in (before, after):
        scale = min(1.0, _WIDTH / pixels.shape[1])
        size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
        pair.append(cv2.resize(to_8_bits(pixels), size, interpolation=cv2.INTER_AREA))
    gap = np.full((_GAP, pair[0].shape[1], 3), 255, np.uint8)
    write_photo(work / f"sheet_{number:06d}.png", np.concatenate([pair[0], gap, pair[1]]))


def write(path: Path, work: Path, shown: list[int]) -> None:
    """Joins what was kept.

    Args:
        path: of the sheet.
        work: see `keep`.
        shown: see `numbers`; those that are missing are left out.
    """
    columns = []
    for number in shown:
        try:
            columns.append(read_photo(work / f"sheet_{number:06d}.png").pixels)
        except UserError:
            continue
    if columns:
        gap = np.full((columns[0].shape[0], _GAP, 3), 255, np.uint8)
        parts = [part for column in columns for part in (gap, column)][1:]
        write_photo(path, np.concatenate(parts, 1))
