"""What an edit of generated faces changes: scores, the person, and the picture by region."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.directions.acts import Acts
from diffcam_jax.directions.edits import Edit
from diffcam_jax.directions.scoring import draw_pictures
from diffcam_jax.directions.sensitivity import region_mask
from diffcam_jax.faces.evidence import SIDE, gather
from diffcam_jax.faces.landmarks import FaceLandmarker
from diffcam_jax.faces.scorers import SCORERS
from diffcam_jax.metrics.identity import Identity
from diffcam_jax.nn.network import Network

_AT_A_TIME = 8


class Seen(NamedTuple):
    """What is seen in pictures; NaN and empty where no face was found.

    Attributes:
        scores: name -> [n].
        pictures: reduced to `SIDE`.
        labels: face parsing.
        persons: embeddings of unit length.
    """

    scores: dict[str, np.ndarray]
    pictures: UInt8[np.ndarray, "n side side 3"]
    labels: UInt8[np.ndarray, "n side side"]
    persons: Float[np.ndarray, "n e"]


class Effect(NamedTuple):
    """Changes of n pictures by an edit; NaN where a picture before or after shows no face.

    Attributes:
        scores: name -> [n] differences, in the scores' own units.
        identity: [n] cosines of the persons before and after.
        inside: [n] mean absolute differences, of 0 to 255, of the pixels which the parsing of
            either picture counts to the region.
        outside: those of all other pixels.
    """

    scores: dict[str, np.ndarray]
    identity: np.ndarray
    inside: np.ndarray
    outside: np.ndarray

    def outside_share(self) -> float:
        """Mean change outside of the region relative to that inside; NaN without a face."""
        seen = np.isfinite(self.inside)
        if not seen.any():
            return float("nan")
        return float(self.outside[seen].mean() / max(self.inside[seen].mean(), 1e-6))


def look(
    generator: Network, codes: Float[np.ndarray, "n rows k"], names: Sequence[str], who: Identity
) -> Seen:
    """Draws codes and measures their pictures.

    Args:
        generator: of faces.
        codes: W+.
        names: of the scores, keys of `SCORERS`.
        who: recognises persons.
    """
    needs = frozenset().union({"parsing"}, *(SCORERS[name].needs for name in names))
    scores = {name: np.full(len(codes), np.nan) for name in names}
    small = np.zeros((len(codes), SIDE, SIDE, 3), np.uint8)
    labels, persons = np.zeros((len(codes), SIDE, SIDE), np.uint8), []
    with FaceLandmarker() as landmarker:
        for start in range(0, len(codes), _AT_A_TIME):
            drawn = draw_pictures(generator, codes[start : start + _AT_A_TIME], progress=False)
            persons.append(who.embed(drawn))
            for row, evidence in gather(drawn, needs, landmarker, _AT_A_TIME):
                small[start + row], labels[start + row] = evidence.picture, evidence.labels
                for name in names:
                    scores[name][start + row] = SCORERS[name].formula(evidence)
    return Seen(scores, small, labels, np.concatenate(persons))


def effect(
    generator: Network,
    edit: Edit,
    codes: Float[np.ndarray, "n rows k"],
    before: Seen,
    who: Identity,
    strength: float = 1.0,
) -> Effect:
    """What an edit changes.

    Args:
        generator: of the codes.
        edit: fitted to the generator.
        codes: W+.
        before: what was seen in their pictures, with the scores that an edit with conditions needs.
        who: recognises persons.
        strength: of the edit.
    """
    condition = {name: before.scores[name] for name in edit.conditions}
    moved = np.asarray(edit.moved(codes, strength, condition), np.float32)
    after = look(generator, moved, list(before.scores), who)
    region = Acts(edit.classes, edit.box)
    inside, outside = [], []
    for a, b, first, second in zip(
        before.pictures, after.pictures, before.labels, after.labels, strict=True
    ):
        change = np.abs(a.astype(np.float32) - b).mean(-1)
        mask = region_mask(first, region) | region_mask(second, region)
        faces = first.any() and second.any() and mask.any() and not mask.all()
        inside.append(change[mask].mean() if faces else np.nan)
        outside.append(change[~mask].mean() if faces else np.nan)
    return Effect(
        {name: after.scores[name] - before.scores[name] for name in before.scores},
        (before.persons * after.persons).sum(-1),
        np.array(inside),
        np.array(outside),
    )
