"""Scores of face pictures, to which directions are fitted and by which edits are judged.

Pictures are uint8 RGB [n, side, side, 3], FFHQ-aligned, side 256, 512 or 1024. Scores are float32
[n], NaN where no face was found. A score is a small formula over the measurements of a few networks
(see `evidence`), each of which runs once on every picture however many scores are requested.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.faces.evidence import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, Evidence, gather
from diffcam_jax.faces.landmarks import FaceLandmarker
from diffcam_jax.nn.conventions import CLASSES

# Rows of the 478 landmarks; left and right are the picture's.
LEFT_EYE, RIGHT_EYE = (33, 133, 159, 145), (362, 263, 386, 374)
NOSE_TIP = 1
MOUTH_LEFT, MOUTH_RIGHT, INNER_LIP_TOP, INNER_LIP_BOTTOM = 61, 291, 13, 14
# fmt: off
OUTER_LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)
LOWER_FACE = (
    58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 410, 426, 327, 2, 98,
    206, 186,
)
# fmt: on
CHEEKS = ((117, 118, 101, 36, 205, 187, 147, 123), (346, 347, 330, 266, 425, 411, 376, 352))

# Height of the nose tip above the plane of the outer eye corners, relative to their distance, in
# MediaPipe's canonical face.
NOSE_HEIGHT = 0.45
MIN_HAIR_SHARE = 0.01


def _smiling(e: Evidence) -> float:
    return (e.blendshapes["mouthSmileLeft"] + e.blendshapes["mouthSmileRight"]) / 2


def _mouth_open(e: Evidence) -> float:
    return (
        float(np.linalg.norm(e.points[INNER_LIP_BOTTOM] - e.points[INNER_LIP_TOP])) / e.eye_distance
    )


def _eyes_closed(e: Evidence) -> float:
    return (e.blendshapes["eyeBlinkLeft"] + e.blendshapes["eyeBlinkRight"]) / 2


def _yaw(e: Evidence) -> float:
    """Degrees, positive when the face looks towards the picture's right."""
    left, right = e.points[LEFT_EYE_OUTER], e.points[RIGHT_EYE_OUTER]
    along = (right - left) / e.eye_distance
    shift = float((e.points[NOSE_TIP] - (left + right) / 2) @ along) / e.eye_distance
    return float(np.degrees(np.arctan(shift / NOSE_HEIGHT)))


def _eyeglasses(e: Evidence) -> float:
    face = sum(e.shares[CLASSES.index(name)] for name in ("skin", "nose", "eyeglasses"))
    return float(e.shares[CLASSES.index("eyeglasses")] / face)


def _beard(e: Evidence) -> float:
    """How much darker, rougher and less coloured the skin around the mouth is than other skin."""
    lightness, a, b = np.moveaxis(e.lab, -1, 0)
    texture, chroma = np.abs(lightness - _box_blur(lightness, 2)), np.hypot(a, b)
    below = e.inside(LOWER_FACE) & ~e.inside(OUTER_LIPS) & e.has("skin", "hair")
    bare = e.inside(*CHEEKS) & e.has("skin")
    if not below.any() or not bare.any():
        return float("nan")
    darkness = 1 - float(lightness[below].mean() / np.median(lightness[bare]))
    greyness = 1 - float(chroma[below].mean() / max(float(np.median(chroma[bare])), 5.0))
    roughness = float(texture[below].mean() - texture[bare].mean()) / float(
        np.median(lightness[bare])
    )
    return darkness + 0.5 * greyness + 8 * roughness


def _bushy_eyebrows(e: Evidence) -> float:
    """Area of the brows, weighted by how much darker than the skin they are.

    It is relative to the squared eye distance.
    """
    lightness = e.lab[..., 0]
    brows, skin = e.has("left_brow", "right_brow"), e.has("skin")
    if not skin.any():
        return float("nan")
    darkness = np.clip(1 - lightness / float(np.median(lightness[skin])), 0, None)
    return float(darkness[brows].sum()) / e.eye_distance**2


def _hair_color(e: Evidence) -> float:
    """Mean Lab lightness of the hair in [0, 100]; NaN for a head without hair."""
    hair = e.has("hair")
    return float(e.lab[hair][:, 0].mean()) if hair.mean() > MIN_HAIR_SHARE else float("nan")


def _skin_lightness(e: Evidence) -> float:
    """Mean Lab lightness of the cheeks in [0, 100].

    It depends on lighting and complexion, which no edit should change.
    """
    cheeks = e.inside(*CHEEKS)
    return float(e.lab[cheeks][:, 0].mean()) if cheeks.any() else float("nan")


@dataclass(frozen=True)
class Scorer:
    """A formula over `Evidence` and the networks, besides the landmarks, that it needs."""

    formula: Callable[[Evidence], float]
    needs: frozenset[str] = frozenset()


SCORERS = {
    "smiling": Scorer(_smiling),
    "mouth_open": Scorer(_mouth_open),
    "eyes_closed": Scorer(_eyes_closed),
    "yaw": Scorer(_yaw),
    "age": Scorer(lambda e: e.age, frozenset({"age"})),
    "gender": Scorer(lambda e: e.male, frozenset({"gender"})),
    "eyeglasses": Scorer(_eyeglasses, frozenset({"parsing"})),
    "beard": Scorer(_beard, frozenset({"parsing"})),
    "bushy_eyebrows": Scorer(_bushy_eyebrows, frozenset({"parsing"})),
    "hair_color": Scorer(_hair_color, frozenset({"parsing"})),
    "skin_lightness": Scorer(_skin_lightness),
}


def score(
    images: UInt8[np.ndarray, "n side side 3"],
    names: Sequence[str] | None = None,
    batch_size: int = 8,
) -> dict[str, Float[np.ndarray, " n"]]:
    """Scores every picture by every named scorer.

    Args:
        images: aligned faces, RGB.
        names: keys of `SCORERS`; all of them when None.
        batch_size: pictures per pass of a network.

    Returns:
        Score name -> float32 [n], NaN where no face was found or the score has no meaning (hair
        colour of a bald head).

    Raises:
        UserError: a name is unknown, or onnxruntime is missing and a score needs it.
    """
    names = list(SCORERS) if names is None else list(names)
    if unknown := sorted(set(names) - set(SCORERS)):
        raise UserError(f"no scorer is called {unknown[0]!r}; {suggestion(unknown[0], SCORERS)}")
    needs = frozenset().union(*(SCORERS[name].needs for name in names))
    scores = {name: np.full(len(images), np.nan, np.float32) for name in names}
    with FaceLandmarker() as landmarker:
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            for index, evidence in gather(batch, needs, landmarker, batch_size):
                for name in names:
                    scores[name][start + index] = SCORERS[name].formula(evidence)
    return scores


def _box_blur(x: Float[np.ndarray, "h w"], radius: int) -> Float[np.ndarray, "h w"]:
    """Mean over a (2 radius + 1) square, edges repeated."""
    width = 2 * radius + 1
    for axis in range(2):
        padded = np.pad(
            x, [(radius, radius) if a == axis else (0, 0) for a in range(2)], mode="edge"
        )
        x = sum(
            np.take(padded, range(i, i + x.shape[axis]), axis) for i in range(width)
        ) / np.float32(width)
    return x
