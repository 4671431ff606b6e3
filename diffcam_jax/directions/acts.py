"""Where attributes may act: face-parsing classes and a box of the aligned picture, by name.

A smile changes only the lower half of a face; what a generator changes beyond that is a side
effect. The regions are generous, so that no wanted change is cut off: a box contains the part in
every face that is aligned as in FFHQ, whatever its pose.
"""

import math
from typing import NamedTuple

from diffcam_jax.nn.conventions import CLASSES

Box = tuple[float, float, float, float]

WHOLE: Box = (0.0, 1.0, 0.0, 1.0)
_NOT_HEAD = ("background", "cloth", "hat", "earring", "necklace")
# The classes of a person's head, with glasses, since other attributes must be able to move them.
HEAD = tuple(name for name in CLASSES if name not in _NOT_HEAD)

_BROWS, _EYES = ("left_brow", "right_brow"), ("left_eye", "right_eye")
_EARS, _MOUTH = ("left_ear", "right_ear"), ("mouth", "upper_lip", "lower_lip")
# Without the neck: the generator draws collars there, and whatever it was trained on.
_PERSON = ("skin", *_BROWS, *_EYES, *_EARS, "nose", *_MOUTH, "hair")


class Acts(NamedTuple):
    """Where an attribute may act.

    Attributes:
        classes: names of `nn.bisenet.CLASSES`.
        box: (top, bottom, left, right) relative to the aligned picture's side.
        farthest: how many times its safe range it may be taken where a face hardly follows.
        keeps: names of classes whose shapes stay the photograph's; only their light changes.
        shades: whether light and colours change on purpose, as under a beard. They then fade out
            towards the borders of the region, and are not evened out.
        present: score from which on a photograph has the attribute and nothing is added to it: who
            wears glasses gets no other ones.
    """

    classes: tuple[str, ...]
    box: Box
    farthest: float = 1.0
    keeps: tuple[str, ...] = ()
    shades: bool = False
    present: float = math.inf


_LOWER: Box = (0.45, 0.98, 0.1, 0.9)
_AROUND_EYES: Box = (0.34, 0.62, 0.12, 0.88)
_BROW_BOX: Box = (0.2, 0.6, 0.1, 0.9)
_SMILE = Acts(("skin", "nose", *_MOUTH), _LOWER)
_LIDS = Acts(("skin", *_BROWS, *_EYES), _AROUND_EYES)
_FOREHEAD = Acts(("skin", *_BROWS, *_EYES, "hair"), _BROW_BOX)
_NOSE = Acts(("skin", "nose"), (0.38, 0.75, 0.25, 0.75))
_SHAPE = Acts(_PERSON, WHOLE)
_HAIR = Acts(("hair", "skin", *_BROWS, *_EARS), WHOLE)
_DYED = Acts(("hair",), WHOLE, shades=True)
_TANNED = Acts(("skin", "nose", *_EARS), WHOLE, shades=True)
REGIONS = {
    "smiling": _SMILE,
    "mouth_open": _SMILE,
    "eyes_closed": _LIDS,
    "old": Acts(_PERSON, WHOLE),
    "gender": Acts(_PERSON, WHOLE),
    # Behind lenses are this person's eyes: those of a generator make another person.
    "eyeglasses": Acts(
        ("skin", *_BROWS, *_EYES, "eyeglasses", *_EARS, "nose"),
        (0.37, 0.65, 0.06, 0.94),
        keeps=(*_BROWS, *_EYES),
        present=0.05,
    ),
    # On a woman's face a beard often begins where a man's has long been full.
    "beard": Acts(
        ("skin", "nose", *_MOUTH),
        (0.48, 1.0, 0.1, 0.9),
        farthest=1.5,
        shades=True,
    ),
    "bushy_eyebrows": Acts(("skin", *_BROWS, *_EYES, "hair"), (0.3, 0.55, 0.12, 0.88)),
    "hair_color": _DYED,
    "yaw": Acts(HEAD, WHOLE),  # turns the whole head
    "pitch": Acts(HEAD, WHOLE),
    "closed_smile": _SMILE,
    "pucker": _SMILE,
    "surprise": Acts(("skin", "nose", *_BROWS, *_EYES, *_MOUTH, "hair"), (0.2, 0.98, 0.05, 0.95)),
    "brow_raise": _FOREHEAD,
    "frown": _FOREHEAD,
    "brow_height": _FOREHEAD,
    "squint": _LIDS,
    "eye_size": _LIDS,
    "gaze": Acts(("skin", *_EYES), (0.38, 0.58, 0.15, 0.85)),
    "gaze_up": Acts(("skin", *_BROWS, *_EYES), _AROUND_EYES),
    "eye_makeup": Acts(("skin", *_BROWS, *_EYES), (0.34, 0.6, 0.1, 0.9), shades=True),
    "face_width": _SHAPE,
    "jaw_width": _SHAPE,
    "chin_length": Acts(("skin", *_MOUTH), (0.6, 1.0, 0.1, 0.9)),
    "nose_width": _NOSE,
    "nose_length": _NOSE,
    "mouth_width": Acts(("skin", *_MOUTH), (0.55, 0.98, 0.15, 0.85)),
    "lip_fullness": Acts(("skin", *_MOUTH), (0.55, 0.98, 0.15, 0.85)),
    "lipstick": Acts(("upper_lip", "lower_lip", "mouth"), WHOLE, shades=True),
    "hair_length": _HAIR,
    "bangs": Acts(("hair", "skin", *_BROWS), (0.0, 0.6, 0.0, 1.0)),
    "baldness": _HAIR,
    "curly_hair": Acts(("hair",), WHOLE),
    "black_hair": _DYED,
    "blond_hair": _DYED,
    "red_hair": _DYED,
    "grey_hair": _DYED,
    "skin_tone": _TANNED,
    "skin_undertone": _TANNED,
    "blush": Acts(("skin", "nose"), (0.45, 0.85, 0.05, 0.95), shades=True),
    "light_side": Acts(HEAD, WHOLE, shades=True),
}

# Names of the same attributes in other projects: Diff-CAM's files, and InterFaceGAN's.
_ALSO_CALLED = {"narrow_eyes": "eyes_closed", "age": "old", "smile": "smiling", "pose": "yaw"}


def shipped_name(name: str) -> str:
    """The name in `REGIONS` that a name means, whatever its case and its word separators.

    A name that means none of them is returned in the same spelling.
    """
    plain = name.lower().replace("-", "_").replace(" ", "_")
    return _ALSO_CALLED.get(plain, plain)


def acts(name: str) -> Acts | None:
    """Where the attribute of a name may act (see `shipped_name`); None when it is not known."""
    return REGIONS.get(shipped_name(name))


def known(name: str) -> Acts:
    """What is known of the attribute of a name; the whole head for one that is not known."""
    return acts(name) or Acts((), WHOLE)
