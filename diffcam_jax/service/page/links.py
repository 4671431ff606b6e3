"""The settings of the page, and the same settings as the query of its address.

?smiling=1&old=0.5&face=2&method=both
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from diffcam_jax.directions import Edit
from diffcam_jax.editing.config import DECOMPOSING, METHODS
from diffcam_jax.files.domain import FACES, MOST_STEPS

METHOD_NAMES = (*METHODS, *DECOMPOSING)
MASK_MODES = ("intersection", "union")


@dataclasses.dataclass(frozen=True)
class Form:
    """What the controls of the page say.

    Attributes:
        strengths: of all attributes, in the order of their sliders; 0 for those left alone.
        face: "all", or a number from 1 on, as text.
        method: see `EditConfig.method`.
        mask_mode: see `EditConfig.user_mask`.
        tune: steps of tuning.
        aligned: whether the photograph already is an FFHQ crop.
    """

    strengths: tuple[tuple[str, float], ...]
    face: str = "1"
    method: str = "diffcam"
    mask_mode: str = "intersection"
    tune: int = FACES.tune
    aligned: bool = False

    def asked(self) -> dict[str, Any]:
        """The settings of an edit, as `settings.parse` takes them."""
        return {
            "attributes": {name: value for name, value in self.strengths if value},
            "face": "all" if self.face == "all" else int(self.face),
            "method": self.method,
            "mask_mode": self.mask_mode,
            "tune": self.tune,
            "aligned": self.aligned,
        }


def query(form: Form, steps: int = FACES.tune) -> str:
    """What is not left at its default, as the query of an address, without the question mark."""
    given = {name: f"{value:g}" for name, value in form.strengths if value}
    blank = Form((), tune=steps)
    for field in ("face", "method", "mask_mode", "tune", "aligned"):
        value = getattr(form, field)
        if value != getattr(blank, field):
            given[field] = str(int(value)) if isinstance(value, bool) else str(value)
    return urlencode(given)


def read(given: Mapping[str, str], directions: Mapping[str, Edit], steps: int = FACES.tune) -> Form:
    """The settings in a query; what is unknown or impossible there keeps its default.

    Args:
        given: name -> value, from outside.
        directions: that have sliders.
        steps: of tuning where the link says none.
    """
    strengths = []
    for name, direction in directions.items():
        value = _number(given.get(name, "0"), 0.0)
        strengths.append((name, min(max(value, direction.range[0]), direction.range[1])))
    face, method = given.get("face", "1"), given.get("method", "diffcam")
    mask_mode = given.get("mask_mode", "intersection")
    tune = int(min(max(_number(given.get("tune", ""), float(steps)), 0), MOST_STEPS))
    is_face = face == "all" or (face.isascii() and face.isdecimal() and 0 < int(face[:4]) < 100)
    return Form(
        tuple(strengths),
        face if is_face else "1",
        method if method in METHOD_NAMES else "diffcam",
        mask_mode if mask_mode in MASK_MODES else "intersection",
        tune,
        given.get("aligned") == "1",
    )


def _number(text: str, default: float) -> float:
    try:
        value = float(text)
    except ValueError:
        return default
    return value if math.isfinite(value) else default
