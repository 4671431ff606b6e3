"""What an edit may change of a photograph, and what it never may.

Every direction names the face-parsing classes and the box that it may act on (`Direction.classes`,
`Direction.box`). Hat, clothes, background, earrings and whatever else covers the face are in none
of them: they stay the photograph's, bit for bit. Parsing takes a hand for skin, so hands are found
by landmarks of their own. Where something lies on the mouth, the parsing sees few lips within the
landmarks' outline of them; then edits of the mouth change nothing.

Parsing labels are [256, 256] of an aligned picture, masks float32 of the same size in [0, 1].
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from diffcam_jax.directions import Edit
from diffcam_jax.directions.acts import HEAD, WHOLE, known
from diffcam_jax.faces import evidence
from diffcam_jax.faces.hands import HandLandmarker, hand_mask
from diffcam_jax.faces.landmarks import FaceLandmarker
from diffcam_jax.faces.mesh import OUTER_LIPS
from diffcam_jax.nn.conventions import CLASSES

LIPS = ("mouth", "upper_lip", "lower_lip")
# Share of the lips' outline that must be parsed as lips: it is 0.75 and more on bare faces, a
# child's included, and 0.52 and less behind hands.
VISIBLE = 0.6
UNKNOWN = (
    "where it may act is not recorded, so the whole head may change; python -m "
    "diffcam_jax.directions import records it by --classes and --box"
)
MARGIN = 2  # pixels of 256 that a region keeps away from what it must not touch
FRAME = 2  # further ones around worn glasses: the parsing takes a thin bridge for the nose
SHADE = 16  # over which light and colours that are meant fade in: a line would show their border
# A tuned generator that misses the photograph by more, in [0, 2], shows something else there ...
MISSED = 0.3
SPECK = 24 / 256**2  # ... unless its area is less: a strand of hair or a glint.
_SOFT = 12  # pixels of 256 over which a region fades out towards the side of its box


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """What is known of the face in an aligned photograph.

    Attributes:
        labels: index into `CLASSES`.
        hands: where hands are, boolean.
        mouth_visible: share of the lips' outline that shows lips; NaN when no face was found.
    """

    labels: UInt8[np.ndarray, "256 256"]
    hands: Bool[np.ndarray, "256 256"]
    mouth_visible: float


def look(
    aligned: UInt8[np.ndarray, "s s 3"], landmarker: FaceLandmarker, hand_landmarker: HandLandmarker
) -> Face:
    """Parses an aligned photograph and looks for what covers the face.

    Raises:
        UserError: the parsing network is neither cached nor can it be fetched.
    """
    labels = evidence.parse(aligned[None], 1)[0][0]
    hands = hand_mask(hand_landmarker.detect(aligned), len(labels))
    visible = float("nan")
    face = evidence.find_face(landmarker, aligned)
    if face is not None:
        outline = [(float(x), float(y)) for x, y in face[0][list(OUTER_LIPS)] * len(labels)]
        picture = Image.new("L", labels.shape)
        ImageDraw.Draw(picture).polygon(outline, fill=1)
        inside = np.asarray(picture, bool)
        if inside.any():
            visible = float((_has(labels, LIPS) & ~hands)[inside].mean())
    return Face(labels, hands, visible)


def _has(labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    return np.isin(labels, [CLASSES.index(name) for name in classes])


def mouth_is_hidden(face: Face, direction: Edit) -> bool:
    """Whether an edit of the mouth has no mouth to act on."""
    acts_on_mouth = "mouth" in direction.classes and "hair" not in direction.classes
    return acts_on_mouth and face.mouth_visible < VISIBLE


def notes(face: Face, direction: Edit) -> list[str]:
    """What a person should know of where an edit may act, a line each."""
    found = []
    if mouth_is_hidden(face, direction):
        found.append("the mouth is covered; it stays as it is")
    if not direction.classes and direction.box == WHOLE:
        found.append(UNKNOWN)
    return found


def may_act(face: Face, direction: Edit) -> Float[np.ndarray, "256 256"]:
    """Where a direction may change the photograph: 1 well inside, exactly 0 where it may not."""
    import cv2

    if mouth_is_hidden(face, direction):
        return np.zeros(face.labels.shape, np.float32)
    classes = direction.classes or HEAD
    allowed = _has(face.labels, classes) & ~face.hands
    if "eyeglasses" not in classes:
        worn = _has(face.labels, ("eyeglasses",)).astype(np.uint8)
        allowed &= cv2.dilate(worn, _disc(FRAME)) == 0
    kept = cv2.erode(allowed.astype(np.uint8), _disc(MARGIN), borderValue=1)
    if known(direction.name).shades:
        padded = cv2.copyMakeBorder(kept.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        inwards = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
        soft = np.minimum(inwards / SHADE, 1.0).astype(np.float32)
    else:
        soft = cv2.blur(kept.astype(np.float32), (2 * MARGIN + 1,) * 2) * kept
    return soft * _box(direction.box, len(allowed))


def in_front(missed: Float[np.ndarray, "v v"]) -> Bool[np.ndarray, "v v"]:
    """Where something lies before what the generator draws: it is missed, and no speck.

    Args:
        missed: how far the tuned generator is from the photograph, see `window_edit.missed`.
    """
    import cv2

    objects = missed > MISSED
    _, labels, found, _ = cv2.connectedComponentsWithStats(objects.astype(np.uint8))
    return objects & (found[labels, cv2.CC_STAT_AREA] >= SPECK * missed.size)


def kept_shapes(
    face: Face, directions: Sequence[Edit], may: Float[np.ndarray, "r 256 256"]
) -> Float[np.ndarray, "256 256"]:
    """Where edits leave the photograph's shapes and change their light alone, from 0 to 1.

    Args:
        face: what the photograph shows.
        directions: of the edits. What one of them leaves another may change.
        may: where each may act.
    """
    import cv2

    parts = []
    for direction, acting in zip(directions, may, strict=True):
        kept = cv2.dilate(
            _has(face.labels, known(direction.name).keeps).astype(np.uint8), _disc(MARGIN)
        )
        soft = cv2.blur(kept.astype(np.float32), (2 * MARGIN + 1,) * 2)
        parts.append(np.where(acting > 0, soft, np.float32(1)))
    return np.min(parts, axis=0)


def _disc(radius: int) -> np.ndarray:
    import cv2

    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)


def _box(box: tuple[float, float, float, float], side: int) -> Float[np.ndarray, "s s"]:
    """1 inside a box, fading to 0 at its sides, but for those that are the picture's own."""
    places = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / side
    ramps = []
    for low, high in ((box[0], box[1]), (box[2], box[3])):
        ramp = np.ones(side, np.float32)
        if low > 0:
            ramp = np.minimum(ramp, np.clip((places - low) * side / _SOFT, 0, 1))
        if high < 1:
            ramp = np.minimum(ramp, np.clip((high - places) * side / _SOFT, 0, 1))
        ramps.append(ramp)
    return np.minimum(ramps[0][:, None], ramps[1][None])
