"""How long a step has to be: strength 1, the clean range, and the usual move of a score."""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from diffcam_jax.directions.plans import Attribute
from diffcam_jax.errors import UserError

Score = Callable[[np.ndarray], np.ndarray]


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
