"""Scores of face pictures, to which directions are fitted and by which edits are judged.

Pictures are uint8 RGB [n, side, side, 3], FFHQ-aligned, side 256, 512 or 1024. Scores are float32
[n], NaN where no face was found. A score is a small formula over the measurements of a few networks
(see `evidence`), each of which runs once on every picture however many scores are requested.

`yaw`, `gaze`, `roll` and `light_side` change their sign when the picture is mirrored; the others
stay the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.faces import scorers_colours as colours
from diffcam_jax.faces import scorers_expressions as expressions
from diffcam_jax.faces import scorers_shapes as shapes
from diffcam_jax.faces.evidence import Evidence, gather
from diffcam_jax.faces.landmarks import FaceLandmarker


@dataclass(frozen=True)
class Scorer:
    """A formula over `Evidence` and the networks, besides the landmarks, that it needs."""

    formula: Callable[[Evidence], float]
    needs: frozenset[str] = frozenset()


_PARSING = frozenset({"parsing"})
SCORERS = {
    "smiling": Scorer(expressions.smiling),
    "mouth_open": Scorer(expressions.mouth_open),
    "eyes_closed": Scorer(expressions.eyes_closed),
    "yaw": Scorer(expressions.yaw),
    "age": Scorer(lambda e: e.age, frozenset({"age"})),
    "gender": Scorer(lambda e: e.male, frozenset({"gender"})),
    "eyeglasses": Scorer(shapes.eyeglasses, _PARSING),
    "beard": Scorer(colours.beard, _PARSING),
    "bushy_eyebrows": Scorer(colours.bushy_eyebrows, _PARSING),
    "hair_color": Scorer(colours.hair_color, _PARSING),
    "skin_lightness": Scorer(colours.skin_lightness),
    "closed_smile": Scorer(expressions.closed_smile),
    "pucker": Scorer(expressions.pucker),
    "surprise": Scorer(expressions.surprise),
    "brow_raise": Scorer(expressions.brow_raise),
    "frown": Scorer(expressions.frown),
    "squint": Scorer(expressions.squint),
    "gaze": Scorer(expressions.gaze),
    "gaze_up": Scorer(expressions.gaze_up),
    "pitch": Scorer(expressions.pitch),
    "roll": Scorer(expressions.roll),
    "face_width": Scorer(shapes.face_width),
    "jaw_width": Scorer(shapes.jaw_width),
    "chin_length": Scorer(shapes.chin_length),
    "nose_width": Scorer(shapes.nose_width),
    "nose_length": Scorer(shapes.nose_length),
    "eye_size": Scorer(shapes.eye_size),
    "mouth_width": Scorer(shapes.mouth_width),
    "lip_fullness": Scorer(shapes.lip_fullness),
    "brow_height": Scorer(shapes.brow_height),
    "hair_length": Scorer(shapes.hair_length, _PARSING),
    "bangs": Scorer(shapes.bangs, _PARSING),
    "baldness": Scorer(shapes.baldness, _PARSING),
    "hat": Scorer(shapes.hat, _PARSING),
    "earrings": Scorer(shapes.earrings, _PARSING),
    "black_hair": Scorer(colours.black_hair, _PARSING),
    "blond_hair": Scorer(colours.blond_hair, _PARSING),
    "red_hair": Scorer(colours.red_hair, _PARSING),
    "grey_hair": Scorer(colours.grey_hair, _PARSING),
    "curly_hair": Scorer(colours.curly_hair, _PARSING),
    "skin_undertone": Scorer(colours.skin_undertone),
    "light_side": Scorer(colours.light_side),
    "blush": Scorer(colours.blush, _PARSING),
    "lipstick": Scorer(colours.lipstick, _PARSING),
    "eye_makeup": Scorer(colours.eye_makeup, _PARSING),
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
