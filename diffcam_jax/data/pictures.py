"""Reads picture files as the square pictures of a dataset, uint8 RGB [s, s, 3]."""

import os
import threading
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from diffcam_jax.errors import UserError
from diffcam_jax.faces.align import crop, ffhq_quad
from diffcam_jax.faces.landmarks import FaceLandmarker
from diffcam_jax.faces.photo import read_photo, to_8_bits


@runtime_checkable
class Records(Protocol):
    """A random access list of samples {"image": uint8 [s, s, 3], ...}."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


def read_square(
    path: str | os.PathLike[str], size: int
) -> tuple[UInt8[np.ndarray, "{size} {size} 3"], bool]:
    """Reads the largest centred square of a picture, resized.

    Args:
        path: of a picture as `photo.read_photo` takes it.
        size: side of the result in pixels.

    Returns:
        The picture, and whether it had to be enlarged.

    Raises:
        UserError: the file is not a valid picture.
    """
    pixels = to_8_bits(read_photo(path).pixels)
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize_square(pixels[top : top + side, left : left + side], size), side < size


def resize_square(
    pixels: UInt8[np.ndarray, "h h 3"], size: int
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Resizes by averaging over areas; smaller pictures are enlarged by bicubic interpolation."""
    if len(pixels) == size:
        return np.ascontiguousarray(pixels)
    import cv2

    return cv2.resize(
        pixels,
        (size, size),
        interpolation=cv2.INTER_AREA if len(pixels) > size else cv2.INTER_CUBIC,
    )


class FaceReader:
    """Reads the largest face of a photograph, cut out as in FFHQ.

    A context manager that several threads may use.

    Raises:
        UserError: the landmark model is neither cached nor available for download.
    """

    def __init__(self) -> None:
        self._landmarker, self._lock = FaceLandmarker(), threading.Lock()

    def __enter__(self) -> "FaceReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self._landmarker.close()

    def __call__(
        self, path: str | os.PathLike[str], size: int
    ) -> tuple[UInt8[np.ndarray, "{size} {size} 3"], bool]:
        """As `read_square`.

        Raises:
            UserError: the file is not a valid picture, or shows no face.
        """
        pixels = read_photo(Path(path)).pixels
        with self._lock:  # the model keeps state
            faces = self._landmarker.detect(pixels)
        if not faces:
            raise UserError(f"{path}: no face found")
        quad = ffhq_quad(faces[0].points)
        face = np.rint(crop(pixels, quad, size) * 255).astype(np.uint8)
        return face, float(np.hypot(*(quad[3] - quad[0]))) < size
