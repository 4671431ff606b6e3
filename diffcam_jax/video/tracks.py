"""Which face is where in every frame of a clip: one identity per track.

A face is looked for where its track expects it, which takes milliseconds; the whole frame is
searched at the beginning of a scene, then every `_SEARCH` frames, or every `_IDLE` frames while
nobody is there. A face
that is hidden for less than `_GAP` frames comes back into its track if it is the same person;
scene cuts end all tracks.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16

from diffcam_jax.errors import UserError
from diffcam_jax.faces.align import ffhq_quad
from diffcam_jax.faces.landmarks import MAX_FACES, DetectedFace, FaceLandmarker
from diffcam_jax.video import smoothing
from diffcam_jax.video.cuts import Cuts

Pixels = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
Embed = Callable[[Pixels, Float[np.ndarray, "4 2"]], Float[np.ndarray, " k"]]

_SEARCH, _IDLE, _GAP = 12, 3, 30  # frames
# A face belongs to a track if their centres are nearer than this many sides of the crop, plus what
# a head moves in each frame that it was hidden, and their sides differ by less than this factor.
_NEAR, _SPEED, _FACTOR = 0.25, 0.02, 1.5
# Two persons have a cosine of SFace's embeddings below the published threshold.
_SAME_PERSON = 0.363
# Frames without a detection that are edited nevertheless; frames over which an edit fades in and
# out where a face comes or goes within a scene; shortest track that is edited in a longer scene.
_BRIDGED, _FADE, _SHORTEST = 3, 6, 5
# Side, in sides of a crop, of the part of the frame in which a face is expected.
_REACH = 1.4


@dataclasses.dataclass(frozen=True, eq=False)
class Track:
    """A face over consecutive frames.

    Attributes:
        start: number of the first frame.
        quads: its square in every frame, smooth.
        weight: how far the edit counts in every frame, in [0, 1]: 0 where the face is hidden.
        sharpness: of every frame in which it was seen, 0 elsewhere; to choose samples by.
        looks: the face itself, reduced; to tell frames in which something is in front of it.
        embedding: of the person, of unit length; NaN where none was found.
    """

    start: int
    quads: Float[np.ndarray, "n 4 2"]
    weight: Float[np.ndarray, " n"]
    sharpness: Float[np.ndarray, " n"]
    looks: UInt8[np.ndarray, "n 16 16 3"]
    embedding: Float[np.ndarray, " k"]

    def at(self, number: int) -> int | None:
        """The row of a frame; None where the edit does not count."""
        row = number - self.start
        return row if 0 <= row < len(self.weight) and self.weight[row] > 0 else None

    @property
    def size(self) -> float:
        """Mean area of the square times the number of frames it is edited in, to sort by."""
        side = np.linalg.norm(self.quads[:, 3] - self.quads[:, 0], axis=1)
        return float((side**2 * (self.weight > 0)).sum())


def choose(tracks: Sequence[Track], cuts: Sequence[int], which: int | str) -> list[Track]:
    """The tracks to edit.

    Args:
        tracks: of a clip.
        cuts: numbers of the frames with which scenes begin.
        which: "all"; "largest" or a number from 1 on: the person of that rank in each scene, with
            all tracks of theirs in it.

    Raises:
        UserError: there is no such face in any scene.
    """
    if which == "all":
        return list(tracks)
    rank = 1 if which == "largest" else int(which)
    chosen = []
    for first, end in itertools.pairwise([*cuts, np.inf]):
        persons: list[list[Track]] = []
        for track in sorted(tracks, key=lambda track: (-track.size, track.start)):
            if first <= track.start < end:
                same = [p for p in persons if p[0].embedding @ track.embedding > _SAME_PERSON]
                if same:
                    same[0].append(track)
                else:
                    persons.append([track])
        persons.sort(key=lambda person: -sum(track.size for track in person))
        chosen += persons[rank - 1] if len(persons) >= rank else []
    if not chosen:
        raise UserError(f"no scene of the clip has a face {rank}; give a smaller --face, or all")
    return sorted(chosen, key=lambda track: track.start)


@dataclasses.dataclass(eq=False)
class _Growing:
    """A track while frames are read."""

    start: int
    begins_scene: bool
    paths: list[np.ndarray] = dataclasses.field(default_factory=list)
    sharpness: list[float] = dataclasses.field(default_factory=list)
    looks: list[np.ndarray] = dataclasses.field(default_factory=list)
    missing: int = 0
    embedding: np.ndarray | None = None

    @property
    def last(self) -> np.ndarray:
        return self.paths[-1 - self.missing]

    def grow(self, pixels: Pixels, quad: np.ndarray) -> None:
        sharpness, small = _look(pixels, quad)
        self.paths.append(smoothing.parameters(quad[None])[0])
        self.sharpness.append(sharpness)
        self.looks.append(small)
        self.missing = 0

    def miss(self) -> None:
        self.paths.append(self.last)
        self.sharpness.append(0.0)
        self.looks.append(self.looks[-1])
        self.missing += 1


class Tracker:
    """Follows the faces of a clip, frame by frame.

    Args:
        landmarker: finds faces.
        embed: embedding of unit length of a face at a square, NaN where there is none; asked for
            only where several faces, or one that was hidden, could be meant.
    """

    def __init__(self, landmarker: FaceLandmarker, embed: Embed) -> None:
        self._landmarker, self._embed = landmarker, embed
        self._cuts, self._number = Cuts(), 0
        self._growing: list[_Growing] = []
        self._searched = -_SEARCH
        self.found: list[Track] = []
        self.cuts: list[int] = []

    def read(self, pixels: Pixels, trusted: bool = True) -> None:
        """Takes the next frame.

        Args:
            pixels: RGB.
            trusted: False for a damaged frame, in which nothing is looked for.
        """
        number, self._number = self._number, self._number + 1
        begins = trusted and self._cuts.begins(pixels)
        if begins:
            self._end(self._growing, cut=True)
            self.cuts.append(number)
            self._growing, self._searched = [], -_SEARCH
        quads = self._detect(pixels, number) if trusted else []
        free, missed = quads, []
        for track, quad in self._matched(pixels, quads):
            if quad is None:
                track.miss()
                missed.append(track)
            else:
                track.grow(pixels, quad)
                free = [other for other in free if other is not quad]
        for quad in free:
            self._growing.append(_Growing(number, begins))
            self._growing[-1].grow(pixels, quad)
        gone = [track for track in missed if track.missing > _GAP]
        self._growing = [track for track in self._growing if track not in gone]
        self._end(gone, cut=False)

    def finish(self) -> list[Track]:
        """All tracks, once every frame was read; the largest first."""
        self._end(self._growing, cut=True)
        self._growing = []
        return sorted(self.found, key=lambda track: (-track.size, track.start))

    def _detect(self, pixels: Pixels, number: int) -> list[np.ndarray]:
        """The squares of the faces of a frame."""
        if number - self._searched >= (_SEARCH if self._growing else _IDLE):
            self._searched = number
            wanted = max(2, len(self._growing) + 1)
            faces = self._landmarker.detect(pixels, min(wanted, MAX_FACES))
        else:
            faces = [face for track in self._growing for face in self._expected(pixels, track)]
        return _distinct([ffhq_quad(face.points) for face in faces])

    def _expected(self, pixels: Pixels, track: _Growing) -> Iterator[DetectedFace]:
        """The face around the last square of a track."""
        quad = smoothing.quads(track.last[None])[0]
        half = _REACH * float(np.exp(track.last[2])) / 2
        left, top = np.maximum(np.floor(quad.mean(0) - half), 0).astype(int)
        right, bottom = np.ceil(quad.mean(0) + half).astype(int)
        part = np.ascontiguousarray(pixels[top:bottom, left:right])
        if min(part.shape[:2]) < 2:
            return
        for face in self._landmarker.detect(part, 1, search=False):
            yield dataclasses.replace(face, points=face.points + np.array([left, top]))

    def _matched(
        self, pixels: Pixels, quads: list[np.ndarray]
    ) -> list[tuple[_Growing, np.ndarray | None]]:
        """Every track with its face in this frame, or None; the nearest pairs first."""
        costs = []
        for i, track in enumerate(self._growing):
            near = [(_distance(track, quad), j) for j, quad in enumerate(quads)]
            near = [(cost, j) for cost, j in near if np.isfinite(cost)]
            if track.missing or len(near) > 1:
                near = [(cost, j) for cost, j in near if self._is_same(pixels, track, quads[j])]
            elif track.embedding is None and near:
                track.embedding = self._embed(pixels, quads[near[0][1]])
            costs += [(cost, i, j) for cost, j in near]
        chosen: dict[int, int] = {}
        for _, i, j in sorted(costs):
            if i not in chosen and j not in chosen.values():
                chosen[i] = j
        return [(t, quads[chosen[i]] if i in chosen else None) for i, t in enumerate(self._growing)]

    def _is_same(self, pixels: Pixels, track: _Growing, quad: np.ndarray) -> bool:
        """Whether a face is the track's person; without an embedding it may be."""
        found = self._embed(pixels, quad)
        if track.embedding is None or not np.isfinite(track.embedding).all():
            track.embedding = found
            return True
        likeness = float(track.embedding @ found)
        return not np.isfinite(likeness) or likeness > _SAME_PERSON

    def _end(self, tracks: list[_Growing], cut: bool) -> None:
        for track in tracks:
            count = len(track.paths) - track.missing
            seen = np.array(track.sharpness[:count]) > 0
            if seen.sum() >= min(_SHORTEST, self._number - self.cuts[-1]):
                path = smoothing.smooth(np.stack(track.paths[:count]), seen)
                comes = not track.begins_scene and track.start > 0
                weight = _weight(seen, comes, not (cut and not track.missing))
                person = np.full(1, np.nan) if track.embedding is None else track.embedding
                told = np.array(track.sharpness[:count]), np.stack(track.looks[:count]), person
                self.found.append(Track(track.start, smoothing.quads(path), weight, *told))


