"""What an edit is asked for, as a page or a program sends it."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from diffcam_jax.directions import Edit, check_strengths
from diffcam_jax.editing.config import DECOMPOSING, METHODS
from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.files.domain import MOST_STEPS

MOST_CHARACTERS = 20_000  # of settings as JSON
FACES = ("largest", "all")
_CHOICES = {"method": (*METHODS, *DECOMPOSING), "mask_mode": ("intersection", "union")}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of one edit.

    Attributes:
        attributes: name -> strength, in usual moves. With a picture that was edited elsewhere only
            the names count, and there may be none.
        face: "largest", "all", or a number from 1 (the largest) on.
        method: see `EditConfig.method`.
        mask_mode: how a painted mask enters, see `EditConfig.user_mask`.
        tune: steps of pivotal tuning, 0 for none; None takes the domain's number.
        raw_strength: whether strengths are lengths of the direction.
        aligned: whether the photograph already is an FFHQ crop.
        stages: whether to keep every stage as a picture.
        strip: whether to leave date, place, author and the like out of the result.
        first_frame: whether the first frame of an animation will do.
    """

    attributes: Mapping[str, float]
    face: int | str = "largest"
    method: str = "diffcam"
    mask_mode: str = "intersection"
    tune: int | None = None
    raw_strength: bool = False
    aligned: bool = False
    stages: bool = True
    strip: bool = False
    first_frame: bool = False


def decode(text: str) -> Any:
    """Settings as JSON.

    Raises:
        UserError: it is none.
    """
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"the settings have more than {MOST_CHARACTERS} characters; shorten them")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise UserError(
            f'the settings are not JSON ({error}); send {{"attributes": {{"smiling": 1}}}}'
        ) from error


def parse(given: Any, directions: Mapping[str, Edit], edited: bool = False) -> Settings:
    """Checks settings that came from outside.

    Args:
        given: decoded JSON, by the names of `Settings`; what is missing has its default.
            "attributes" may also be a list of names, each with strength 1.
        directions: that can be asked for.
        edited: whether the edit itself was made elsewhere.

    Raises:
        UserError: names the field that is unknown or wrong.
    """
    if not isinstance(given, Mapping):
        raise UserError('the settings are no JSON object; send {"attributes": {"smiling": 1}}')
    known = [field.name for field in dataclasses.fields(Settings)]
    for name in given:
        if name not in known:
            raise UserError(f"no setting is called {_shown(name)}; {suggestion(name, known)}")
    attributes = _attributes(given.get("attributes", {}), directions, edited)
    chosen = {name: value for name, value in given.items() if name != "attributes"}
    for name, value in chosen.items():
        _check(name, value)
    return Settings(attributes, **chosen)


def _attributes(given: Any, directions: Mapping[str, Edit], edited: bool) -> dict[str, float]:
    if isinstance(given, list) and all(isinstance(name, str) for name in given):
        given = dict.fromkeys(given, 1.0)
    if not isinstance(given, Mapping):
        raise UserError('attributes are a JSON object, for example {"smiling": 1}')
    for name, strength in given.items():
        if name not in directions:
            raise UserError(
                f"no attribute is called {_shown(name)}; {suggestion(name, directions)}"
            )
        if not _is_finite(strength):
            raise UserError(f"{name}={_shown(strength)}: a strength is a finite number")
    strengths = {name: float(strength) for name, strength in given.items()}
    if not edited:
        strengths = {name: strength for name, strength in strengths.items() if strength}
        if not strengths:
            raise UserError("nothing to change: give an attribute a strength other than 0")
    check_strengths(directions, strengths)
    return strengths


def _check(name: str, value: Any) -> None:
    """Whether a setting other than the attributes has a meaning."""
    if name in _CHOICES:
        good, wanted = value in _CHOICES[name], f"choose from {', '.join(_CHOICES[name])}"
    elif name == "face":
        good = value in FACES if isinstance(value, str) else _is_integer(value) and value >= 1
        wanted = "give largest, all, or a number from 1 on"
    elif name == "tune":
        good = value is None or (_is_integer(value) and 0 <= value <= MOST_STEPS)
        wanted = f"give a number from 0 to {MOST_STEPS}, or null for the domain's"
    else:
        good, wanted = isinstance(value, bool), "give true or false"
    if not good:
        raise UserError(f"{name}={_shown(value)}: {wanted}")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and -1e300 < value < 1e300  # integers of any length, and no NaN


def _shown(value: Any) -> str:
    """A value in a message, cut short: it comes from outside."""
    try:
        return ascii(value)[:40]
    except (RecursionError, ValueError):  # lists in lists, thousands of digits
        return f"this {type(value).__name__}"
