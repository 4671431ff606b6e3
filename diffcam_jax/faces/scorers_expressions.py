"""Scores of expressions and of the pose: from blendshapes and from landmarks.

Blendshapes are MediaPipe's, in [0, 1]; their left is the person's, which is the picture's right.
"""

import numpy as np

from diffcam_jax.faces import mesh
from diffcam_jax.faces.evidence import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, Evidence

# Height of the nose tip above the plane of the outer eye corners, relative to their distance, in
# MediaPipe's canonical face.
NOSE_HEIGHT = 0.45
# Relative to the distance from the line between the eyes to that between the mouth's corners: how
# far down the nose tip is in the usual picture, and how high above the face in the canonical one.
TIP_DOWN, TIP_HEIGHT = 0.64, 0.52
# Opening of the mouth, in eye distances, at which teeth show.
TEETH = 0.05


def _mean(e: Evidence, *names: str) -> float:
    return sum(e.blendshapes[name] for name in names) / len(names)


def _both(e: Evidence, name: str) -> float:
    """Mean of both sides' blendshapes of a name."""
    return _mean(e, f"{name}Left", f"{name}Right")


def smiling(e: Evidence) -> float:
    """Mean of the smile blendshapes."""
    return _both(e, "mouthSmile")


def mouth_open(e: Evidence) -> float:
    """Distance of the inner lips in eye distances."""
    return e.distance(mesh.INNER_LIP_BOTTOM, mesh.INNER_LIP_TOP) / e.eye_distance


def closed_smile(e: Evidence) -> float:
    """The smile, which falls with the opening of the mouth: by e where teeth show."""
    return smiling(e) * float(np.exp(-mouth_open(e) / TEETH))


def eyes_closed(e: Evidence) -> float:
    """Mean of the blink blendshapes."""
    return _both(e, "eyeBlink")


def squint(e: Evidence) -> float:
    """Mean of the squint blendshapes."""
    return _both(e, "eyeSquint")


def brow_raise(e: Evidence) -> float:
    """Mean of the inner and both outer blendshapes of raised brows."""
    return _mean(e, "browInnerUp", "browOuterUpLeft", "browOuterUpRight")


def frown(e: Evidence) -> float:
    """Mean of the blendshapes of lowered brows."""
    return _both(e, "browDown")


def pucker(e: Evidence) -> float:
    """Mean of the blendshapes of a puckered and a funnelled mouth."""
    return _mean(e, "mouthPucker", "mouthFunnel")


def surprise(e: Evidence) -> float:
    """Mean of raised brows, a dropped jaw and wide eyes."""
    return (brow_raise(e) + e.blendshapes["jawOpen"] + _both(e, "eyeWide")) / 3


def gaze(e: Evidence) -> float:
    """Positive when the eyes look towards the picture's right, relative to the head."""
    right = _mean(e, "eyeLookOutLeft", "eyeLookInRight")
    return right - _mean(e, "eyeLookInLeft", "eyeLookOutRight")


def gaze_up(e: Evidence) -> float:
    """Positive when the eyes look up."""
    return _both(e, "eyeLookUp") - _both(e, "eyeLookDown")


def yaw(e: Evidence) -> float:
    """Degrees, positive when the face looks towards the picture's right."""
    left, right = e.points[LEFT_EYE_OUTER], e.points[RIGHT_EYE_OUTER]
    along = (right - left) / e.eye_distance
    shift = float((e.points[mesh.NOSE_TIP] - (left + right) / 2) @ along) / e.eye_distance
    return float(np.degrees(np.arctan(shift / NOSE_HEIGHT)))


def pitch(e: Evidence) -> float:
    """Degrees, positive when the face looks up; 0 for the usual picture."""
    eyes = e.points[[LEFT_EYE_OUTER, RIGHT_EYE_OUTER]].mean(0)
    down = e.points[[mesh.MOUTH_LEFT, mesh.MOUTH_RIGHT]].mean(0) - eyes
    share = float((e.points[mesh.NOSE_TIP] - eyes) @ down / (down @ down))
    return float(np.degrees(np.arctan((TIP_DOWN - share) / TIP_HEIGHT)))


def roll(e: Evidence) -> float:
    """Degrees, positive when the head is turned clockwise in the picture."""
    x, y = e.points[RIGHT_EYE_OUTER] - e.points[LEFT_EYE_OUTER]
    return float(np.degrees(np.arctan2(y, x)))