def _weight(seen: Bool[np.ndarray, " n"], comes: bool, goes: bool) -> Float[np.ndarray, " n"]:
    """1 where a face is seen, 0 where it is hidden for long, with ramps between them."""
    bridged = seen.copy()
    places = np.flatnonzero(seen)
    for before, after in itertools.pairwise(places):
        if after - before - 1 <= _BRIDGED:
            bridged[before:after] = True
    # Beyond the ends a face that comes or goes counts as hidden, else as seen.
    padded = np.concatenate([[not comes], bridged, [not goes]])
    hidden, at = np.flatnonzero(~padded), np.arange(1, len(seen) + 1)
    if not hidden.size:
        return np.ones(len(seen))
    distance = np.abs(at[:, None] - hidden).min(1)
    return np.minimum(distance / (_FADE + 1), 1.0)


def _distance(track: _Growing, quad: np.ndarray) -> float:
    """Distance of a face from a track in sides of the crop; infinite where they cannot be one."""
    here = smoothing.parameters(quad[None])[0]
    side = np.exp(track.last[2])
    distance = float(np.hypot(*(here[:2] - track.last[:2])) / side)
    near = distance < _NEAR + _SPEED * track.missing
    return distance if near and abs(here[2] - track.last[2]) < np.log(_FACTOR) else np.inf


