"""Which scores are tied by what faces are: moving one moves the others, whatever the edit.

A direction is to leave every score alone that is not tied with its own. Ties are few and of three
kinds: one score contains the other (blond hair is light), one part moves both (a smile widens the
mouth and narrows the eyes), or the world hardly knows them apart (a beard and its man).
"""

from diffcam_jax.faces.scorers import SCORERS

_GROUPS = (
    {
        "smiling",
        "mouth_open",
        "closed_smile",
        "mouth_width",
        "pucker",
        "lip_fullness",
        "surprise",
        "chin_length",
    },
    {"eyes_closed", "squint", "eye_size", "gaze_up", "surprise", "eye_makeup"},
    {"brow_raise", "frown", "brow_height", "surprise", "squint", "eye_size"},
    {"pitch", "nose_length", "chin_length", "brow_height", "face_width", "gaze_up"},
    {"yaw", "gaze"},
    {"baldness", "bangs", "hair_length", "hat"},
    {"hair_color", "black_hair", "blond_hair", "red_hair", "grey_hair", "curly_hair"},
    {"skin_lightness", "skin_undertone", "blush"},
    {"face_width", "jaw_width", "chin_length"},
)
_PAIRS = (
    ("smiling", "squint"),
    ("smiling", "nose_width"),
    ("smiling", "blush"),
    ("gender", "beard"),
    ("gender", "hair_length"),
    ("gender", "lipstick"),
    ("gender", "eye_makeup"),
    ("gender", "bushy_eyebrows"),
    ("gender", "jaw_width"),
    ("age", "grey_hair"),
    ("age", "baldness"),
    ("age", "hair_color"),
    ("mouth_open", "nose_width"),
    ("mouth_width", "nose_width"),
    ("surprise", "nose_width"),
    # Hair greys; men lose it.
    ("age", "black_hair"),
    ("age", "blond_hair"),
    ("gender", "baldness"),
    # How they are measured: by the height of the face with its jaw, by the bridge of the nose
    # between the brows, by the skin of the forehead.
    ("mouth_open", "face_width"),
    ("surprise", "face_width"),
    ("frown", "nose_length"),
    ("surprise", "nose_length"),
    ("baldness", "blush"),
    ("bangs", "blush"),
    # What covers others from sight.
    ("bangs", "bushy_eyebrows"),
    ("eyeglasses", "bushy_eyebrows"),
    ("eyeglasses", "eye_makeup"),
    ("eyeglasses", "eye_size"),
    ("eyeglasses", "eyes_closed"),
    # A turn shortens lengths, and the eye distances in which they count.
    ("yaw", "brow_height"),
    ("yaw", "chin_length"),
    ("yaw", "face_width"),
    ("yaw", "lip_fullness"),
    ("yaw", "mouth_width"),
    ("yaw", "nose_length"),
    ("yaw", "nose_width"),
    ("pitch", "jaw_width"),
)
# Nothing changes these on purpose: a picture is aligned by its roll, and hats and earrings are
# seldom told from hair for certain.
_UNSURE = frozenset({"roll", "hat", "earrings"})

# Few faces have these: the ranks of the others are noise.
RARE = frozenset({"eyeglasses", "pucker", "bangs", "hat", "earrings"})


def tied(score: str) -> frozenset[str]:
    """The scores that a change of one changes, too, and itself."""
    groups = (*_GROUPS, *map(set, _PAIRS))
    return frozenset({score}.union(*(group for group in groups if score in group)))


def still(score: str) -> tuple[str, ...]:
    """The scores that an attribute of a score is to leave alone."""
    return tuple(name for name in SCORERS if name not in tied(score) | _UNSURE)
