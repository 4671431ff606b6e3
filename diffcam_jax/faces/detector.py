"""Where faces are in a photograph of any size and shape: YuNet on a pyramid of tiles.

YuNet (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023) finds faces from about 10
to 300 pixels. Each level of the pyramid is a quarter of the one before, so that some level shows a
face of any size in that range; large levels are cut into tiles that overlap by more than the
largest face that is looked for there.

A box is [4] float64: left, top, right, bottom, in pixels of the photograph.
"""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.errors import UserError
from diffcam_jax.faces.landmarker import quiet_native_stderr
from diffcam_jax.pretrained import store

Boxes = Float[np.ndarray, "n 4"]

# From one level to the next; smallest side of a level worth looking at; side of a tile, and by how
# much tiles overlap: more than the largest face that only this level shows well.
_FACTOR, _LEAST, _TILE, _OVERLAP = 4, 64, 1536, 320
# Score from which on YuNet's box is a face worth a closer look; boxes that share more of their
# union are one face.
_SCORE, _SAME = 0.6, 0.3


class FaceDetector:
    """Finds boxes around faces; one instance serves many pictures of any size.

    Raises:
        UserError: the model is neither cached nor can it be fetched, or the file is no model.
    """

    def __init__(self) -> None:
        import cv2

        path, self._one_at_a_time = store.fetch("yunet"), threading.Lock()
        try:
            with quiet_native_stderr():
                self._network: Any = cv2.FaceDetectorYN.create(
                    str(path), "", (320, 320), _SCORE, _SAME, 5000
                )
        except cv2.error as error:
            raise UserError(
                f"{path}: not a face detection model ({error.err}); delete it and run again"
            ) from error

    def levels(self, pixels: UInt8[np.ndarray, "h w 3"]) -> Iterator[Boxes]:
        """The boxes of every level, the coarsest level with the largest faces first.

        The same face may be in several levels; within one it is there once.

        Args:
            pixels: RGB.
        """
        import cv2

        height, width = pixels.shape[:2]
        factors = [1]
        while max(height, width) / factors[-1] > _TILE / 2 and (
            min(height, width) / (factors[-1] * _FACTOR) >= _LEAST
        ):
            factors.append(factors[-1] * _FACTOR)
        for factor in reversed(factors):
            size = max(1, round(width / factor)), max(1, round(height / factor))
            level = (
                pixels if factor == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            )
            found = np.concatenate(
                [np.zeros((0, 5)), *(self._tile(level, *place) for place in _tiles(*size))]
            )
            scale = np.array([width / size[0], height / size[1]] * 2)
            yield _distinct(found)[:, :4] * scale

    def _tile(self, level: np.ndarray, left: int, top: int) -> Float[np.ndarray, "n 5"]:
        """Boxes and scores of a tile, in pixels of the level."""
        part = np.ascontiguousarray(level[top : top + _TILE, left : left + _TILE, ::-1])
        with self._one_at_a_time:  # the size is the network's own
            self._network.setInputSize((part.shape[1], part.shape[0]))
            _, found = self._network.detect(part)
        if found is None:
            return np.zeros((0, 5))
        x, y, w, h, score = found[:, [0, 1, 2, 3, -1]].T.astype(np.float64)
        return np.stack([x + left, y + top, x + w + left, y + h + top, score], axis=1)


def _tiles(width: int, height: int) -> list[tuple[int, int]]:
    """The top left corners of tiles that cover a level."""
    return [(left, top) for top in _starts(height) for left in _starts(width)]


def _starts(length: int) -> list[int]:
    if length <= _TILE:
        return [0]
    count = 1 + -(-(length - _TILE) // (_TILE - _OVERLAP))
    return [round(start) for start in np.linspace(0, length - _TILE, count)]


def _distinct(found: Float[np.ndarray, "n 5"]) -> Float[np.ndarray, "m 5"]:
    """Drops boxes that overlap one of a higher score."""
    kept: list[np.ndarray] = []
    for box in found[np.argsort(-found[:, 4], kind="stable")]:
        if all(_shared(box, other) < _SAME for other in kept):
            kept.append(box)
    return np.array(kept).reshape(-1, 5)


def _shared(one: np.ndarray, other: np.ndarray) -> float:
    """The area that two boxes share, relative to that of the smaller one."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:4], other[2:4])
    smaller = min(np.prod(box[2:4] - box[:2]) for box in (one, other))
    return float(np.prod(np.maximum(high - low, 0)) / max(smaller, 1e-9))