def _distinct(quads: list[np.ndarray]) -> list[np.ndarray]:
    """Squares without those whose centre lies near that of one before."""
    kept: list[np.ndarray] = []
    for quad in quads:
        side = np.linalg.norm(quad[3] - quad[0])
        if all(np.linalg.norm(quad.mean(0) - k.mean(0)) > side / 4 for k in kept):
            kept.append(quad)
    return kept


def _look(pixels: Pixels, quad: np.ndarray) -> tuple[float, UInt8[np.ndarray, "16 16 3"]]:
    """How sharp the square's inner half is, above 0, and a small picture of it.

    Sharpness is the median over its parts: a striped hand before the face makes no sharper face.
    """
    import cv2

    low, high = quad.mean(0) + (quad.min(0) - quad.mean(0)) / 2, quad.mean(0) / 2 + quad.max(0) / 2
    low = np.clip(np.floor(low), 0, np.array(pixels.shape[1::-1]) - 1).astype(int)
    high = np.maximum(np.ceil(high).astype(int), low + 1)
    part = pixels[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    part = part * np.float32(255 / np.iinfo(pixels.dtype).max)
    grey = cv2.resize(part.mean(-1), (128, 128), interpolation=cv2.INTER_AREA)
    edges = np.square(cv2.Laplacian(grey, cv2.CV_32F)).reshape(8, 16, 8, 16).mean((1, 3))
    small = cv2.resize(part, (16, 16), interpolation=cv2.INTER_AREA)
    return float(np.median(edges)) + 1e-9, np.rint(small).astype(np.uint8)
