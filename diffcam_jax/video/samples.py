"""The few frames that stand for a track: sharp, spread over it, with room for the edit.

Frames that look like the whole track does on average come first: something may pass before the
face. But who smiles through most of a clip is grave in what is left, and that is where a smile
acts; so some unusual frames are looked at, too, and taken where the usual ones have no room.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.directions.strength import LEAST_ROOM, room
from diffcam_jax.editor.editor import Editor
from diffcam_jax.editor.face_edit import FaceEditor
from diffcam_jax.editor.face_session import is_measured
from diffcam_jax.faces import scorers
from diffcam_jax.video.clip import Clip
from diffcam_jax.video.opening import read_frames
from diffcam_jax.video.tracks import Track

SAMPLES = 4
# Share of a track's frames that count as usual, and how many frames of both kinds are looked at.
TYPICAL = 0.6
USUAL, UNUSUAL = 8, 6


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """A frame's face: aligned uint8 [s, s, 3], its code [n, k] and its place."""

    aligned: UInt8[np.ndarray, "s s 3"]
    codes: Float[np.ndarray, "n k"]
    quad: Float[np.ndarray, "4 2"]


def candidates(track: Track) -> tuple[list[int], list[int]]:
    """Frames that may stand for a track, as rows of it, rising: usual and unusual ones.

    Of each of as many equal parts of either it is the sharpest.
    """
    rows = np.flatnonzero((track.sharpness > 0) & (track.weight >= track.weight.max()))
    average = np.median(track.looks[rows], axis=0)
    unlike = np.abs(track.looks[rows].astype(np.float32) - average).mean((1, 2, 3))
    usual = unlike <= np.quantile(unlike, TYPICAL)
    return _sharpest(track, rows[usual], USUAL), _sharpest(track, rows[~usual], UNUSUAL)


def _sharpest(track: Track, rows: np.ndarray, count: int) -> list[int]:
    parts = np.array_split(rows, min(count, len(rows))) if len(rows) else []
    return [int(part[np.argmax(track.sharpness[part])]) for part in parts]


def rooms(
    faces: FaceEditor,
    aligned: UInt8[np.ndarray, "s s 3"],
    names: Sequence[str],
    peaks: Sequence[float],
    raw: bool,
) -> Float[np.ndarray, " r"]:
    """The share of each request for which a face has room, where landmarks alone tell; else 1.

    Args:
        faces: knows the directions.
        aligned: the face.
        names: of the attributes.
        peaks: the strength of each that is farthest from 0.
        raw: strengths are lengths of the directions' arrays, for which there always is room.
    """
    found = np.ones(len(names), np.float32)
    for i, (name, peak) in enumerate(zip(names, peaks, strict=True)):
        direction = faces.directions[name]
        quick = is_measured(direction) and not scorers.SCORERS[direction.score].needs
        if quick and peak > 0 and not raw:
            found[i] = room(direction, peak, faces.score(aligned, direction))
    return found


def chosen(usual: Sequence[float], unusual: Sequence[float]) -> list[int]:
    """Which candidates stand for the track: those with room, usual ones first, spread over it.

    Args:
        usual: the room of each usual candidate.
        unusual: that of the others.

    Returns:
        At most `SAMPLES` numbers of candidates, counted through both, rising.
    """
    with_room = np.array([*usual, *unusual]) >= LEAST_ROOM
    first = np.arange(len(with_room)) < len(usual)
    taken: list[int] = []
    for group in (first & with_room, ~first & with_room, first, ~first):
        left = np.setdiff1d(np.flatnonzero(group), taken)
        wanted = min(SAMPLES - len(taken), len(left))
        taken += (
            [int(part[len(part) // 2]) for part in np.array_split(left, wanted)] if wanted else []
        )
    return sorted(taken)


def read_samples(
    editor: Editor,
    clip: Clip,
    tracks: dict[int, Track],
    names: Sequence[str],
    peaks: Sequence[float],
    raw: bool,
) -> Iterator[tuple[int, list[Sample]]]:
    """Reads a clip as far as its tracks' samples need it.

    Args:
        editor: crops and inverts faces.
        clip: to be read.
        tracks: by their number.
        names: see `rooms`.
        peaks: see `rooms`.
        raw: see `rooms`.

    Yields:
        (number of a track, its samples), as soon as all of its candidates were seen.
    """
    kinds = {i: candidates(track) for i, track in tracks.items()}
    waiting = {i: sorted(usual + unusual) for i, (usual, unusual) in kinds.items()}
    wanted: dict[int, list[int]] = {}
    for i, rows in waiting.items():
        for row in rows:
            wanted.setdefault(tracks[i].start + row, []).append(i)
    seen: dict[int, dict[int, np.ndarray]] = {i: {} for i in tracks}
    for frame in read_frames(clip) if wanted else ():
        for i in wanted.get(frame.number, ()):
            row = frame.number - tracks[i].start
            seen[i][row] = editor.crop(frame.pixels, tracks[i].quads[row])
            if row == waiting[i][-1]:
                crops = seen.pop(i)
                free = {r: rooms(editor.faces, x, names, peaks, raw) for r, x in crops.items()}
                usual, unusual = kinds[i]
                numbers = chosen(*([float(free[r].mean()) for r in kind] for kind in kinds[i]))
                stand = sorted((usual + unusual)[number] for number in numbers)
                codes = [editor.invert(crops[r], cache=False) for r in stand]
                quads = tracks[i].quads[stand]
                yield i, [Sample(crops[r], *rest) for r, *rest in zip(stand, codes, quads)]
        if frame.number >= max(wanted):
            break
