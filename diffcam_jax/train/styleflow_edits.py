"""The edits of a trained flow: how far strength 1 raises a condition, and what pictures show of it.

A flow follows its condition only so far: the rows of an attribute are few, and the scores of faces
scatter. The step of a condition is therefore enlarged until the pictures' score has risen as far as
it should.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from diffcam_jax.directions import scoring
from diffcam_jax.directions.acts import known
from diffcam_jax.directions.calibration import (
    clean_strengths,
    length_of,
    mean_rise,
    usual_move,
)
from diffcam_jax.directions.flows import FlowEdit, edits_of
from diffcam_jax.directions.space import samples
from diffcam_jax.errors import UserError
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.nn.network import Network
from diffcam_jax.train.styleflow_codes import ScoredCodes

LADDER = (1.0, 1.5, 2.0, 3.0)  # steps to try, in wanted rises
FURTHEST = (2.0, 1.5)  # strengths to try for the safe range; 1 is taken to be safe
WATCHED = 8  # faces that have to stay faces within it
# Attribute, its score, first and end row of W+, rise of the score in deviations at strength 1.
Plan = tuple[str, str, int, int, float]


def planned(plans: tuple[Plan, ...], data: ScoredCodes, rows: int, method: str) -> dict[str, Any]:
    """The entry "edits" of a flow's folder, with steps as far as the scores should rise.

    Args:
        plans: of the attributes.
        data: of the training.
        rows: of the generator's W+ codes.
        method: how the flow was made.

    Raises:
        UserError: an attribute's score is no condition, or its rows are not the generator's.
    """
    measures = {measure.score: measure for measure in data.measures}
    attributes = {}
    for name, score, first, end, deviations in plans:
        if score not in measures:
            raise UserError(f"config.edits: {name} raises {score}, add it to config.conditions")
        if not first < end <= rows:
            raise UserError(f"config.edits: rows {first} to {end} of {name} are not in 0 to {rows}")
        aim, where = deviations * measures[score].std, known(name)
        attributes[name] = {
            "layers": [first, end],
            "range": [-2.0, 2.0],
            "classes": list(where.classes),
            "box": list(where.box),
            "score": score,
            "move": aim,
            "step": aim,
            "normalisation": f"the condition {score} rises by {aim:.4g}",
        }
    conditions = [measure._asdict() for measure in data.measures]
    return {"rows": rows, "method": method, "conditions": conditions, "attributes": attributes}


@dataclasses.dataclass(frozen=True)
class Trial:
    """Fresh faces on which edits are tried.

    Attributes:
        generator: of the faces.
        scorer: of the pictures.
        codes: [n, rows, k] of the faces.
        work: folder of the scores.
    """

    generator: Network
    scorer: scoring.Scorer
    codes: Float[np.ndarray, "n rows k"]
    work: Path

    @classmethod
    def draw(
        cls,
        generator: Network,
        scorer: scoring.Scorer,
        count: int,
        seed: int,
        psi: float,
        work: Path,
    ) -> "Trial":
        """Draws the faces."""
        codes = samples(generator, seed, count, psi)
        return cls(generator, scorer, np.ascontiguousarray(codes), work)

    def scores(self, codes: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Scores of codes by name; those on disk are not computed again."""
        return scoring.scored_codes(self.generator, codes, self.scorer, list(names), self.work)


def measured(folder: ModelFolder, trial: Trial) -> dict[str, Any]:
    """The entry "edits" of a folder, with steps, moves, ceilings and ranges as pictures show them.

    Args:
        folder: whose edits are as `planned`.
        trial: faces of its generator.
    """
    given = folder.config["edits"]
    edits = edits_of(folder)
    names = next(iter(edits.values())).conditions if edits else ()
    before = trial.scores(trial.codes, names)
    usable = np.all([np.isfinite(before[name]) for name in names], axis=0)
    for measure in given["conditions"]:
        values = before[measure["score"]]
        usable &= (values >= measure["lowest"]) & (values <= measure["highest"])
    if not usable.any():
        return given
    codes, before = trial.codes[usable], {name: before[name][usable] for name in names}
    attributes = {}
    for name, edit in edits.items():
        entry = given["attributes"][name]
        attributes[name] = entry | _measured(edit, trial, codes, before, entry["move"])
    return {**given, "attributes": attributes}


def _measured(
    edit: FlowEdit, trial: Trial, codes: np.ndarray, before: Mapping[str, np.ndarray], aim: float
) -> dict[str, Any]:
    own = before[edit.score]
    low = np.flatnonzero(own <= np.median(own))

    def after(step: float, strength: float, rows: np.ndarray) -> np.ndarray:
        chosen = {name: values[rows] for name, values in before.items()}
        moved = dataclasses.replace(edit, step=step).moved(codes[rows], strength, chosen)
        return trial.scores(moved, (edit.score,))[edit.score]

    def rise(size: float) -> float:
        return mean_rise(own[low], after(size, 1.0, low))

    def is_clean(strength: float) -> bool:
        return bool(np.isfinite(after(step, strength, some)).all())

    step = length_of(rise, aim, [factor * aim for factor in LADDER]) or aim
    move, ceiling = usual_move(own, after(step, 1.0, np.arange(len(own))))
    some = np.arange(min(len(own), WATCHED))
    limits = list(clean_strengths(is_clean, FURTHEST))
    found = {"step": step, "move": move, "range": limits}
    found["normalisation"] = f"the condition {edit.score} rises by {step:.4g}"
    return found | ({"ceiling": ceiling} if math.isfinite(ceiling) else {})
