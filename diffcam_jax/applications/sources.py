"""Photographs and files of codes, in the order they were named, as codes."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.applications.faces import Choice, Studio, read_face
from diffcam_jax.applications.reconstruction import Limits, search
from diffcam_jax.errors import UserError
from diffcam_jax.files import codes as code_files
from diffcam_jax.inversion import Inverter

CODES = ".safetensors"


class Face(NamedTuple):
    """A face by its photograph, its code or both.

    Attributes:
        name: of the photograph.
        picture: uint8 [s, s, 3], the aligned photograph; None for a code from a file.
        code: W+ [n, k]; None before the photograph is inverted.
    """

    name: str
    picture: UInt8[np.ndarray, "s s 3"] | None
    code: Float[np.ndarray, "n k"] | None


def holds_codes(path: Path) -> bool:
    """Whether a path is meant as a file of codes."""
    return path.suffix == CODES


def gather(studio: Studio, paths: Sequence[Path], choice: Choice = Choice()) -> list[Face]:
    """Reads photographs and codes; inverts nothing.

    Problems with a file are therefore reported before an inversion has taken its minutes.

    Args:
        studio: the generator they are for.
        paths: photographs and files of codes (.safetensors, every code in them).
        choice: which face of the photographs.

    Raises:
        UserError: a photograph that cannot be read or shows no face, codes of another generator.
    """
    faces = []
    for path in paths:
        if holds_codes(path):
            loaded = code_files.load(path, studio.hash, studio.rows)
            faces += [
                Face(_plain(name), None, code) for name, code in zip(loaded.names, loaded.codes)
            ]
        else:
            faces.append(Face(path.stem, read_face(path, studio.size, choice), None))
    return faces


def _plain(name: str) -> str:
    """A name from a file of codes as part of a file name that stays in the output folder."""
    return re.sub(r"[^\w.-]", "_", name)[:80]


def encode(
    inverter: Inverter,
    faces: Sequence[Face],
    limits: Limits = Limits(),
    cached: bool = True,
    progress: bool = False,
) -> list[Face]:
    """The same faces, each with a code.

    Args:
        inverter: of the generator they were gathered for.
        faces: those without a code have a picture.
        limits: see `reconstruction.search`.
        cached: read and keep codes on disk.
        progress: show a bar.

    Raises:
        UserError: a picture for which no code was found; see `inversion.invert`.
    """
    pictures = [face.picture for face in faces if face.code is None]
    if not pictures:
        return list(faces)
    found = search(inverter, np.stack(pictures), limits=limits, cached=cached, progress=progress)
    if not found.valid.all():
        raise UserError("; ".join(found.notes) + "; try another --method")
    new = iter(found.codes)
    return [face if face.code is not None else face._replace(code=next(new)) for face in faces]
