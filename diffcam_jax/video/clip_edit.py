"""One change in every frame of a clip: look, find pivots, edit frame by frame, join.

    look     tracks of faces, scene cuts                                  video.look
    pivot    for each track: window, tuned generator, factor              video.pivot
    edit     frame by frame, in parts that survive a kill                 video.track_edit, writing
    join     parts and sound, under a temporary name, then renamed        video.writing

What each step found is kept in a folder beside the result until the result is there; the same
request goes on from it, and ends in the same bytes.
"""

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import diffcam_jax
from diffcam_jax.command.progress import Progress, tell
from diffcam_jax.command.side_by_side import cores, side_by_side
from diffcam_jax.editing.config import EditConfig
from diffcam_jax.editor.editor import Editor
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.files.domain import FACES
from diffcam_jax.files.json_text import decode
from diffcam_jax.files.locks import held
from diffcam_jax.inversion.settings import TuningSettings
from diffcam_jax.video import look as looking
from diffcam_jax.video import pivot as pivots
from diffcam_jax.video import sheet, writing
from diffcam_jax.video.clip import Clip, Frame
from diffcam_jax.video.curves import Curve, points
from diffcam_jax.video.neighbours import with_neighbours
from diffcam_jax.video.opening import read_frames
from diffcam_jax.video.pivot import Pivot
from diffcam_jax.video.samples import read_samples
from diffcam_jax.video.track_edit import CODES, MASKS, Drawn, TrackEditor, View, paste
from diffcam_jax.video.tracks import Track, choose
from diffcam_jax.video.writing import ClipWriter

# A frame depends on so many before it and after it.
LEAD = CODES + MASKS
# In the folder of what is found on the way.
_REQUEST, _LOCK = "request.json", ".lock"


