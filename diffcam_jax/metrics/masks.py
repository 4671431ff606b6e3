"""Masks against face parsing: where an edit acts, where it should, and what it leaves unchanged.

Masks are [n, h, w] in [0, 1]; regions are boolean [n, 256, 256], from `regions`. A mask of another
size is resampled to that of the region by area means. Where a region is empty (no face was found, a
bald head's hair), fractions of it are NaN.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Shaped

from diffcam_jax.errors import UserError
from diffcam_jax.faces.evidence import SIDE, Evidence, gather
from diffcam_jax.faces.landmarks import FaceLandmarker
from diffcam_jax.faces.mesh import LOWER_FACE, OUTER_LIPS
from diffcam_jax.metrics.batches import Pictures, runs
from diffcam_jax.ops.image import resize

THRESHOLD = 0.5
_AT_A_TIME = 8
_LIPS = ("mouth", "upper_lip", "lower_lip")
_EYES, _BROWS = ("left_eye", "right_eye"), ("left_brow", "right_brow")
_FACE = ("skin", "nose", "eyeglasses", *_EYES, *_BROWS, *_LIPS)
# Rows of the 478 landmarks, clockwise: the upper edges of the brows, the right temple, below the
# eyes, the left temple.
# fmt: off
_EYE_BAND = (
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 356, 345, 346, 347, 348, 197, 119, 118, 117,
    116, 127,
)
# fmt: on

Masks = Float[np.ndarray, "_ _ _"] | Bool[np.ndarray, "_ _ _"]
Saved = Shaped[np.ndarray, "_ _ _ _"]
Region = Callable[[Evidence], np.ndarray]


def _of_face(e: Evidence, *classes: str) -> np.ndarray:
    """The pixels near the landmarks that are parsed as any of the classes.

    A second face in the picture has eyes, too.
    """
    near, margin = np.zeros((SIDE, SIDE), bool), 0.2 * e.eye_distance
    (left, top), (right, bottom) = e.points.min(0) - margin, e.points.max(0) + margin
    near[max(int(top), 0) : max(int(bottom) + 1, 0), max(int(left), 0) : max(int(right) + 1, 0)] = (
        True
    )
    return e.has(*classes) & near


def _mouth(e: Evidence) -> np.ndarray:
    # The outline of the lips closes an open mouth, whose inside may be parsed as skin.
    return _of_face(e, *_LIPS) | e.inside(OUTER_LIPS)


def _eyes(e: Evidence) -> np.ndarray:
    return _of_face(e, *_EYES)


def _brows(e: Evidence) -> np.ndarray:
    return _of_face(e, *_BROWS)


def _hair(e: Evidence) -> np.ndarray:
    return e.has("hair")


def _skin(e: Evidence) -> np.ndarray:
    return _of_face(e, "skin", "nose")


# The part of a face that an attribute concerns.
REGIONS: dict[str, Region] = {
    "smiling": _mouth,
    "mouth_open": _mouth,
    "eyes_closed": _eyes,
    "bushy_eyebrows": _brows,
    "old": lambda e: _of_face(e, *_FACE),
    "eyeglasses": lambda e: _of_face(e, "eyeglasses") | e.inside(_EYE_BAND),
    "beard": lambda e: e.inside(LOWER_FACE) & e.has("skin", "hair", *_LIPS),
    "hair_color": _hair,
    "black_hair": _hair,
    "blond_hair": _hair,
    "red_hair": _hair,
    "grey_hair": _hair,
    "surprise": lambda e: _mouth(e) | _of_face(e, *_EYES, *_BROWS),
    "frown": _brows,
    "brow_raise": _brows,
    "brow_height": _brows,
    "squint": _eyes,
    "eye_size": _eyes,
    "eye_makeup": _eyes,
    "skin_tone": _skin,
    "skin_undertone": _skin,
}


def regions(
    pictures: Pictures, attributes: Sequence[str]
) -> dict[str, Bool[np.ndarray, "n 256 256"]]:
    """The region of each attribute, by face parsing and landmarks.

    Args:
        pictures: FFHQ-aligned uint8 RGB [n, s, s, 3], or any iterable of [s, s, 3] whose sizes may
            differ.
        attributes: keys of `REGIONS`.

    Returns:
        Attribute -> regions, empty where no face was found.

    Raises:
        UserError: an attribute has no region, or a picture is not an aligned one.
    """
    if unknown := [name for name in attributes if name not in REGIONS]:
        raise UserError(
            f"no region is known for {', '.join(unknown)}; choose from {', '.join(REGIONS)}"
        )
    parts = [np.zeros((len(attributes), 0, SIDE, SIDE), bool)]
    with FaceLandmarker() as landmarker:
        for stack in runs(pictures, _AT_A_TIME):
            found = np.zeros((len(attributes), len(stack), SIDE, SIDE), bool)
            for row, evidence in gather(stack, frozenset({"parsing"}), landmarker, _AT_A_TIME):
                for place, name in enumerate(attributes):
                    found[place, row] = REGIONS[name](evidence)
            parts.append(found)
    return dict(zip(attributes, np.concatenate(parts, 1), strict=True))


def iou(mask: Masks, region: Masks, threshold: float = THRESHOLD) -> Float[np.ndarray, " n"]:
    """Intersection over union of mask and region.

    Args:
        mask: where the edit acts; pixels count that reach the threshold.
        region: where it should act; the comparison is made at its size.
        threshold: of masks.
    """
    mask, region = _pair(mask, region, threshold)
    return _share((mask & region).sum((1, 2)), (mask | region).sum((1, 2)), region)


def coverage(mask: Masks, region: Masks, threshold: float = THRESHOLD) -> Float[np.ndarray, " n"]:
    """The fraction of the region that the mask covers; arguments as in `iou`."""
    mask, region = _pair(mask, region, threshold)
    return _share((mask & region).sum((1, 2)), region.sum((1, 2)), region)


def inside(mask: Masks, region: Masks, threshold: float = THRESHOLD) -> Float[np.ndarray, " n"]:
    """The fraction of the mask that lies within the region, NaN for an empty mask.

    Arguments as in `iou`.
    """
    mask, region = _pair(mask, region, threshold)
    return _share((mask & region).sum((1, 2)), mask.sum((1, 2)), region)


def area(mask: Masks) -> Float[np.ndarray, " n"]:
    """The mean of a mask: the fraction of the picture that an edit covers."""
    return np.asarray(mask, np.float64).mean((1, 2))


class Untouched(NamedTuple):
    """For each picture, in [0, 1].

    Attributes:
        share: fraction of pixels that equal the original in every channel.
        exact: the same fraction of the pixels outside the mask: 1 if a method keeps its promise.
            NaN without a mask, or where the mask is the whole picture.
    """

    share: Float[np.ndarray, " n"]
    exact: Float[np.ndarray, " n"]


def untouched(original: Saved, result: Saved, mask: Masks | None = None) -> Untouched:
    """How much of a picture an edit leaves exactly as it was.

    Args:
        original: pictures [n, h, w, c], uint8 or uint16, as they are saved.
        result: likewise.
        mask: [n, h, w]; the edit may act where it is above 0.

    Raises:
        ValueError: the types or shapes differ.
    """
    original, result = np.asarray(original), np.asarray(result)
    if (
        original.dtype != result.dtype
        or original.dtype.kind != "u"
        or original.shape != result.shape
    ):
        raise ValueError(
            f"pictures must be of one unsigned type and shape, got {original.dtype} "
            f"{original.shape} and {result.dtype} {result.shape}"
        )
    equal = (original == result).all(-1)
    if mask is None:
        return Untouched(equal.mean((1, 2)), np.full(len(equal), np.nan))
    if mask.shape != equal.shape:
        raise ValueError(f"the mask must be {equal.shape}, got {mask.shape}")
    outside = mask == 0
    return Untouched(
        equal.mean((1, 2)), _share((equal & outside).sum((1, 2)), outside.sum((1, 2)), outside)
    )


def only_outside(original: Saved, result: Saved, mask: Masks) -> Saved:
    """The result with the original inside the mask (above 0).

    Metrics of pairs then measure the rest of the picture only.
    """
    return np.where(mask[..., None] > 0, original, result)


def _pair(mask: Masks, region: Masks, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    mask, region = np.asarray(mask, np.float32), np.asarray(region)
    if mask.ndim != 3 or region.ndim != 3 or len(mask) != len(region):
        raise ValueError(
            f"masks and regions must be [n, h, w], got {mask.shape} and {region.shape}"
        )
    size = region.shape[1:]
    return np.asarray(resize(jnp.asarray(mask), size, "area")) >= threshold, region.astype(
        np.float32
    ) >= THRESHOLD


def _share(part: np.ndarray, whole: np.ndarray, region: np.ndarray) -> Float[np.ndarray, " n"]:
    valid = (whole > 0) & region.any((1, 2))
    return np.where(valid, part / np.maximum(whole, 1), np.nan)
