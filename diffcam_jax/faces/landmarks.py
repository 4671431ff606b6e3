"""Faces in a photograph: 478 landmarks and 52 blendshape scores from the MediaPipe face landmarker.

Points are x, y in pixels of the photograph, counted from its top left corner: pixel (column j, row
i) covers [j, j+1] x [i, i+1]. Left and right are the picture's, not the person's.

MediaPipe's own detector sees the whole picture at 128x128 and so misses heads smaller than about a
fifth of it, heads lying on their side and faces that fill the frame. Where the first look finds too
few faces, `detector.FaceDetector` says where to look closer, whatever the photograph's size and
shape; a picture without any is looked at in a wide frame, and turned.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8, UInt16

from diffcam_jax.faces.detector import FaceDetector
from diffcam_jax.faces.landmarker import Landmarker

# What "all" means, so that a picture of a crowd ends; and how many one look of MediaPipe returns.
MAX_FACES, _ONE_LOOK = 1000, 32
# Pixels; larger pictures are reduced first: the networks see at most 256 pixels of a face.
_VIEW_SIDE = 1024
# Sides of the closer looks at a box of the detector, in longer sides of the box, until one shows
# the face; and the least side, in pixels, to which they are enlarged.
_REACHES, _ENLARGED = (2.2, 3.2, 1.6), 256
_UPRIGHT = 0.7  # cosine of 45 degrees: beyond that another quarter turn shows the face better
_CLOSE_UP = 2.2  # side of the second, closer look at a face, in sides of its landmark box


@dataclass(frozen=True, eq=False)
class DetectedFace:
    """One face.

    Attributes:
        points: [478, 2] landmarks in the numbering of MediaPipe's face mesh (468-477 are the
            irises).
        blendshapes: 52 scores in [0, 1] by name, such as "mouthSmileLeft" or "jawOpen".
        area: area of the box around the points, in square pixels.
    """

    points: Float[np.ndarray, "478 2"]
    blendshapes: dict[str, float]
    area: float


class FaceLandmarker(Landmarker):
    """Finds faces.

    Use it as a context manager, and one instance for many pictures (7 ms for an aligned one).

    Raises:
        UserError: the model is neither cached nor can it be fetched, or the file is no model.
    """

    def __init__(self) -> None:
        super().__init__(
            "face",
            num_faces=_ONE_LOOK,
            min_face_detection_confidence=0.6,  # at the default 0.5 a colour wheel is a face
            output_face_blendshapes=True,
        )

    def detect(
        self,
        pixels: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"],
        max_faces: int = 1,
        search: bool = True,
    ) -> list[DetectedFace]:
        """Finds the faces of a photograph, largest first.

        Args:
            pixels: [h, w, 3] RGB.
            max_faces: largest number of faces to return, at least 1; finding more than the first
                look shows takes more looks.
            search: look for smaller and for turned ones while fewer than `max_faces` are found.
                False is for crops that are already aligned: their face is found at the first look
                or not at all.

        Returns:
            At most `max_faces` faces; empty when there is none.
        """
        if pixels.dtype == np.uint16:
            pixels = (pixels >> 8).astype(np.uint8)
        faces = self._look_closer(pixels, self._look(pixels), confirm=False)
        if search:
            if not faces:
                faces = self._look_with_margin(pixels)
            if len(faces) < max_faces:
                faces = self._look_where_detected(pixels, faces, max_faces)
            if not any(_uprightness(face) > _UPRIGHT for face in faces):
                faces = self._look_at_turned(pixels) or faces
        return sorted(faces, key=lambda face: face.area, reverse=True)[:max_faces]

    def _look(self, pixels: np.ndarray) -> list[DetectedFace]:
        """The faces that MediaPipe finds in one picture, which is reduced first if it is large."""
        height, width = pixels.shape[:2]
        result = self.run(reduced(pixels, _VIEW_SIDE))
        return [
            _face(
                np.array([(p.x * width, p.y * height) for p in points]),
                {shape.category_name: float(shape.score) for shape in shapes},
            )
            for points, shapes in zip(result.face_landmarks, result.face_blendshapes, strict=True)
        ]

    def _look_with_margin(self, pixels: np.ndarray) -> list[DetectedFace]:
        """The faces of the picture in a wide grey frame.

        The detector misses a face that fills its picture.
        """
        small = reduced(pixels, _VIEW_SIDE)
        margin = max(small.shape[:2]) // 4
        framed = np.pad(small, ((margin, margin), (margin, margin), (0, 0)), constant_values=128)
        scale = max(pixels.shape[:2]) / max(small.shape[:2])
        return [
            _face((face.points - margin) * scale, face.blendshapes) for face in self._look(framed)
        ]

    @functools.cached_property
    def _detector(self) -> FaceDetector:
        """Made when a first look finds too little."""
        return FaceDetector()

    def _look_where_detected(
        self, pixels: np.ndarray, faces: list[DetectedFace], max_faces: int
    ) -> list[DetectedFace]:
        """Known faces, and those that a closer look at the detector's boxes confirms."""
        for boxes in self._detector.levels(pixels):
            for box in boxes:
                around = np.array([box[:2], box[2:]])
                if any(_covers(face, around) for face in faces):
                    continue
                found = self._look_at_box(pixels, around)
                faces = faces if found is None else _distinct([*faces, found])
            if len(faces) >= max_faces:
                break
        return faces

    def _look_at_box(self, pixels: np.ndarray, box: np.ndarray) -> DetectedFace | None:
        """The face in a box [2, 2] of the detector, enlarged where it is small."""
        import cv2

        for reach in _REACHES:
            half = reach * float(np.max(box[1] - box[0])) / 2
            left, top = np.maximum(np.floor(box.mean(0) - half), 0).astype(int)
            right, bottom = np.ceil(box.mean(0) + half).astype(int)
            part = pixels[top:bottom, left:right]
            scale = max(1.0, _ENLARGED / max(part.shape[:2]))
            if scale > 1:
                part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            seen = [
                _face(face.points / scale + np.array([left, top]), face.blendshapes)
                for face in self._look(part)
            ]
            if same := [face for face in seen if _covers(face, box)]:
                return max(same, key=lambda face: _shared(face, box))
        return None

    def _look_closer(
        self, pixels: np.ndarray, faces: list[DetectedFace], confirm: bool
    ) -> list[DetectedFace]:
        """Looks again, at full resolution, at each face that was seen reduced or in a tile.

        With `confirm`, a face that the close-up does not show again was a false detection and is
        dropped.
        """
        if not confirm and max(pixels.shape[:2]) <= _VIEW_SIDE:
            return faces
        closer = []
        for face in faces:
            low, high = face.points.min(axis=0), face.points.max(axis=0)
            reach = _CLOSE_UP * float(np.max(high - low)) / 2
            left, top = np.maximum(np.floor((low + high) / 2 - reach), 0).astype(int)
            right, bottom = np.ceil((low + high) / 2 + reach).astype(int)
            seen = [
                _face(again.points + np.array([left, top]), again.blendshapes)
                for again in self._look(pixels[top:bottom, left:right])
            ]
            same = [again for again in seen if _overlap(face, again) > 0.5]
            if same:
                closer.append(max(same, key=lambda again: _overlap(face, again)))
            elif not confirm:
                closer.append(face)
        return closer

    def _look_at_turned(self, pixels: np.ndarray) -> list[DetectedFace]:
        """The faces of the picture turned by 90, 180 or 270 degrees.

        Of the three the one with the most upright face is taken.
        """
        height, width = pixels.shape[:2]
        best, best_uprightness = [], _UPRIGHT
        for quarter_turns in (1, 2, 3):
            turned = np.ascontiguousarray(np.rot90(pixels, quarter_turns))
            faces = self._look_closer(turned, self._look(turned), confirm=True)
            uprightness = max(map(_uprightness, faces), default=-1.0)
            if uprightness > best_uprightness:
                best_uprightness = uprightness
                best = [
                    replace(face, points=_turned_back(face.points, quarter_turns, height, width))
                    for face in faces
                ]
        return best