@dataclasses.dataclass(frozen=True)
class ClipRequest:
    """What is asked for.

    Attributes:
        curves: strength of each attribute over time.
        config: choices of the edit, with a window.
        face: "largest", "all", or a rank from 1 on, in each scene.
        aligned: the frames already are crops like FFHQ's.
        tune: steps of pivotal tuning on the samples of a track; 0 for none.
        raw: strengths are lengths of the directions' arrays.
        lossless: keep every sample that is not edited exactly.
    """

    curves: Mapping[str, Curve]
    config: EditConfig
    face: int | str = "largest"
    aligned: bool = False
    tune: int = FACES.tune
    raw: bool = False
    lossless: bool = False

    def fingerprint(self, editor: Editor) -> str:
        """Tells requests apart whose results differ."""
        told = {
            "curves": points(self.curves),
            "directions": {name: editor.directions[name].sha256 for name in self.curves},
            "config": repr(self.config),
            "choices": [self.face, self.aligned, self.tune, self.raw],
            "networks": editor.hashes,
            "versions": [diffcam_jax.__version__, jax.__version__],
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def edit_clip(
    editor: Editor,
    clip: Clip,
    request: ClipRequest,
    result: Path,
    work: Path,
    progress: Progress = False,
) -> dict[str, Any]:
    """Edits a clip.

    Args:
        editor: with an encoder.
        clip: to edit.
        request: what is asked for.
        result: file to write, or a folder for frames.
        work: folder for what is found on the way; removed in the end.
        progress: who is told of every frame.

    Returns:
        The report, ready for JSON; beside the result lies RESULT_sheet.png.

    Raises:
        UserError: no encoder, no window in the configuration, no face in any frame, a class that
            the classifier does not know, a file that cannot be written, or another process is at
            it already.
    """
    _check(editor, request)
    names = {entry.name for entry in work.iterdir()} if work.exists() else set()
    if names - {_LOCK} and _REQUEST not in names:
        raise UserError(f"{work}: holds no unfinished clip; move it away, or choose another --out")
    try:
        with held(work / _LOCK):
            return _edit(editor, clip, request, result, work, progress)
    except BlockingIOError as error:
        raise UserError(f"{clip.path}: is being edited into {work.parent} already; wait") from error


def _edit(
    editor: Editor,
    clip: Clip,
    request: ClipRequest,
    result: Path,
    work: Path,
    progress: Progress,
) -> dict[str, Any]:
    """The edit, by the one process that has the folder."""
    began = time.perf_counter()
    _prepare(work, {"clip": clip.fingerprint, "request": request.fingerprint(editor)})
    looked = looking.load(work / "looked.safetensors")
    if looked is None:
        looked = looking.look(clip, editor, request.aligned, progress)
        looking.save(work / "looked.safetensors", looked)
    tracks = choose(looked.tracks, looked.cuts, request.face)
    seen = time.perf_counter()
    found = _pivots(editor, clip, request, tracks, work, progress)
    tuned = time.perf_counter()
    writer = ClipWriter(clip, result, work / "parts", request.lossless)
    first, untouched, number = writer.done, [], writer.done
    shown = sheet.numbers(looked.frames)
    for frame, pixels, touched in _edited(editor, clip, request, tracks, found, first):
        tell(progress, "edit", frame.number, looked.frames)
        if frame.number in shown:
            sheet.keep(work, frame.number, frame.pixels, pixels)
        writer.write(frame, pixels, touched)
        untouched.append(1 - float(touched.mean()))
        number = frame.number + 1
    writer.finish()
    sheet.write(result.parent / f"{result.stem}_sheet.png", work, shown)
    edited = time.perf_counter()
    shutil.rmtree(work)
    return {
        "curves": points(request.curves),
        "method": request.config.method,
        "frames": number,
        "edited_now": number - first,
        "scenes": len(looked.cuts),
        "faces": [_told(track, pivot) for track, pivot in zip(tracks, found, strict=True)],
        "damaged": looked.damaged,
        "untouched_share": round(float(np.mean(untouched)), 6) if untouched else None,
        "notes": [*clip.notes, *writing.notes(clip, request.lossless)],
        "seconds": {
            "look": round(seen - began, 3),
            "tune": round(tuned - seen, 3),
            "edit": round(edited - tuned, 3),
            "frame": round((edited - tuned) / max(number - first, 1), 4),
        },
        "versions": {"diffcam_jax": diffcam_jax.__version__, "jax": jax.__version__},
        "weights": {
            **editor.hashes,
            "directions": {name: editor.directions[name].sha256 for name in request.curves},
        },
    }


def _check(editor: Editor, request: ClipRequest) -> None:
    if editor.networks.encoder is None:
        raise UserError(
            "every frame of a clip has a code of its own, which needs an encoder; give --encoder"
        )
    if request.config.window is None or request.config.method == "invertibility":
        raise UserError(
            "clips are edited the product's way; add --variant product, or --first-frame for the "
            "first picture of an animation"
        )
    editor.check_classes(request.curves)


def _prepare(work: Path, asked: dict[str, str]) -> None:
    """Removes what another request left in the folder."""
    path = work / _REQUEST
    try:
        same = decode(path.read_text()) == asked
    except (OSError, ValueError, RecursionError):
        same = False
    if not same:
        for entry in work.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != _LOCK:
                entry.unlink()
        trees.write_atomically(path, json.dumps(asked).encode())


def _pivots(
    editor: Editor,
    clip: Clip,
    request: ClipRequest,
    tracks: list[Track],
    work: Path,
    progress: Progress,
) -> list[Pivot]:
    """Window, generator and factors of each track; found by an earlier run or now."""
    places = [work / f"pivot_{i:04d}.safetensors" for i in range(len(tracks))]
    known = [pivots.load(place) for place in places]
    settings = TuningSettings().with_steps(request.tune) if request.tune else None
    peaks = [curve.peak for curve in request.curves.values()]
    names = list(request.curves)
    todo = {i: track for i, track in enumerate(tracks) if known[i] is None}
    if todo:
        tell(progress, "draft")
    for i, given in read_samples(editor, clip, todo, names, peaks, request.raw):
        choices = names, peaks, request.config, settings, request.raw, progress
        known[i] = pivots.find_pivot(editor.faces, given, *choices)
        pivots.save(places[i], known[i])
    return known


@dataclasses.dataclass(eq=False)
class _Step:
    """A frame on its way, with its faces by the number of their track."""

    frame: Frame
    faces: dict[int, Any]

    def around(self, steps: list["_Step"], track: int) -> list[Any]:
        return [step.faces[track] for step in steps if track in step.faces]


def _edited(
    editor: Editor,
    clip: Clip,
    request: ClipRequest,
    tracks: list[Track],
    found: list[Pivot],
    start: int,
) -> Iterator[tuple[Frame, np.ndarray, np.ndarray]]:
    """Every frame from `start` on with its edited pixels, and where they may differ."""
    given = editor, request.curves, request.config
    editors = [TrackEditor(*given, pivot, request.raw) for pivot in found]

    def view(frame: Frame) -> _Step:
        faces: dict[int, View] = {}
        for i, track in enumerate(tracks):
            row = None if frame.damaged else track.at(frame.number)
            if row is not None:
                weight = float(track.weight[row])
                faces[i] = editors[i].view(frame, track.quads[row], weight)
        return _Step(frame, faces)

    def draw(given: tuple[_Step, list[_Step]]) -> _Step:
        step, around = given
        faces: dict[int, Drawn] = {}
        for i, seen in step.faces.items():
            one = editors[i].draw(seen, step.around(around, i), step.frame.time)
            if one is not None:
                faces[i] = one
        return _Step(step.frame, faces)

    def put_in(given: tuple[_Step, list[_Step]]) -> tuple[Frame, np.ndarray, np.ndarray]:
        step, around = given
        pixels, touched = step.frame.pixels, np.zeros(step.frame.pixels.shape[:2], bool)
        for i, one in step.faces.items():
            pixels, here = paste(pixels, one, step.around(around, i), editor.domain.beyond)
            touched |= here
        return step.frame, pixels, touched

    # Each stage of a frame leaves a core to the others; the order of frames is kept.
    frames = read_frames(clip, max(start - LEAD, 0))
    views = (done() for _, done in side_by_side(view, frames, cores()))
    around_views = with_neighbours(views, CODES)
    drawn = (done() for _, done in side_by_side(draw, around_views, cores()))
    for given, done in side_by_side(put_in, with_neighbours(drawn, MASKS), cores()):
        if given[0].frame.number >= start:
            yield done()


def _told(track: Track, pivot: Pivot) -> dict[str, Any]:
    """A track, for the report."""
    shown = np.flatnonzero(track.weight > 0) + track.start
    return {
        "first": int(shown[0]),
        "last": int(shown[-1]),
        "frames": len(shown),
        "factors": [round(factor, 4) for factor in pivot.factors],
        "window": pivot.window and pivot.window.numbers,
        **pivot.report,
    }
