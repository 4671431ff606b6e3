"""Parts of a picture under affine maps, and what such maps do.

Maps are [3, 3] float64, between positions in pixels from the top left corner as in `faces.align`.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8, UInt16

from diffcam_jax.faces.align import Quad
from diffcam_jax.faces.warping import covered, warp

Pixels = UInt8[np.ndarray, "_ _ 3"] | UInt16[np.ndarray, "_ _ 3"]
Map = Float[np.ndarray, "3 3"]


def scale_of(matrix: Map) -> float:
    """By how much a map enlarges."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))


def turn_of(matrix: Map) -> float:
    """By how many degrees a map turns, from -180 to 180; that of the nearest similarity."""
    (a, b), (c, d) = matrix[:2, :2]
    return float(np.degrees(np.arctan2(c - b, a + d)))


def view(
    pixels: Pixels, matrix: Map, size: int
) -> tuple[Float32[np.ndarray, "{size} {size} 3"], Bool[np.ndarray, "{size} {size}"]]:
    """A square part of a picture, resampled.

    Args:
        pixels: the picture.
        matrix: from positions in the result to those in the picture.
        size: side of the result in pixels.

    Returns:
        The part, in [0, 1], the picture's border repeated beyond it, and where it shows the
        picture.
    """
    import cv2

    height, width = pixels.shape[:2]
    corners = corners_of(size, size) @ matrix[:2, :2].T + matrix[:2, 2]
    border = 4 * max(1, int(np.ceil(scale_of(matrix))))
    low = np.clip(np.floor(corners.min(0)).astype(int) - border, 0, (width - 1, height - 1))
    high = np.clip(np.ceil(corners.max(0)).astype(int) + border, low + 1, (width, height))
    part = pixels[low[1] : high[1], low[0] : high[0]]
    part = part.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    moved = moved_by(-low) @ matrix
    shrink = int(scale_of(matrix) / 2)
    if shrink > 1:  # so that a large picture is not sampled at each of its pixels
        reduced = np.maximum(np.array(part.shape[1::-1]) // shrink, 1)
        moved = np.diag([*(reduced / part.shape[1::-1]), 1]) @ moved
        part = cv2.resize(part, reduced.tolist(), interpolation=cv2.INTER_AREA)
    shown = np.clip(warp(part, moved, size, size), 0, 1).astype(np.float32)
    return shown, inside(matrix, size, height, width)


def inside(matrix: Map, size: int, height: int, width: int) -> Bool[np.ndarray, "{size} {size}"]:
    """Which pixels of a square of `size` a map takes into a picture of height x width."""
    return covered(matrix, size, height, width, margin=0.5)


def frame(quad: Quad, size: int, around: float = 1.0) -> Map:
    """The map from a square of `size` pixels to a photograph's positions in a quad.

    Args:
        quad: [4, 2] as `align.ffhq_quad` gives it.
        size: of the square.
        around: by how much the quad is enlarged around its centre.
    """
    centre = quad.mean(0)
    corners = centre + around * (quad - centre)
    across, down = (corners[3] - corners[0]) / size, (corners[1] - corners[0]) / size
    return np.array([[across[0], down[0], corners[0, 0]], [across[1], down[1], corners[0, 1]],
                     [0, 0, 1]])  # fmt: skip


def corners_of(width: int, height: int) -> Quad:
    """The quad that is a whole picture: top left, bottom left, bottom right and top right."""
    return np.array([[0, 0], [0, height], [width, height], [width, 0]], np.float64)


def moved_by(by: np.ndarray) -> Map:
    """The map that adds x, y to a position."""
    return np.array([[1, 0, by[0]], [0, 1, by[1]], [0, 0, 1]], np.float64)
