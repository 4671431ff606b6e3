"""From scored codes to directions: boundaries, conditions, layers, and the strength of an edit.

This works with any generator and any scores: those of `scoring`, or labels of `labels`. The shipped
directions are one use of it (`recipe`), another in Python is

    made = make.make_directions(generator, {"wings": make.Attribute("wings", (0, 6))}, codes,
    {"wings": labels})
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jaxtyping import Float

from diffcam_jax.directions import Direction, check_layers, on_layers
from diffcam_jax.directions.acts import WHOLE, Acts, acts
from diffcam_jax.directions.fit import Boundary, condition, fit_boundary
from diffcam_jax.directions.scoring import Scorer, score_codes
from diffcam_jax.directions.space import CodeSpace, code_space, draw, generator_hash, truncated
from diffcam_jax.errors import UserError
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network

Score = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Attribute:
    """Recipe of one direction.

    Attributes:
        score: name of the score that it raises.
        layers: half-open range of W+ rows it may change.
        still: attributes, or scores, whose directions are projected out.
        shift: rise of the mean score at strength 1, in standard deviations of the score over the
            samples.
        among: (score, lowest, highest) limits of the samples on which it is fitted: no eyes behind
            sunglasses, beards among men.
        most: largest allowed step, in prior standard deviations along the direction.
    """

    score: str
    layers: tuple[int, int]
    still: tuple[str, ...] = ()
    shift: float = 1.5
    among: tuple[tuple[str, float, float], ...] = ()
    most: float = 4.0


@dataclasses.dataclass(frozen=True)
class Fitting:
    """How boundaries are fitted and steps are measured.

    Attributes:
        whitened: fit in whitened coordinates; False is InterFaceGAN's way.
        ratio: see `fit.fit_boundary`.
        count: see `fit.fit_boundary`.
        length: strength 1 in prior standard deviations where no scorer can calibrate it.
        licence: of the directions.
        samples: description of the samples on which they were fitted.
    """

    whitened: bool = True
    ratio: float = 0.25
    count: int | None = None
    length: float = 2.0
    licence: str = "as the generator"
    samples: str = ""


@dataclasses.dataclass(frozen=True)
class Trial:
    """New samples on which strengths are calibrated.

    Attributes:
        scorer: of their pictures.
        count: number of samples.
        seed: of the draws; another one than that of the fitted samples.
        psi: their truncation.
        face: the score that tells whether a picture is still clean; None uses the attribute's own.
    """

    scorer: Scorer
    count: int = 32
    seed: int = 2
    psi: float = 0.8
    face: str | None = None


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
        own = np.asarray(scores[attributes[name].score if name in attributes else name], np.float64)
        for other, lowest, highest in attributes[name].among if name in attributes else ():
            own = np.where((scores[other] >= lowest) & (scores[other] <= highest), own, np.nan)
        try:
            boundaries[name] = fit_boundary(codes, own, fitting.ratio, fitting.count)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    return boundaries


def conditioned_steps(
    attributes: Mapping[str, Attribute],
    boundaries: Mapping[str, Boundary],
    space: CodeSpace,
    rows: int,
) -> dict[str, np.ndarray]:
    """Steps [rows, k] of one prior standard deviation along each conditioned direction.

    They are zero outside the layers of the attribute.
    """
    steps = {}
    for name, attribute in attributes.items():
        normal = condition(
            boundaries[name].normal, [boundaries[o].normal for o in attribute.still if o != name]
        )
        steps[name] = on_layers(space.step(normal), rows, attribute.layers)
    return steps


def calibrate(
    attribute: Attribute,
    step: np.ndarray,
    codes: np.ndarray,
    spread: float,
    score: Score,
    ladder: tuple[float, ...] = (1.5, 3.0, 4.5),
) -> float:
    """Length of strength 1: where the mean score has risen by `attribute.shift` deviations.

    Only samples in the lower half of the score count: who already smiles cannot smile much more.

    Args:
        attribute: its recipe.
        step: [rows, k], one prior standard deviation.
        codes: [n, rows, k] samples.
        spread: standard deviation of the score over the prior.
        score: codes [n, rows, k] -> scores [n].
        ladder: lengths to try, ascending.

    Returns:
        Length in prior standard deviations, at most `attribute.most`.

    Raises:
        UserError: no sample has a score.
    """
    before = score(codes)
    if not np.isfinite(before).any():
        raise UserError(
            f"none of the {len(codes)} samples for the strength of {attribute.score} has a "
            "score; use more"
        )
    low = before <= np.nanmedian(before)
    base, before = codes[low], before[low]
    lengths, rises = [0.0], [0.0]
    for length in ladder:
        rise = score(base + length * step) - before
        if not np.isfinite(rise).any():
            break
        lengths.append(length)
        rises.append(float(np.nanmean(rise)) / spread)
        if rises[-1] >= attribute.shift:
            break
    # Interpolation needs ascending values; a score that saturates keeps its best rise.
    return float(
        min(np.interp(attribute.shift, np.maximum.accumulate(rises), lengths), attribute.most)
    )


def clean_range(
    array: np.ndarray, codes: np.ndarray, score: Score, ladder: tuple[float, ...] = (2.0, 1.5)
) -> tuple[float, float]:
    """Strengths between which every sample that has a score keeps one.

    For a face this means that the landmarker still finds it.

    Args:
        array: [rows, k] direction at strength 1.
        codes: [n, rows, k] samples.
        score: codes [n, rows, k] -> scores [n], NaN without a face.
        ladder: strengths to try, descending; below the last one 1 is assumed to be clean.

    Returns:
        (lowest, highest).
    """
    codes = codes[np.isfinite(score(codes))]
    if not len(codes):
        return -1.0, 1.0

    def furthest(sign: float) -> float:
        clean = (
            strength
            for strength in ladder
            if np.isfinite(score(codes + sign * strength * array)).all()
        )
        return sign * next(clean, 1.0)

    return furthest(-1.0), furthest(1.0)


def usual_move(
    before: Float[np.ndarray, " n"],
    after: Float[np.ndarray, " n"],
) -> tuple[float, float]:
    """The usual rise of an attribute's score at strength 1, and its ceiling.

    Args:
        before: scores of samples, in the score's own unit; NaN where there is none.
        after: those of the same samples at strength 1.

    Returns:
        (mean rise over the samples in the lower half of `before`, 90 % quantile of `after`), as
        `Direction.move` and `.ceiling`; 0 and infinity when no sample has both scores, or when the
        score does not rise and so does not measure the direction.
    """
    both = np.isfinite(before) & np.isfinite(after)
    if not both.any():
        return 0.0, math.inf
    before, after = before[both].astype(np.float64), after[both].astype(np.float64)
    low = before <= np.median(before)
    move = float(np.mean(after[low] - before[low]))
    return (move, float(np.quantile(after, 0.9))) if move > 0 else (0.0, math.inf)


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
        drawn = truncated(
            draw(generator, jax.random.key(trial.seed), trial.count), space.mean, trial.psi
        )
        fresh = np.broadcast_to(drawn, (len(drawn), rows, size))
    directions = {}
    for name, step in conditioned_steps(attributes, boundaries, space, rows).items():
        attribute, boundary = attributes[name], boundaries[name]
        length, limits, unit = fitting.length, (-2.0, 2.0), "prior standard deviations"
        where = acts(name) or Acts((), WHOLE)
        measured = {}
        if trial is not None:
            spread = float(np.nanstd(scores[attribute.score]))
            own = _scored(generator, trial.scorer, attribute.score)
            length = calibrate(attribute, step, fresh, spread, own)
            move, ceiling = usual_move(own(fresh), own(fresh + length * step))
            measured = {"score": attribute.score, "move": move, "ceiling": ceiling}
            face = _scored(generator, trial.scorer, trial.face or attribute.score)
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
            method=f"linear SVM in {way} on {fitting.samples or f'{len(codes)} samples'}"
            + (f", conditioned on {', '.join(attribute.still)}" if attribute.still else ""),
            licence=fitting.licence,
            classes=where.classes,
            box=where.box,
            **measured,
        )
    return directions, boundaries


def _scored(generator: Network, scorer: Scorer, name: str) -> Score:
    """A function from codes [n, rows, k] to one score [n] of their pictures."""
    return lambda codes: np.asarray(score_codes(generator, codes, scorer, [name])[name])
