"""The reports beside edited photographs, which tell what the program itself has written.

An output replaces nothing but earlier results of the same photograph: NAME.png, NAME.json and the
folder NAME belong to a photograph if NAME.json is a report of it. The report is there before the
first picture is, so that a run that was killed can go on.
"""

import json
import os
from pathlib import Path
from typing import Any

from diffcam_jax.errors import UserError
from diffcam_jax.programs import output

# One line for each photograph of a folder that could not be used; no report is called so.
ERRORS = "diffcam_errors.jsonl"
_LONGEST = 255  # bytes of a file's name, on nearly all systems


def read(out: Path, stem: str) -> dict[str, Any] | None:
    """A report; None where there is none, or the file of this name is something else.

    Args:
        out: output folder.
        stem: name of the photograph without its suffix.
    """
    try:
        report = json.loads((out / f"{stem}.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(report, dict) or not isinstance(report.get("settings"), dict):
        return None
    return report if isinstance(report.get("photo"), str) else None


def is_of(report: dict[str, Any] | None, photo: Path) -> bool:
    """Whether a report is of this photograph."""
    return report is not None and report["photo"] in (str(photo.resolve()), str(photo))


def is_result(picture: Path, out: Path) -> bool:
    """Whether a picture in the output folder is the result of another photograph."""
    if picture.suffix != ".png" or picture.parent.resolve() != out.resolve():
        return False
    report = read(out, picture.stem)
    return report is not None and not is_of(report, picture)


def check(out: Path, photo: Path, stages: bool) -> bool:
    """Whether a photograph's results may be written into the output folder.

    Args:
        out: output folder.
        photo: that is edited.
        stages: whether a folder of stages is written, too.

    Returns:
        Whether a report of this photograph is there already.

    Raises:
        UserError: a file of such a name is no earlier result of this photograph.
    """
    picture, told = out / f"{photo.stem}.png", out / f"{photo.stem}.json"
    if len(os.fsencode(told.name)) > _LONGEST:
        raise UserError(f"{photo.name[:60]}...: the name is too long for a report; shorten it")
    if os.path.lexists(picture) and picture.resolve() == photo.resolve():
        raise UserError(f"{photo}: the result would replace the photograph; choose another --out")
    before = read(out, photo.stem)
    ours = [picture, told] if is_of(before, photo) else []
    if ours and before["settings"].get("stages", True):
        ours.append(out / photo.stem)
    for path in [picture, told, *([out / photo.stem] if stages else [])]:
        if os.path.lexists(path) and path not in ours:
            raise UserError(
                f"{path}: is there, and is no earlier result of {photo}; move it away, or choose "
                "another --out"
            )
    return bool(ours)


def claim(out: Path, photo: Path, stages: bool) -> None:
    """Takes the names of a photograph's results, before the first of them is written.

    Args:
        out: output folder.
        photo: that is edited.
        stages: whether a folder of stages is written, too.

    Raises:
        UserError: see `check`, or the folder cannot be written to.
    """
    if not check(out, photo, stages):
        claimed = {"photo": str(photo.resolve()), "settings": {}}
        output.write_json(out / f"{photo.stem}.json", claimed)


def write_errors(out: Path, failed: dict[str, str]) -> None:
    """Lists the photographs that could not be used, a JSON object a line; without any, no file.

    Args:
        out: output folder.
        failed: name -> reason.

    Raises:
        UserError: the list cannot be written.
    """
    lines = [
        json.dumps({"photo": name, "reason": reason}) + "\n" for name, reason in failed.items()
    ]
    if lines:
        output.write_text(out / ERRORS, "".join(lines))
    else:
        (out / ERRORS).unlink(missing_ok=True)