def _face(points: np.ndarray, blendshapes: dict[str, float]) -> DetectedFace:
    return DetectedFace(points, blendshapes, float(np.prod(np.ptp(points, axis=0))))


def _uprightness(face: DetectedFace) -> float:
    """Cosine of the angle between the line through the outer eye corners and the horizontal."""
    x, y = face.points[263] - face.points[33]
    return float(x / max(np.hypot(x, y), 1e-9))


def reduced(pixels: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "_ _ 3"]:
    """A copy whose longer side is at most `side`; a smaller picture is returned as it is."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    import cv2

    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _distinct(faces: list[DetectedFace]) -> list[DetectedFace]:
    """Drops faces that were seen before."""
    kept: list[DetectedFace] = []
    for face in faces:
        if all(_overlap(face, other) < 0.4 for other in kept):
            kept.append(face)
    return kept


def _overlap(one: DetectedFace, other: DetectedFace) -> float:
    """Shared area of two boxes relative to the smaller one."""
    return _shared(one, np.array([other.points.min(axis=0), other.points.max(axis=0)]))


def _shared(face: DetectedFace, box: np.ndarray) -> float:
    """The area that a face shares with a box [2, 2], relative to the smaller one."""
    low = np.maximum(face.points.min(axis=0), box[0])
    high = np.minimum(face.points.max(axis=0), box[1])
    smaller = min(face.area, float(np.prod(box[1] - box[0])))
    return float(np.prod(np.maximum(high - low, 0)) / max(smaller, 1e-9))


def _covers(face: DetectedFace, box: np.ndarray) -> bool:
    """Whether a box of the detector is around this very face."""
    return _shared(face, box) > 0.4


def _turned_back(points: np.ndarray, quarter_turns: int, height: int, width: int) -> np.ndarray:
    """Points of np.rot90(picture, quarter_turns) in coordinates of the picture, height x width."""
    x, y = points[:, 0], points[:, 1]
    if quarter_turns == 1:
        x, y = width - y, x
    elif quarter_turns == 2:
        x, y = width - x, height - y
    elif quarter_turns == 3:
        x, y = y, height - x
    return np.stack([x, y], axis=1)
