"""How the shipped directions are made: scores, layers, conditions and strengths."""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from diffcam_jax.directions import Direction, scoring
from diffcam_jax.directions.fit import Boundary
from diffcam_jax.directions.make import Attribute, Fitting, Trial, make_directions, needed_scores
from diffcam_jax.directions.space import code_space, draw, truncated
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network

PSI = 0.8
POOL = 4000
LICENCE = "non-commercial research, as the FFHQ generator they were fitted on"

NO_GLASSES = ("eyeglasses", -np.inf, 0.05)
MEN = ("gender", 0.0, np.inf)
ATTRIBUTES = {
    "smiling": Attribute(
        "smiling", (2, 9), ("gender", "old", "eyeglasses", "yaw", "skin_lightness"), 1.5
    ),
    "mouth_open": Attribute("mouth_open", (2, 9), ("smiling", "gender", "old", "yaw"), 1.8),
    "eyes_closed": Attribute(
        "eyes_closed", (3, 9), ("smiling", "old", "eyeglasses", "yaw", "gender"), 3.0, (NO_GLASSES,)
    ),
    "old": Attribute(
        "age", (2, 14), ("eyeglasses", "gender", "smiling", "yaw", "skin_lightness"), 1.6
    ),
    "gender": Attribute(
        "gender", (0, 10), ("old", "smiling", "eyeglasses", "yaw", "skin_lightness"), 1.5
    ),
    # The requested rise is more than it can reach, so that its step is the longest: shorter ones
    # leave many photographs without glasses.
    "eyeglasses": Attribute("eyeglasses", (0, 7), ("old", "gender", "smiling", "yaw"), 4.0),
    "beard": Attribute(
        "beard", (3, 11), ("old", "eyeglasses", "smiling", "skin_lightness"), 1.8, (NO_GLASSES, MEN)
    ),
    "bushy_eyebrows": Attribute(
        "bushy_eyebrows",
        (4, 12),
        ("gender", "hair_color", "eyeglasses", "skin_lightness"),
        1.8,
        (NO_GLASSES,),
    ),
    "hair_color": Attribute(
        "hair_color", (7, 16), ("old", "gender", "smiling", "skin_lightness"), 1.5
    ),
    "yaw": Attribute("yaw", (0, 4), ("smiling", "gender", "old"), 1.0),
}


def on_generator(attribute: Attribute, rows: int) -> Attribute:
    """A recipe for 18 rows, restricted to a generator of fewer.

    The coarse layers are the same, the fine ones are missing.
    """
    first, end = attribute.layers
    return dataclasses.replace(attribute, layers=(first, min(end, rows)))


def fit_scored(
    generator: Network,
    attributes: dict[str, Attribute],
    work: Path,
    scorer: scoring.Scorer | None = None,
    samples: int = 3200,
    seed: int = 1,
    tries: int = 32,
    psi: float = PSI,
    fitting: Fitting = Fitting(licence=LICENCE),
) -> tuple[dict[str, Direction], dict[str, Boundary]]:
    """The whole recipe: draws, scores, fits and conditions boundaries, and calibrates strengths.

    Args:
        generator: any.
        attributes: recipes by name; `ATTRIBUTES` with the other defaults gives the shipped
            directions (`samples` 2400).
        work: folder of the scores, which makes the run resumable.
        scorer: of pictures; None takes the built-in ones, for which a picture is clean while the
            landmarker finds a face.
        samples: number of scored samples.
        seed: of the samples; the calibration uses the next one.
        tries: number of samples on which each strength is calibrated.
        psi: truncation of all samples.
        fitting: how boundaries are fitted.

    Returns:
        (name -> Direction, name -> Boundary).

    Raises:
        UserError: see `make.make_directions`, or a score is unknown.
    """
    face = "smiling" if scorer is None else None
    scorer = scoring.built_in() if scorer is None else scorer
    needed = needed_scores(attributes)
    scorer.check(needed)
    # Whole pools: the last bits of a code depend on how many are drawn, and scores on disk are
    # identified by the bits of their code.
    drawn = draw(generator, jax.random.key(seed), -(-samples // POOL) * POOL)[:samples]
    codes = truncated(drawn, code_space(generator).mean, psi)
    scores = scoring.scored_codes(generator, codes, scorer, needed, work)
    fitting = dataclasses.replace(
        fitting, samples=f"{samples} samples (seed {seed}, truncation {psi:g})"
    )
    trial = Trial(scorer, tries, seed + 1, psi, face)
    return make_directions(generator, attributes, codes, scores, fitting, trial)


def shipped_attributes(generator: Network) -> dict[str, Attribute]:
    """The recipes of the shipped directions, for any generator of faces aligned as in FFHQ."""
    rows = wplus_rows(generator.module)
    return {name: on_generator(attribute, rows) for name, attribute in ATTRIBUTES.items()}
