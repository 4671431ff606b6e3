"""Folders of frames: one picture each, in the order of the numbers in their names."""

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from diffcam_jax.errors import UserError
from diffcam_jax.faces.photo import Photo, list_photos, read_photo, write_photo
from diffcam_jax.files.trees import replacing
from diffcam_jax.video.clip import Clip, Frame

RATE = 25  # frames in a second; a folder does not say


def open_folder(path: Path) -> Clip:
    """Opens a folder of frames, see `opening.open_clip`."""
    files = sorted(list_photos(path), key=_in_order)
    taken: dict[str, Path] = {}
    for file in files:
        other = taken.setdefault(result_name(file), file)
        if other != file:
            raise UserError(
                f"{path}: the frames {other.name} and {file.name} would both be written as "
                f"{result_name(file)}; rename one"
            )
    first, refusal = None, None
    for file in files:
        try:
            first = read_photo(file)
            break
        except UserError as error:
            refusal = refusal or error
    if first is None:
        raise UserError(f"{path}: none of its frames can be read: {refusal}")
    height, width, _ = first.pixels.shape
    notes = (f"a folder has no frame rate; {RATE} frames in a second are taken to be shown",)
    return Clip(
        path, "folder", width, height, len(files), len(files) / RATE, notes, files=tuple(files)
    )


def read_folder(clip: Clip, start: int, damaged: list[str]) -> Iterator[Frame]:
    """Reads a folder of frames, see `opening.read_frames`.

    `Frame.native` is the photograph, or None where it cannot be read.
    """
    for number, file in enumerate(clip.files[start:], start):
        photo: Photo | None = None
        reason = None
        try:
            photo = read_photo(file)
        except UserError as error:
            reason = str(error)
        pixels = np.zeros((clip.height, clip.width, 3), np.uint8) if photo is None else photo.pixels
        if pixels.shape != (clip.height, clip.width, 3):
            height, width, _ = pixels.shape
            raise UserError(
                f"{file}: has {width}x{height} pixels, and the first frame {clip.width}x"
                f"{clip.height}; the frames of a clip have one size"
            )
        if reason:
            damaged.append(f"frame {number}: {reason}")
        yield Frame(number, number / RATE, pixels, photo, reason)


def result_name(file: Path) -> str:
    """How the edited frame of a file is called."""
    return f"{file.stem}.png"


def write(
    file: Path, photo: Photo | None, pixels: np.ndarray, touched: np.ndarray, folder: Path
) -> None:
    """Writes an edited frame into a folder, as PNG with everything that its file says.

    Args:
        file: of the frame.
        photo: that was read from it; None where it is damaged, so that it is copied.
        pixels: [h, w, 3], edited.
        touched: [h, w]; outside of it the pixels of the photograph are kept.
        folder: that exists.
    """
    target = folder / result_name(file)
    if photo is None or (file.suffix.lower() == ".png" and not touched.any()):
        with replacing(target) as copy, file.open("rb") as source:
            shutil.copyfileobj(source, copy)
        return
    kept = np.where(touched[..., None], pixels, photo.pixels)
    write_photo(target, dataclasses.replace(photo, pixels=kept))


def move(made: Path, out: Path) -> None:
    """Moves finished frames into the folder of results."""
    if not out.exists():
        with contextlib.suppress(OSError):  # another file system
            made.rename(out)
            return
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(made.iterdir()):
        shutil.move(file, out / file.name)


def _in_order(path: Path) -> tuple[list[str | int], str]:
    """Frame 9 before frame 10; text and numbers take turns, so equal places compare."""
    parts = re.split(r"([0-9]+)", path.name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name
