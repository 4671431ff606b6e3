"""The first pass over a clip: which faces are where, where scenes begin, what is damaged."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffcam_jax.command.progress import Progress, tell
from diffcam_jax.editor.editor import Editor
from diffcam_jax.errors import UserError
from diffcam_jax.faces import align
from diffcam_jax.faces.selection import still_quad
from diffcam_jax.faces.shared import face_landmarker
from diffcam_jax.files import trees
from diffcam_jax.video.clip import Clip
from diffcam_jax.video.cuts import Cuts
from diffcam_jax.video.opening import read_frames
from diffcam_jax.video.tracks import Track, Tracker

# Of a track, in the order of its fields behind the first.
_ARRAYS = ("quads", "weight", "sharpness", "looks", "embedding")


class Looked(NamedTuple):
    """What the first pass found.

    Attributes:
        tracks: every face, the largest first.
        cuts: numbers of the frames with which scenes begin.
        frames: number of frames.
        damaged: what is kept as it is, or missing, and why, a line each.
    """

    tracks: list[Track]
    cuts: list[int]
    frames: int
    damaged: list[str]


class StillTracker:
    """The same square in every frame, one track per scene: of clips without faces to be found.

    Args:
        quad: the square, of frames of a height and a width.
    """

    def __init__(self, quad: Callable[[int, int], np.ndarray]) -> None:
        self._quad = quad
        self._cuts, self._number, self._place = Cuts(), 0, np.zeros((4, 2))
        self.cuts: list[int] = []

    def read(self, pixels: np.ndarray, trusted: bool = True) -> None:
        """Takes the next frame, see `Tracker.read`."""
        if trusted and self._cuts.begins(pixels):
            self.cuts.append(self._number)
            self._place = self._quad(*pixels.shape[:2])
        self._number += 1

    def finish(self) -> list[Track]:
        """All tracks, once every frame was read."""
        tracks = []
        for first, end in zip(self.cuts, [*self.cuts[1:], self._number], strict=True):
            count = end - first
            quads = np.repeat(self._place[None], count, 0)
            ones = np.ones(count)
            looks = np.zeros((count, 16, 16, 3), np.uint8)
            tracks.append(Track(first, quads, ones, ones, looks, np.full(1, np.nan)))
        return tracks


def look(clip: Clip, editor: Editor, aligned: bool, progress: Progress) -> Looked:
    """Follows the faces through all frames.

    Args:
        clip: to be edited.
        editor: whose domain says what is cropped.
        aligned: the frames already are crops like FFHQ's.
        progress: who is told.

    Raises:
        UserError: there is no frame, no face in any of them, or aligned frames are not square.
    """
    if not editor.domain.of_faces:
        tracker = StillTracker(functools.partial(still_quad, editor.domain))
    elif aligned:
        tracker = StillTracker(align.frame_quad)
    else:
        tracker = Tracker(face_landmarker(), _embedded(editor))
    damaged: list[str] = []
    count = 0
    for frame in read_frames(clip, damaged=damaged):
        tell(progress, "find faces", frame.number, max(clip.frames or 0, frame.number + 1))
        tracker.read(frame.pixels, frame.damaged is None)
        count = frame.number + 1
    tracks = tracker.finish()
    if not count:
        raise UserError(f"{clip.path}: holds no frame that can be decoded; save it again")
    if not tracks:
        raise UserError(
            f"{clip.path}: no face was found in any of {count} frames; give a clip that shows one "
            "larger and from the front"
        )
    return Looked(tracks, tracker.cuts, count, damaged)


def _embedded(editor: Editor) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Embeds the face at a square; SFace is loaded when it is first asked for."""
    from diffcam_jax.metrics.identity import Identity

    known: list[Identity] = []

    def embed(pixels: np.ndarray, quad: np.ndarray) -> np.ndarray:
        if not known:
            known.append(Identity(batch=1))
        try:
            return known[0].embed([editor.crop(pixels, quad)])[0]
        except UserError:  # too small to be cropped
            return np.full(128, np.nan, np.float32)

    return embed


def save(path: Path, looked: Looked) -> None:
    """Writes what was found, for a run that goes on later."""
    tree = {
        f"{i:04d}": {name: np.asarray(getattr(track, name)) for name in _ARRAYS}
        for i, track in enumerate(looked.tracks)
    }
    told: dict[str, Any] = looked._asdict() | {"kind": "looked"}
    del told["tracks"]
    trees.save(path, tree, told | {"starts": [track.start for track in looked.tracks]})


def load(path: Path) -> Looked | None:
    """Reads what was found; None where nothing can be read."""
    try:
        tree, told = trees.load(path)
        tracks = [
            Track(int(start), *(tree[f"{i:04d}"][name] for name in _ARRAYS))
            for i, start in enumerate(told["starts"])
        ]
        return Looked(tracks, *(told[name] for name in ("cuts", "frames", "damaged")))
    except (UserError, OSError, KeyError, TypeError, ValueError):
        return None
