"""From scored codes to directions: boundaries, conditions, layers, and the strength of an edit.

This works with any generator and any scores: those of `scoring`, or labels of `labels`. The shipped
directions are one use of it (`recipe`), another in Python is

    made = make.make_directions(generator, {"wings": make.Attribute("wings", (0, 6))}, codes,
    {"wings": labels})
"""

from collections.abc import Callable, Mapping

import numpy as np

from diffcam_jax.directions import Direction, check_layers, on_layers
from diffcam_jax.directions.acts import WHOLE, Acts, acts, known
from diffcam_jax.directions.calibration import Score, calibrate, clean_range, usual_move
from diffcam_jax.directions.fit import Boundary, condition, fit_boundary
from diffcam_jax.directions.local import localised, without
from diffcam_jax.directions.plans import Attribute, Fitting, Trial
from diffcam_jax.directions.scoring import score_codes, scored_codes
from diffcam_jax.directions.sensitivity import inside
from diffcam_jax.directions.space import CodeSpace, code_space, generator_hash, samples
from diffcam_jax.directions.stylespace import sparse
from diffcam_jax.directions.ties import RARE
from diffcam_jax.errors import UserError
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network

WAYS = {"svm": "linear SVM", "centroids": "centroids", "regression": "ridge regression"}


def needed_scores(attributes: Mapping[str, Attribute]) -> list[str]:
    """Every score that the recipes of attributes use."""
    others = {name for a in attributes.values() for name in a.still if name not in attributes}
    limits = {name for a in attributes.values() for name, _, _ in a.among}
    return sorted({a.score for a in attributes.values()} | others | limits)


def fit_boundaries(
    attributes: Mapping[str, Attribute],
    codes: np.ndarray,
    scores: Mapping[str, np.ndarray],
    fitting: Fitting,
) -> dict[str, Boundary]:
    """Boundaries, before conditioning, of every attribute and every other score to condition on.

    Args:
        attributes: recipes by name.
        codes: [n, d] coordinates.
        scores: name -> [n].
        fitting: how boundaries are fitted.

    Raises:
        UserError: an attribute, which is named, has too few samples.
    """
    boundaries = {}
    for name in [
        *attributes,
        *dict.fromkeys(o for a in attributes.values() for o in a.still if o not in attributes),
    ]:
        score, method = name, fitting.method
        if name in attributes:
            score, method = attributes[name].score, attributes[name].method or method
        own = np.asarray(scores[score], np.float64)
        for other, lowest, highest in attributes[name].among if name in attributes else ():
            own = np.where((scores[other] >= lowest) & (scores[other] <= highest), own, np.nan)
        try:
            boundaries[name] = fit_boundary(
                codes,
                own,
                fitting.ratio,
                fitting.count,
                method=method,
                ranked=score not in RARE,
            )
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    return boundaries


def conditioned_steps(
    attributes: Mapping[str, Attribute],
    boundaries: Mapping[str, Boundary],
    space: CodeSpace,
    rows: int,
    slack: float = 0.0,
) -> dict[str, np.ndarray]:
    """Steps [rows, k] of one prior standard deviation along each conditioned direction.

    They are zero outside the layers of the attribute; for slack see `fit.condition`.
    """
    steps = {}
    for name, attribute in attributes.items():
        normal = condition(
            boundaries[name].normal,
            [boundaries[o].normal for o in attribute.still if o != name],
            slack,
        )
        steps[name] = on_layers(space.step(normal), rows, attribute.layers)
    return steps


