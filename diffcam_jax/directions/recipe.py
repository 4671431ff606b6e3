"""How the shipped directions are made: scores, conditions, regions and strengths."""

import dataclasses
from pathlib import Path

import numpy as np

from diffcam_jax.directions import Direction, scoring
from diffcam_jax.directions.balance import balanced
from diffcam_jax.directions.fit import Boundary
from diffcam_jax.directions.make import make_directions, needed_scores
from diffcam_jax.directions.plans import Attribute, Fitting, Trial
from diffcam_jax.directions.sensitivity import probe
from diffcam_jax.directions.space import prior_codes
from diffcam_jax.directions.stylespace import probe_channels
from diffcam_jax.directions.ties import still
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network

PSI = 0.8
POOL = 4000
LICENCE = "non-commercial research, as the FFHQ generator they were fitted on"
# How boundaries are fitted and conditioned, and on how many faces steps are restricted.
METHOD, SLACK, PROBED = "regression", 0.05, 24

NO_GLASSES = ("eyeglasses", -np.inf, 0.08)
MEN = ("gender", 0.0, np.inf)
# What turns a head, in the coarse rows only. Everything but hair and glasses does without the first
# two rows, with which the background moves.
_POSE, _ALL, _FINER = (0, 4), (0, 16), (2, 16)


def _raises(score: str, shift: float = 1.3, layers: tuple[int, int] = _FINER, **more) -> Attribute:
    return Attribute(score, layers, still(score), shift, **more)


def _around_eyes(score: str, shift: float = 1.3, also: tuple[str, ...] = ()) -> Attribute:
    """Fitted to faces without glasses, and kept apart from these; `also` names tied scores."""
    names = tuple(dict.fromkeys((*still(score), *also, "eyeglasses")))
    return Attribute(score, _FINER, names, shift, (NO_GLASSES,), apart=("eyeglasses",))


def _whole_head(
    score: str, shift: float, layers: tuple[int, int], apart: tuple[str, ...]
) -> Attribute:
    """Changes so much that it is conditioned on little and restricted to nothing."""
    return Attribute(score, layers, apart, shift, restricted=False, method="svm")


ATTRIBUTES = {
    "smiling": _raises("smiling", along=(("mouth_open", 0.5),)),
    "mouth_open": _raises("mouth_open", 1.6),
    "eyes_closed": _around_eyes("eyes_closed", 2.6),
    "old": _whole_head(
        "age", 1.6, (2, 14), ("eyeglasses", "gender", "smiling", "yaw", "skin_lightness")
    ),
    "gender": _whole_head(
        "gender", 1.5, (0, 10), ("age", "smiling", "eyeglasses", "yaw", "skin_lightness")
    ),
    # The requested rise is more than it can reach, so that its step is the longest: shorter ones
    # leave many photographs without glasses.
    "eyeglasses": _whole_head("eyeglasses", 4.0, (0, 7), ("age", "gender", "smiling", "yaw")),
    "beard": _raises("beard", 2.2, among=(NO_GLASSES, MEN)),
    "bushy_eyebrows": _around_eyes("bushy_eyebrows"),
    "hair_color": _raises("hair_color", 1.6, _ALL),
    "yaw": _whole_head("yaw", 1.0, _POSE, ("smiling", "gender", "age")),
    "pitch": _raises("pitch", 1.3, (0, 5), restricted=False),
    "surprise": _around_eyes("surprise", 1.8, ("smiling", "closed_smile", "mouth_width")),
    "brow_raise": _around_eyes("brow_raise"),
    "frown": _around_eyes("frown"),
    "brow_height": _around_eyes("brow_height"),
    "squint": _around_eyes("squint"),
    "eye_size": _around_eyes("eye_size"),
    "eye_makeup": _around_eyes("eye_makeup"),
    "face_width": _raises("face_width"),
    "bangs": _raises("bangs", layers=_ALL),
    "baldness": _raises("baldness", layers=_ALL),
    "black_hair": _raises("black_hair", layers=_ALL),
    "blond_hair": _raises("blond_hair", layers=_ALL),
    "red_hair": _raises("red_hair"),
    "grey_hair": _raises("grey_hair", layers=_ALL),
    "skin_tone": _raises("skin_lightness"),
    "skin_undertone": _raises("skin_undertone"),
    "light_side": _raises("light_side"),
}


