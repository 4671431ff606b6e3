"""What the flags mean beside `--edited FILE`, an edit that another program made."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from diffcam_jax.command import arguments
from diffcam_jax.directions import Edit
from diffcam_jax.editing.config import VARIANTS
from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.faces.photo import Photo, read_photo
from diffcam_jax.programs import photographs
from diffcam_jax.programs.edit_request import Request

# Flags that say how this program's own edit is made: name of the option -> its value when absent.
_OF_OWN_EDITS = {
    "tune": None,
    "raw_strength": False,
    "steps": None,
    "no_cache": False,
    "no_deghost": False,
    "variant": None,
    "method": "diffcam",
    "class": None,
    **dict.fromkeys(arguments.ROLES),
}


def read(options: argparse.Namespace, directions: Mapping[str, Edit], single: bool) -> Request:
    """The request in the flags.

    Args:
        options: see `edit_flags.parse`, with an edited picture.
        directions: that can be named.
        single: whether one photograph is given.

    Raises:
        UserError: a flag has no meaning beside `--edited`, or a name is wrong.
    """
    if not single:
        raise UserError(
            f"--edited {options.edited} is the edit of one photograph; name that photograph alone"
        )
    for option, absent in _OF_OWN_EDITS.items():
        if getattr(options, option) != absent:
            raise UserError(
                f"--{option.replace('_', '-')} has no meaning beside --edited, for the edit is "
                "made already; leave it out"
            )
    config = dataclasses.replace(VARIANTS["product"], user_mask=options.mask_mode)
    choices = {
        "face": photographs.parse_face(options.face),
        "aligned": options.aligned,
        "landmarks": photographs.read_landmarks(options.landmarks),
        "user_mask": photographs.read_mask(options.mask, options.first_frame),
    }
    return Request(dict.fromkeys(parse_names(options.attribute, directions), None), config, choices)


def parse_names(given: Sequence[str], directions: Mapping[str, Edit]) -> list[str]:
    """The attributes that another program edited.

    Args:
        given: as on the command line; none where whatever changed is taken.
        directions: that can be named.

    Raises:
        UserError: a name with a strength, an unknown one, or one that is given twice.
    """
    for name in given:
        plain, equals, _ = name.partition("=")
        if equals:
            raise UserError(
                f"--attribute {name}: beside --edited an attribute has no strength, for the edit "
                f"is made already; write --attribute {plain}"
            )
        if name not in directions:
            raise UserError(f"no attribute is called {name!r}; {suggestion(name, directions)}")
        if given.count(name) > 1:
            raise UserError(f"--attribute {name} is given twice; name it once")
    return list(given)


def read_edited(path: Path, photo: Photo, first_frame: bool = False) -> np.ndarray:
    """The pixels [h, w, 3] of a picture that another program edited.

    Args:
        path: of the picture.
        photo: the photograph.
        first_frame: see `read_photo`.

    Raises:
        UserError: it cannot be read, or is transparent where the photograph cannot be.
    """
    edited = read_photo(path, first_frame=first_frame)
    alpha = edited.alpha
    if alpha is not None and photo.alpha is None and alpha.min() < np.iinfo(alpha.dtype).max:
        raise UserError(
            f"{path}: some of it is transparent and the photograph is not; save it flattened"
        )
    return edited.pixels