def make_directions(
    generator: Network,
    attributes: Mapping[str, Attribute],
    codes: np.ndarray,
    scores: Mapping[str, np.ndarray],
    fitting: Fitting = Fitting(),
    trial: Trial | None = None,
) -> tuple[dict[str, Direction], dict[str, Boundary]]:
    """Fits, conditions and calibrates directions.

    A name that `acts.acts` knows determines the region. With a trial, the usual move of the
    attribute is measured on the trial's samples.

    Args:
        generator: of the codes.
        attributes: recipes by name.
        codes: [n, r, k] samples; r is 1 for codes in W.
        scores: name -> [n], all of `needed_scores`; NaN where a sample has none.
        fitting: how boundaries are fitted.
        trial: samples on which strengths are calibrated; None uses `fitting.length` for all.

    Returns:
        (name -> Direction, name -> Boundary).

    Raises:
        UserError: layers lie outside the generator, codes have another size, or there are too few
            samples.
    """
    rows, size = wplus_rows(generator.module), generator.module.latent_size
    for attribute in attributes.values():
        check_layers(attribute.layers, rows)
    space = code_space(generator, fitting.whitened)
    if (
        codes.shape[2] != size
        or codes.shape[1] not in (1, rows)
        or (codes.shape[1] == 1 < len(space.mean))
    ):
        raise UserError(
            f"codes have {codes.shape[1]} rows of {codes.shape[2]} numbers, the generator reads "
            f"{rows} of {size}; use codes of this generator"
        )
    boundaries = fit_boundaries(attributes, space.coordinates(codes), scores, fitting)
    fresh = None
    if trial is not None:
        trial.scorer.check(
            [a.score for a in attributes.values()] + [trial.face] * (trial.face is not None)
        )
        fresh = trial_codes(generator, trial)
    directions = {}
    steps = conditioned_steps(attributes, boundaries, space, rows, fitting.slack)
    for name, step in steps.items():
        attribute, boundary = attributes[name], boundaries[name]
        length, limits, unit = fitting.length, (-2.0, 2.0), "prior standard deviations"
        where = acts(name) or Acts((), WHOLE)
        how = ""
        if attribute.restricted and acts(name) is not None:
            step, how = _restricted(step, fitting, where, space)
            for other in attribute.apart if fitting.sensitivity is not None else ():
                away = on_layers(space.step(boundaries[other].normal), rows, attribute.layers)
                away, _ = _restricted(away, fitting, known(other), space)
                step = without(step, away, space)
        measured = {}
        if trial is not None:
            spread = float(np.nanstd(scores[attribute.score]))
            own = _scored(generator, trial, attribute.score)
            length = calibrate(attribute, step, fresh, spread, own)
            move, ceiling = usual_move(own(fresh), own(fresh + length * step))
            measured = {"score": attribute.score, "move": move, "ceiling": ceiling}
            face = _scored(generator, trial, trial.face or attribute.score)
            limits = clean_range(length * step, fresh[:16], face)
            unit += f" (aim: {attribute.score} rises by {attribute.shift} of its own)"
        print(
            f"{name}: accuracy {boundary.accuracy:.3f} on held-out extremes, "
            f"{boundary.remaining:.3f} on the remaining samples; "
            f"strength 1 = {length:.2f} standard deviations"
        )
        way = "whitened W" if fitting.whitened else "W"
        directions[name] = Direction(
            name=name,
            array=(length * step).astype(np.float32),
            range=limits,
            layers=attribute.layers,
            generator=generator_hash(generator),
            normalisation=f"{length:.4f} {unit}",
            method=f"{WAYS[attribute.method or fitting.method]} in {way} on "
            + (fitting.samples or f"{len(codes)} samples")
            + (f", conditioned on {_in_words(attribute.still)}" if attribute.still else "")
            + how,
            licence=fitting.licence,
            classes=where.classes,
            box=where.box,
            **measured,
        )
    return directions, boundaries


def _restricted(
    step: np.ndarray, fitting: Fitting, where: Acts, space: CodeSpace
) -> tuple[np.ndarray, str]:
    """A step restricted to a region as a plan says, and how that is called."""
    if fitting.channels is not None:
        found = sparse(step, fitting.channels, inside(fitting.channels.labels, where), space)
        about = f"{len(found.channels)} style channels, {found.realised:.0%} of them realised"
        return found.step, f", by {about}"
    if fitting.sensitivity is not None:
        zones = inside(fitting.sensitivity.labels, where)
        return localised(step, fitting.sensitivity, zones, space), ", restricted to its region"
    return step, ""


def _in_words(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{len(names)} other scores"


def trial_codes(generator: Network, trial: Trial) -> np.ndarray:
    """W+ codes [n, rows, k] of a trial's samples."""
    return samples(generator, trial.seed, trial.count, trial.psi)


def scored(generator: Network, trial: Trial, names: list[str]) -> Callable[[np.ndarray], Mapping]:
    """A function from codes [n, rows, k] to the scores of their pictures, name -> [n]."""

    def score(codes: np.ndarray) -> Mapping[str, np.ndarray]:
        if trial.work is None:
            return score_codes(generator, codes, trial.scorer, names)
        return scored_codes(generator, codes, trial.scorer, names, trial.work, progress=False)

    return score


def _scored(generator: Network, trial: Trial, name: str) -> Score:
    return lambda codes: np.asarray(scored(generator, trial, [name])(codes)[name])
