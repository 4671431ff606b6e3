"""How long a step has to be: strength 1, the clean range, and the usual move of a score."""

import math
from collections.abc import Callable, Sequence

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

    def rise(length: float) -> float:
        return mean_rise(before, score(base + length * step)) / spread

    return min(length_of(rise, attribute.shift, ladder), attribute.most)


def mean_rise(before: Float[np.ndarray, " n"], after: Float[np.ndarray, " n"]) -> float:
    """The mean rise of the samples that have both scores; NaN when none has."""
    rise = after - before
    return float(np.nanmean(rise)) if np.isfinite(rise).any() else math.nan


def length_of(rise: Callable[[float], float], aim: float, ladder: Sequence[float]) -> float:
    """The length at which a rise reaches its aim, or the one with the largest rise that was tried.

    Args:
        rise: of a length; NaN where nothing can be measured any more, and further on.
        aim: the rise that is wanted.
        ladder: lengths to try, ascending.
    """
    lengths, rises = [0.0], [0.0]
    for length in ladder:
        found = rise(length)
        if math.isnan(found):
            break
        lengths.append(length)
        rises.append(found)
        if found >= aim:
            break
    # Interpolation needs ascending values; a score that saturates keeps its best rise.
    return float(np.interp(aim, np.maximum.accumulate(rises), lengths))


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

    def is_clean(strength: float) -> bool:
        return bool(np.isfinite(score(codes + strength * array)).all())

    return clean_strengths(is_clean, ladder)


def clean_strengths(
    is_clean: Callable[[float], bool], ladder: Sequence[float]
) -> tuple[float, float]:
    """The lowest and the highest strength that are clean.

    Args:
        is_clean: of a strength.
        ladder: sizes to try, descending; below the last one 1 is assumed to be clean.
    """
    low, high = (
        sign * next((size for size in ladder if is_clean(sign * size)), 1.0) for sign in (-1.0, 1.0)
    )
    return low, high


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
