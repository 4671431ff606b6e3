"""Matches of SIFT features between a photograph and another picture, and the map they agree on.

RANSAC keeps the matches that agree on one similarity, so that what was edited does not count.

Reference:
    Lowe, Distinctive image features from scale-invariant keypoints (IJCV 2004).
"""

import numpy as np
from jaxtyping import UInt8

from diffcam_jax.faces.align import Quad
from diffcam_jax.faces.views import Map, frame, view

# Side in pixels at which features are looked for, and of a closer look in sides of the quad.
_LOOK, _AROUND = 1000, 1.25
_FEATURES, _RATIO = 3000, 0.8
# Matches that agree on a map; unrelated pictures reach about as many by chance.
LEAST_MATCHES = 12


def similarity(
    photo: UInt8[np.ndarray, "_ _ 3"], other: UInt8[np.ndarray, "_ _ 3"], quad: Quad
) -> tuple[Map, int] | None:
    """The similarity from a photograph to a picture on which most matches of features agree.

    Args:
        photo: the photograph.
        other: a picture that may show the same, or a part of it.
        quad: around which the photograph is looked at more closely where the whole does not match.

    Returns:
        The map and how many matches agree on it; None where too few do.
    """
    reduced, matrix = _reduced(other)
    seen = _features(reduced)
    whole, to_whole = _reduced(photo)
    side = min(_LOOK, max(128, round(_AROUND * np.hypot(*(quad[3] - quad[0])))))
    closer = frame(quad, side, _AROUND)
    tolerance = max(3.0, 0.006 * max(reduced.shape))
    found = _matched(_features(whole), seen, tolerance)
    if found is None:
        near = np.rint(view(photo, closer, side)[0] * 255).astype(np.uint8)
        found, to_whole = _matched(_features(near), seen, tolerance), np.linalg.inv(closer)
    return found and (np.linalg.inv(matrix) @ found[0] @ to_whole, found[1])


def _reduced(pixels: np.ndarray) -> tuple[np.ndarray, Map]:
    """A copy whose longer side is at most `_LOOK`, and the map to it."""
    import cv2

    old = np.array(pixels.shape[1::-1])
    if old.max() <= _LOOK:
        return pixels, np.eye(3)
    new = np.maximum(np.round(old * _LOOK / old.max()).astype(int), 1)
    small = cv2.resize(pixels, new.tolist(), interpolation=cv2.INTER_AREA)
    return small, np.diag([*(new / old), 1])


def _features(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions [n, 2] and descriptors [n, 128]; RootSIFT (Arandjelovic and Zisserman, 2012)."""
    import cv2

    detector = cv2.SIFT_create(nfeatures=_FEATURES, contrastThreshold=0.02)
    points, words = detector.detectAndCompute(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), None)
    if not points:
        return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
    places = np.array([point.pt for point in points]) + 0.5
    return places, np.sqrt(words / np.maximum(words.sum(1, keepdims=True), 1e-6))


def _matched(one, two, tolerance: float) -> tuple[Map, int] | None:
    """The similarity on which most matches agree, and how many do."""
    import cv2

    if min(len(one[0]), len(two[0])) < LEAST_MATCHES:
        return None
    pairs = cv2.BFMatcher().knnMatch(one[1], two[1], k=2)
    kept = [first for first, second in pairs if first.distance < _RATIO * second.distance]
    if len(kept) < LEAST_MATCHES:
        return None
    here, there = one[0][[m.queryIdx for m in kept]], two[0][[m.trainIdx for m in kept]]
    matrix, agreeing = cv2.estimateAffinePartial2D(
        here, there, ransacReprojThreshold=tolerance, maxIters=5000, confidence=0.999
    )
    count = 0 if matrix is None else int(agreeing.sum())
    return (np.vstack([matrix, [0, 0, 1]]), count) if count >= LEAST_MATCHES else None
