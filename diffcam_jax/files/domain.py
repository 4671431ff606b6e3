"""What kind of pictures an editor edits: how they are cropped, and where edits may act.

A domain is a folder with networks, directions and this description, DIR/domain.json:

    {"format": 1, "name": "emoji", "size": 64, "crop": "square", "padding": [0, 0, 0, 0],
     "parsing": false, "tune": 100, "licence": "...",
     "networks": {"generator": "generator", "encoder": "encoder", "classifier": "classifier"},
     "directions": "directions.safetensors"}

Without such a folder it is faces, aligned as in FFHQ.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float32

from diffcam_jax.errors import UserError
from diffcam_jax.files.json_text import decode
from diffcam_jax.files.trees import write_atomically

FILE = "domain.json"
MOST_STEPS = 100  # of tuning, by default
ROLES = ("generator", "encoder", "classifier", "deghoster")
Crop = Literal["face", "square", "whole"]
Beyond = Literal["mirrored", "black"]


@dataclasses.dataclass(frozen=True)
class Domain:
    """A kind of pictures.

    Attributes:
        name: of the domain.
        size: side of the generator's square pictures.
        crop: what of a photograph is edited: every "face", the largest centred "square", or the
            "whole", scaled to fit into what is not padding.
        padding: shares of the square at its top, bottom, left and right that are no part of the
            pictures, such as the bars of cars of 512 x 384 in 512 x 512; no mask enters them.
        parsing: whether face parsing says where attributes may act.
        tune: steps for which the generator is tuned to one photograph unless another number is
            asked for; folders take a third, some four seconds for a face on two cores.
        licence: terms of the networks.
    """

    name: str
    size: int
    crop: Crop
    padding: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    parsing: bool = False
    tune: int = 20
    licence: str = ""

    @property
    def of_faces(self) -> bool:
        """Whether faces are looked for, and aligned."""
        return self.crop == "face"

    @property
    def tune_quickly(self) -> int:
        """The steps for each photograph of a folder."""
        return math.ceil(self.tune / 3)

    @property
    def beyond(self) -> Beyond:
        """What is shown beyond the border of a photograph, see `align.crop`."""
        return "mirrored" if self.of_faces else "black"

    def inside(self, side: int) -> Float32[np.ndarray, "{side} {side}"]:
        """1 where a mask of this side may be, and 0 in the padding and the cells next to it.

        Masks are interpolated between cells when they are pasted.
        """
        top, bottom, left, right = (
            math.ceil(share * side) + 1 if share else 0 for share in self.padding
        )
        allowed = np.zeros((side, side), np.float32)
        allowed[top : side - bottom, left : side - right] = 1
        return allowed


FACES = Domain("faces", 1024, "face", parsing=True)


def write(folder: Path, domain: Domain, networks: Mapping[str, str], directions: str) -> None:
    """Writes the description of a folder.

    Args:
        folder: of the domain.
        domain: that it holds.
        networks: role -> place inside the folder.
        directions: their place inside the folder.
    """
    content = {"format": 1, **dataclasses.asdict(domain), "networks": dict(networks)}
    content["directions"] = directions
    write_atomically(folder / FILE, json.dumps(content, indent=2).encode() + b"\n")


def read(folder: Path) -> tuple[Domain, dict[str, Path]]:
    """Reads a folder.

    Returns:
        The domain, and the places of its networks by role and of its "directions".

    Raises:
        UserError: there is no domain, or its description is damaged or leads out of the folder.
    """
    path = folder / FILE
    try:
        given = decode(path.read_text())
        places = {**given.pop("networks"), "directions": given.pop("directions")}
        if given.pop("format") != 1:
            raise UserError(f"{path}: was written by a later version; install that one")
        domain = _checked(given)
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} holds no {FILE}; a domain is made by diffcam-domain new"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); make the domain again") from error
    found = {}
    for role, place in places.items():
        if role not in (*ROLES, "directions"):
            raise UserError(f"{path}: no network is called {role!r}; there are {', '.join(ROLES)}")
        found[role] = folder / str(place)
        try:
            inside = found[role].resolve().is_relative_to(folder.resolve())
        except (OSError, ValueError) as error:  # no name that a file can have
            raise UserError(f"{path}: {role} is at no place ({error}); name a folder") from error
        if not inside:
            raise UserError(f"{path}: {role} lies outside of the folder; put it inside")
    return domain, found


def _checked(given: dict[str, Any]) -> Domain:
    if not all(isinstance(given[name], str) for name in ("name", "licence")):
        raise ValueError("name and licence are no texts")
    if given["crop"] not in get_args(Crop) or type(given["parsing"]) is not bool:
        raise ValueError(f"crop {given['crop']!r} or parsing {given['parsing']!r} is not known")
    if type(given["size"]) is not int or not 8 <= given["size"] <= 4096:
        raise ValueError(f"size {given['size']!r} is no side of pictures")
    if type(given.get("tune", 0)) is not int or not 0 <= given.get("tune", 0) <= MOST_STEPS:
        raise ValueError(f"tune {given['tune']!r} is no number from 0 to {MOST_STEPS}")
    top, bottom, left, right = padding = tuple(map(float, given["padding"]))
    if not (min(padding) >= 0 and top + bottom < 1 and left + right < 1):
        raise ValueError(f"padding {padding} leaves nothing of the picture")
    return Domain(**{**given, "padding": padding})
