"""Photographs on the command line: which files, which face of them, and which of them failed."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from diffcam_jax.command.program import as_called
from diffcam_jax.errors import UserError, no_room
from diffcam_jax.faces.landmark_files import read_landmarks_file
from diffcam_jax.faces.photo import Photo, as_mask, list_photos, read_photo


def parse_face(text: str) -> int | str:
    """Which face: "largest", "all", or a number from 1 on.

    Raises:
        UserError: anything else.
    """
    if text in ("largest", "all"):
        return text
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--face {text}: give a number from 1 (the largest) on, or all")
    return int(text)


def find(paths: Sequence[Path], skip: Callable[[Path], bool] = lambda photo: False) -> list[Path]:
    """The photographs that were asked for; folders are listed.

    Args:
        paths: of photographs and folders.
        skip: says which pictures of a folder are none to be edited.

    Raises:
        UserError: there are none, or two would be written to one file.
    """
    if not paths:
        raise UserError(
            as_called("no photograph given: python edit.py PHOTO --attribute smiling=1")
        )
    photos = []
    for path in paths:
        inside = list_photos(path) if path.is_dir() else None
        photos += [path] if inside is None else [p for p in inside if not skip(p)]
    stems: dict[str, Path] = {}
    for photo in photos:
        if photo.stem in stems and photo != stems[photo.stem]:
            raise UserError(
                f"{stems[photo.stem]} and {photo} would both be written to {photo.stem}.png; "
                "rename one"
            )
        stems[photo.stem] = photo
    return list(stems.values())


def is_single(paths: Sequence[Path], photos: Sequence[Path]) -> bool:
    """Whether one photograph was named, so that what is wrong with it ends the program.

    Args:
        paths: as given.
        photos: what `find` made of them.
    """
    return len(photos) == 1 and not paths[0].is_dir()


def note_failure(failed: dict[str, str], photo: Path, error: UserError, single: bool) -> None:
    """Notes a photograph that cannot be used; the others go on.

    Args:
        failed: name -> reason, to which it is added.
        photo: the photograph.
        error: what is wrong with it.
        single: see `is_single`.

    Raises:
        UserError: it is the only one, or nothing can be written any more, so that all the others
            would fail as well.
    """
    if single or no_room(error.__cause__):
        raise error
    message = str(error)
    failed[photo.name] = message
    named = message if str(photo) in message else f"{photo}: {message}"
    tqdm.write(f"error: {named}", file=sys.stderr)


def tell_notes(path: Path, photo: Photo) -> None:
    """Tells what was left out of a photograph's file."""
    for note in photo.source.notes:
        tqdm.write(f"note: {path}: {note}", file=sys.stderr)


def read_landmarks(path: Path | None) -> Float[np.ndarray, "n 2"] | None:
    """The points of a face, in pixels; see `faces.landmark_files.read_landmarks_file`."""
    return None if path is None else read_landmarks_file(path)


def read_mask(path: Path | None, first_frame: bool = False) -> Float[np.ndarray, "h w"] | None:
    """A grey picture as a mask, float32 [h, w] in [0, 1].

    Args:
        path: of the picture, if there is one.
        first_frame: see `read_photo`.

    Raises:
        UserError: it cannot be read.
    """
    return None if path is None else as_mask(read_photo(path, first_frame=first_frame).pixels)


def stamp(path: Path) -> list[str | int]:
    """Path, size and time of change of a file; a photograph that changed is edited again."""
    try:
        facts = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), facts.st_size, facts.st_mtime_ns]
