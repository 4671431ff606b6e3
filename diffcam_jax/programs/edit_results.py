"""What an edit leaves in the output folder: the photograph, its report and its stages.

NAME.png          the edited photograph
NAME.json         report and settings; written last, it marks the photograph as done
NAME/             every stage, with --stages
"""

import argparse
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from diffcam_jax.command import arguments
from diffcam_jax.directions import Edit
from diffcam_jax.editing.config import EditConfig
from diffcam_jax.editor.results import EditResult, reached, spent
from diffcam_jax.editor.stages import write_stages
from diffcam_jax.faces.photo import Photo, write_photo
from diffcam_jax.programs import output, photographs, reports
from diffcam_jax.programs.edit_request import Request


def settings_of(
    options: argparse.Namespace, request: Request, directions: Mapping[str, Edit], photo: Path
) -> dict[str, Any]:
    """Everything that decides what an edit gives; a photograph with other settings is not done.

    Args:
        options: see `edit_flags.parse`.
        request: what they mean.
        directions: by name.
        photo: the photograph.
    """
    edited = {} if options.edited is None else {"edited": photographs.stamp(options.edited)}
    return {
        **common_settings(options, request.config, request.names, directions, photo),
        "strengths": request.strengths,
        "face": request.choices["face"],
        "landmarks": str(options.landmarks),
        "mask": str(options.mask),
        "steps": options.steps,
        "tune": request.choices.get("tune"),
        "deghost": not options.no_deghost,
        "stages": options.stages,
        "first_frame": options.first_frame,
        "strip": options.strip,
        **edited,
    }


def common_settings(
    options: argparse.Namespace,
    config: EditConfig,
    names: Iterable[str],
    directions: Mapping[str, Edit],
    path: Path,
) -> dict[str, Any]:
    """What decides the edit of a photograph and of a clip alike.

    Args:
        options: see `edit_flags.parse`.
        config: of the edit.
        names: of the attributes.
        directions: by name.
        path: of what is edited.
    """
    networks = arguments.networks(options)
    return {
        "aligned": options.aligned,
        "raw_strength": options.raw_strength,
        "edit": repr(config),
        "networks": {role: str(folder) for role, folder in networks.items()},
        "directions": {name: directions[name].sha256 for name in names},
        "photo": photographs.stamp(path),
    }


def is_done(out: Path, photo: Path, settings: dict[str, Any]) -> bool:
    """Whether a finished picture with these very settings lies in the output folder."""
    report = reports.read(out, photo.stem)
    if report is None or report["settings"] != settings:
        return False
    return (out / f"{photo.stem}.png").exists()


def write_pictures(out: Path, path: Path, photo: Photo, result: EditResult, stages: bool) -> None:
    """Writes an edited photograph.

    Args:
        out: output folder.
        path: of the photograph.
        photo: what was read of it.
        result: its edit.
        stages: also write every stage.

    Raises:
        UserError: a file cannot be written, or would replace one that is no earlier result of this
            photograph.
    """
    reports.claim(out, path, stages)
    if stages:
        write_stages(out / path.stem, photo, result)
    write_photo(out / f"{path.stem}.png", dataclasses.replace(photo, pixels=result.image))


def write_report(
    out: Path, path: Path, result: EditResult, settings: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """Writes the report that marks a photograph as done, and returns it.

    Args:
        out: output folder.
        path: of the photograph.
        result: its edit.
        settings: see `settings_of`.
        seconds: that everything took.

    Raises:
        UserError: it cannot be written.
    """
    report = {"photo": str(path.resolve()), "settings": settings, **result.report}
    report["seconds"]["all"] = round(seconds, 3)
    output.write_json(out / f"{path.stem}.json", report)
    return report


def place(out: Path, photo: Path, stages: bool) -> Path:
    """The picture to look at."""
    return out / photo.stem / "stages.png" if stages else out / f"{photo.stem}.png"


def tell_one(report: dict[str, Any], shown: Path, again: bool) -> None:
    """Prints what came of a single photograph.

    Args:
        report: see `write_report`.
        shown: the picture to look at.
        again: whether further edits of the photograph are quicker.
    """
    print("\n".join([*reached(report), spent(report)]))
    further = "; every further edit of this photograph takes seconds" if again else ""
    print(f"look at {shown}{further}")


def tell(out: Path | str, edited: int, before: int, failed: Mapping[str, str]) -> None:
    """Prints what came of a folder.

    Args:
        out: output folder, or its URI.
        edited: number of photographs.
        before: number of those that were done before.
        failed: name -> reason.
    """
    print(f"{edited} edited, {before} done before, {len(failed)} failed; look into {out}")
