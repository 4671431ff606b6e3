"""The reports beside edited photographs, which tell what the program itself has written.

NAME.png, NAME.json and the folder NAME belong to a photograph if NAME.json is a report of it; only
then are they replaced, see `claims`.
"""

import json
from pathlib import Path
from typing import Any

from diffcam_jax.programs import claims, output

# One line for each photograph of a folder that could not be used; no report is called so.
ERRORS = "diffcam_errors.jsonl"


def read(out: Path, stem: str) -> dict[str, Any] | None:
    """A report; None where there is none, or the file of this name is something else.

    Args:
        out: output folder.
        stem: name of the photograph without its suffix.
    """
    report = claims.read_object(out / f"{stem}.json")
    if report is None or not isinstance(report.get("settings"), dict):
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
    before = read(out, photo.stem)
    ours = [picture, told] if is_of(before, photo) else []
    if ours and before["settings"].get("stages", True):
        ours.append(out / photo.stem)
    claims.refuse([picture, told, *([out / photo.stem] if stages else [])], ours, [photo])
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
    check(out, photo, stages)
    # Without settings: of an earlier edit, too, whose picture is about to be replaced.
    claimed = {"photo": str(photo.resolve()), "settings": {}}
    output.write_json(out / f"{photo.stem}.json", claimed)


def write_errors(out: Path, failed: dict[str, str], part: tuple[int, int] = (1, 1)) -> None:
    """Lists the photographs that could not be used, a JSON object a line; without any, no file.

    Args:
        out: output folder.
        failed: name -> reason.
        part: number and count of the parts of a folder, each of which has a list of its own.

    Raises:
        UserError: the list cannot be written.
    """
    lines = [
        json.dumps({"photo": name, "reason": reason}) + "\n" for name, reason in failed.items()
    ]
    path = out / (ERRORS if part[1] == 1 else ERRORS.replace(".", f"_{part[0]}_of_{part[1]}."))
    if lines:
        output.write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)
