"""Landmarks from files, set by hand or by another tool."""

import json
import os

import numpy as np
from jaxtyping import Float

from diffcam_jax.errors import UserError

_MAX_BYTES = 1 << 20


def read_landmarks_file(path: str | os.PathLike[str]) -> Float[np.ndarray, "n 2"]:
    """Reads landmarks from a JSON or text file.

    Args:
        path: a JSON list of [x, y] pairs, or plain text with one "x y" or "x, y" a line ("#" begins
            a comment): 5, 68 or 478 points as `align.ffhq_quad` takes them, in pixels of the
            upright photograph.

    Returns:
        Points [n, 2] float64 as x, y.

    Raises:
        UserError: the file cannot be read or does not hold such points.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: the landmarks cannot be read ({error}); check the name"
        ) from error
    try:
        if len(text) > _MAX_BYTES:
            raise ValueError("the file is too large")
        text = text.decode("utf-8-sig").strip()
        if text.startswith("["):
            rows = json.loads(text)
        else:
            lines = (line.split("#")[0].replace(",", " ").split() for line in text.splitlines())
            rows = [line for line in lines if line]
        points = np.array(rows, np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) not in (5, 68, 478):
            raise ValueError(f"an array of shape {points.shape}")
        if not np.all(np.abs(points) < 1e6):
            raise ValueError("a coordinate is not a number of pixels")
        if np.all(np.abs(points) <= 1):
            raise ValueError("fractions of the picture instead of pixels")
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path}: not landmarks ({error}); it needs 5, 68 or 478 rows of x and y in pixels"
        ) from error
    return points
