"""`edit.py CLIP`: a video, an animation or a folder of frames, edited in every frame.

OUT/NAME.mp4           the edited clip, or NAME.mkv, NAME.gif, NAME.webp, a folder NAME of frames
OUT/NAME_sheet.png     some frames, and what became of them
OUT/NAME.json          report and settings; written last, it marks the clip as done
OUT/.NAME.work         what a run that was stopped goes on from
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from diffcam_jax.command import arguments
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.command.device import check_device
from diffcam_jax.directions import Edit
from diffcam_jax.editing import checkpoints
from diffcam_jax.editor.editor import Editor
from diffcam_jax.errors import UserError
from diffcam_jax.programs import claims, edit_request, edit_results, output, photographs, reports
from diffcam_jax.video import curves as strengths
from diffcam_jax.video.clip import Clip
from diffcam_jax.video.clip_edit import ClipRequest, edit_clip
from diffcam_jax.video.opening import open_clip
from diffcam_jax.video.writing import notes, result_name

# Flags that say something about one photograph -> why a clip cannot have them.
_OF_PHOTOGRAPHS = {
    "landmarks": "faces of a clip are found in every frame",
    "mask": "a mask by hand fits one frame only",
    "edited": "clips are edited by this program itself",
    "stages": "the stages of every frame are not kept",
    "strip": "a clip keeps what its file says",
    "steps": "every frame has the encoder's code",
}


def run(options: argparse.Namespace, directions: Mapping[str, Edit]) -> int:
    """Edits the clip that the flags name; returns the exit code.

    Raises:
        UserError: a flag has no meaning for a clip, or see `clip_edit.edit_clip`.
    """
    if len(options.photos) != 1:
        raise UserError(f"{options.photos[0]}: clips are edited one at a time; name one alone")
    for name, reason in _OF_PHOTOGRAPHS.items():
        if getattr(options, name):
            raise UserError(f"--{name.replace('_', '-')}: {reason}; leave it out")
    path = options.photos[0]
    request = read(options, directions)
    clip = open_clip(path, as_frames=options.frames)
    output.prepare(options.out)
    result = options.out / f"{path.stem}{result_name(clip, options.lossless)}"
    settings = _settings(options, request, directions, path)
    report = _mine(options.out, path, result)
    if report is not None and report["settings"] == settings and not options.force:
        print(f"done before (--force edits again); look at {result}")
        return 0
    for note in (*clip.notes, *notes(clip, options.lossless)):
        print(f"note: {path}: {note}", file=sys.stderr)
    claimed = {"photo": str(path.resolve()), "settings": {}}
    output.write_json(options.out / f"{path.stem}.json", claimed)
    check_device()
    keep_compiled_programs(ahead=True)
    given = {"directions": directions, "domain": arguments.domain(options)[0]}
    editor = Editor.from_checkpoints(request.config, **given, **arguments.networks(options))
    bars = Bars()
    try:
        work = options.out / f".{path.stem}.work"
        found = edit_clip(editor, clip, request, result, work, bars)
    finally:
        bars.close()
    found = {"photo": str(path.resolve()), "settings": settings, **found}
    output.write_json(options.out / f"{path.stem}.json", found)
    print("\n".join(tell(clip, found)))
    print(f"look at {result.parent / f'{result.stem}_sheet.png'}, then play {result}")
    return 0


def read(options: argparse.Namespace, directions: Mapping[str, Edit]) -> ClipRequest:
    """What the flags ask for.

    Raises:
        UserError: a flag has no meaning, or a network that it needs is missing.
    """
    curves = strengths.parse(options.attribute, directions)
    plan = checkpoints.resolve(**arguments.networks(options))
    config = edit_request.variant(plan, options.variant, options.domain is not None)
    config = dataclasses.replace(config, method=options.method)
    return ClipRequest(
        curves,
        config,
        photographs.parse_face(options.face),
        options.aligned,
        edit_request.tune_steps(options, config, single=True),
        options.raw_strength,
        options.lossless,
    )


def _settings(
    options: argparse.Namespace, request: ClipRequest, directions: Mapping[str, Edit], path: Path
) -> dict[str, Any]:
    """Everything that decides what comes out."""
    return {
        **edit_results.common_settings(options, request.config, request.curves, directions, path),
        "curves": strengths.points(request.curves),
        "face": request.face,
        "tune": request.tune,
        "lossless": request.lossless,
    }


def _mine(out: Path, path: Path, result: Path) -> dict[str, Any] | None:
    """The report of an earlier edit of this clip, if its result is still there.

    Raises:
        UserError: a file of such a name is no earlier result of this clip.
    """
    places = [result, out / f"{path.stem}_sheet.png", out / f"{path.stem}.json"]
    report = reports.read(out, path.stem)
    ours = places if reports.is_of(report, path) else []
    claims.refuse(places, ours, [path])
    return report if ours and result.exists() else None


class Bars:
    """A bar with the time left for each stage of an edit, as its listener."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def __call__(self, stage: str, done: int, steps: int) -> None:
        """Shows how far a stage is."""
        if self._bar is None or self._bar.desc != stage:
            self.close()
            unit = "step" if stage == "tuning" else "frame"
            self._bar = tqdm(total=steps, desc=stage, unit=unit, leave=False, disable=None)
            self._bar.desc = stage
        self._bar.total = steps
        self._bar.update(done + 1 - self._bar.n)

    def close(self) -> None:
        """Ends the last bar."""
        if self._bar is not None:
            self._bar.close()


def tell(clip: Clip, report: Mapping[str, Any]) -> list[str]:
    """What a person should know of an edit, a line each."""
    lines = []
    for number, face in enumerate(report["faces"], start=1):
        who = f"face {number}, frames {face['first']} to {face['last']}"
        for name, values in face.get("reached", {}).items():
            known = [value for value in values if value is not None]
            if known:
                low, high = min(known), max(known)
                lines.append(f"{who}: {name}: reached {low:.2f} to {high:.2f} of the usual move")
        lines += [f"{who}: {note}" for note in face.get("notes", [])]
    lines += report["damaged"][:3]
    if len(report["damaged"]) > 3:
        lines.append(f"and {len(report['damaged']) - 3} more of that kind; see the report")
    seconds = report["seconds"]
    lines.append(
        f"{report['frames']} frames of {clip.width}x{clip.height}: look {seconds['look']:.1f} s, "
        f"tune {seconds['tune']:.1f} s, edit {seconds['frame']:.2f} s a frame"
    )
    return lines
