"""Scores of shapes: of the face from its landmarks, of hair and accessories from the parsing.

Lengths count in distances of the outer eye corners, areas in their squares, unless said otherwise.
"""

import numpy as np

from diffcam_jax.faces import mesh
from diffcam_jax.faces.evidence import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, SIDE, Evidence
from diffcam_jax.nn.conventions import CLASSES

MAX_HAT = 0.02  # share of a picture; under a larger hat nobody knows the hair


def face_width(e: Evidence) -> float:
    """Width of the face at the ears relative to its height from forehead to chin."""
    return e.distance(mesh.FACE_LEFT, mesh.FACE_RIGHT) / e.distance(mesh.FOREHEAD_TOP, mesh.CHIN)


def jaw_width(e: Evidence) -> float:
    """Width of the face at the jaw's angles relative to that at the ears."""
    return e.distance(mesh.JAW_LEFT, mesh.JAW_RIGHT) / e.distance(mesh.FACE_LEFT, mesh.FACE_RIGHT)


def chin_length(e: Evidence) -> float:
    """From the lower lip to the chin."""
    return e.distance(mesh.OUTER_LIP_BOTTOM, mesh.CHIN) / e.eye_distance


def nose_width(e: Evidence) -> float:
    """Distance of the wings of the nose."""
    return e.distance(mesh.NOSE_LEFT, mesh.NOSE_RIGHT) / e.eye_distance


def nose_length(e: Evidence) -> float:
    """From between the eyes to the base of the nose."""
    return e.distance(mesh.NOSE_BRIDGE, mesh.NOSE_BASE) / e.eye_distance


def eye_size(e: Evidence) -> float:
    """Mean area of the open eyes relative to the squared width of the face, times 100."""
    area = float(np.mean([polygon_area(e.points[list(rows)]) for rows in mesh.EYES]))
    return 100 * area / e.distance(mesh.FACE_LEFT, mesh.FACE_RIGHT) ** 2


def mouth_width(e: Evidence) -> float:
    """Distance of the corners of the mouth."""
    return e.distance(mesh.MOUTH_LEFT, mesh.MOUTH_RIGHT) / e.eye_distance


def lip_fullness(e: Evidence) -> float:
    """Height of the upper and of the lower lip together."""
    upper = e.distance(mesh.OUTER_LIP_TOP, mesh.INNER_LIP_TOP)
    return (upper + e.distance(mesh.INNER_LIP_BOTTOM, mesh.OUTER_LIP_BOTTOM)) / e.eye_distance


def brow_height(e: Evidence) -> float:
    """Height of the brows above the line through the outer corners of the eyes."""
    left, right = e.points[LEFT_EYE_OUTER], e.points[RIGHT_EYE_OUTER]
    x, y = (right - left) / e.eye_distance
    brows = e.points[[mesh.BROW_LEFT, mesh.BROW_RIGHT]].mean(0)
    return float((brows - left) @ np.array([y, -x])) / e.eye_distance


def eyeglasses(e: Evidence) -> float:
    """Share of the face's area."""
    face = sum(e.shares[CLASSES.index(name)] for name in ("skin", "nose", "eyeglasses"))
    return float(e.shares[CLASSES.index("eyeglasses")] / face)


def hat(e: Evidence) -> float:
    """Share of the picture."""
    return float(e.has("hat").mean())


def earrings(e: Evidence) -> float:
    """Area of the earrings."""
    return float(e.has("earring").sum()) / e.eye_distance**2


def hair_length(e: Evidence) -> float:
    """Area of the hair below the eyes."""
    return float(_hair(e)[_eye_row(e) :].sum()) / e.eye_distance**2


def baldness(e: Evidence) -> float:
    """Area of the hair above the eyes, negative; NaN under a hat."""
    if hat(e) > MAX_HAT:
        return float("nan")
    return -float(_hair(e)[: _eye_row(e)].sum()) / e.eye_distance**2


def bangs(e: Evidence) -> float:
    """Share of the forehead that hair covers; NaN under a hat."""
    forehead = e.inside(mesh.FOREHEAD)
    if hat(e) > MAX_HAT or not forehead.any():
        return float("nan")
    return float((_hair(e) & forehead).sum() / forehead.sum())


def _hair(e: Evidence) -> np.ndarray:
    return e.has("hair")


def _eye_row(e: Evidence) -> int:
    """Row of the picture at the height of the eyes."""
    height = float(e.points[[LEFT_EYE_OUTER, RIGHT_EYE_OUTER], 1].mean())
    return int(np.clip(round(height), 0, SIDE))


def polygon_area(points: np.ndarray) -> float:
    """Area of a simple polygon [n, 2]."""
    x, y = points.T.astype(np.float64)
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)