def on_generator(attribute: Attribute, rows: int) -> Attribute:
    """A recipe for 18 rows, restricted to a generator of fewer.

    The coarse layers are the same, the fine ones are missing.
    """
    first, end = attribute.layers
    return dataclasses.replace(attribute, layers=(first, min(end, rows)))


def pool(generator: Network, seed: int, count: int, psi: float) -> np.ndarray:
    """Codes [n, r, k] of the prior for `count` samples or somewhat more, the first of which count.

    Whole pools: the last bits of a code depend on how many are drawn, and scores on disk are
    identified by the bits of their code.
    """
    return prior_codes(generator, seed, -(-count // POOL) * POOL, psi)


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
    probes: int = 0,
) -> tuple[dict[str, Direction], dict[str, Boundary]]:
    """The whole recipe: draws, scores, fits, conditions and restricts, and calibrates strengths.

    Args:
        generator: any.
        attributes: recipes by name; `ATTRIBUTES` with the defaults of the command `fit` gives the
            shipped directions.
        work: folder of the scores, which makes the run resumable.
        scorer: of pictures; None takes the built-in ones, for which a picture is clean while the
            landmarker finds a face.
        samples: number of scored samples.
        seed: of the samples; the calibration uses the next one.
        tries: number of samples on which each strength is calibrated.
        psi: truncation of all samples.
        fitting: how boundaries are fitted. The method "stylespace" makes steps of style channels
            from those of a regression.
        probes: number of faces on which it is measured what steps change where. They are then
            restricted to their regions, see `local`, and balanced, see `balance`; 0 does neither,
            and adds nothing that goes along.

    Returns:
        (name -> Direction, name -> Boundary).

    Raises:
        UserError: see `make.make_directions`, or a score is unknown.
    """
    asked = attributes
    if probes:
        attributes = _companions(attributes, wplus_rows(generator.module)) | attributes
    face = "smiling" if scorer is None else None
    scorer = scoring.built_in() if scorer is None else scorer
    needed = needed_scores(attributes)
    scorer.check(needed)
    codes = pool(generator, seed, samples, psi)[:samples]
    scores = scoring.scored_codes(generator, codes, scorer, needed, work)
    fitting = dataclasses.replace(
        fitting, samples=f"{samples} samples (seed {seed}, truncation {psi:g})"
    )
    if probes:
        fitting = _probed(generator, codes[:probes], work, fitting)
    trial = Trial(scorer, tries, seed + 1, psi, face, work)
    made, boundaries = make_directions(generator, attributes, codes, scores, fitting, trial)
    if probes:
        spreads = {name: max(float(np.nanstd(x)), 1e-6) for name, x in scores.items()}
        made = balanced(generator, made, attributes, spreads, trial)
    return {name: made[name] for name in asked}, boundaries


def _companions(attributes: dict[str, Attribute], rows: int) -> dict[str, Attribute]:
    """The recipes of what goes along with attributes."""
    names = {name for attribute in attributes.values() for name, _ in attribute.along}
    return {name: on_generator(ATTRIBUTES[name], rows) for name in sorted(names - set(attributes))}


def _probed(generator: Network, codes: np.ndarray, work: Path, fitting: Fitting) -> Fitting:
    from diffcam_jax.faces.evidence import parse

    labels, _ = parse(scoring.draw_pictures(generator, codes))
    if fitting.method == "stylespace":
        channels = probe_channels(generator, codes, labels)
        return dataclasses.replace(fitting, method="regression", channels=channels)
    return dataclasses.replace(fitting, sensitivity=probe(generator, codes, labels, work))


def shipped_attributes(generator: Network) -> dict[str, Attribute]:
    """The recipes of the shipped directions, for any generator of faces aligned as in FFHQ."""
    rows = wplus_rows(generator.module)
    return {name: on_generator(attribute, rows) for name, attribute in ATTRIBUTES.items()}
