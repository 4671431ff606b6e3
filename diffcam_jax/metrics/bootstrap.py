"""Confidence intervals of numbers that were measured on a sample.

`interval` resamples with replacement, for statistics of single pictures or pairs (means,
differences of two methods, medians). Metrics of whole sets (FID, KID) must not be resampled in this
way: a picture that is drawn twice makes a set look less varied than it is. They use `half_samples`,
halves drawn without replacement: the spread of a metric over random halves of a sample is, to first
order, its error on the whole sample (the delete-d jackknife with d = n / 2), and their mean, which
has the bias of a smaller set, is not used. Sources: Efron, JASA 82 (1987); Shao and Wu, Annals of
Statistics 17 (1989).
"""

from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

RESAMPLES = 2000
_NUMBERS_AT_A_TIME = 1 << 22


class Interval(NamedTuple):
    """A number, the ends of its confidence interval, and the number of pictures it is based on.

    The ends are NaN for fewer than two pictures.
    """

    value: float
    low: float
    high: float
    count: int


def mean(values: np.ndarray) -> np.ndarray:
    """The mean of each resample: [r, n] -> [r]."""
    return values.mean(1)


def interval(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray] = mean,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """A statistic of independent values with its bootstrap confidence interval (BCa).

    Args:
        values: [n], one for each picture, or [n, ...], rows that belong together, such as two
            methods on one picture. Rows with a NaN (no face was found) are omitted; `count` is the
            number of the others.
        statistic: vectorised, [r, n, ...] -> [r]: one number for each of r resamples.
        seed: of the resampling.
        level: probability with which such an interval contains the true number.
        resamples: number of resamples.

    Reference:
        Efron, Better Bootstrap Confidence Intervals, JASA 82 (1987): bias-corrected and
        accelerated.
    """
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values.reshape(len(values), -1)).any(1)] if len(values) else values
    n = len(values)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    value = float(statistic(values[None])[0])
    if n == 1:
        return Interval(value, np.nan, np.nan, 1)
    rng = np.random.default_rng(seed)
    chunk = max(1, _NUMBERS_AT_A_TIME // values.size)
    parts = [min(chunk, resamples - start) for start in range(0, resamples, chunk)]
    found = np.concatenate([statistic(values[rng.integers(0, n, (part, n))]) for part in parts])
    if np.isfinite(values).all():
        ends = np.quantile(found, _levels(found, value, _without_each(values, statistic), level))
    else:  # the PSNR of equal pictures: no deviations to correct by, and nothing to interpolate
        ends = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Interval(value, float(ends[0]), float(ends[1]), n)


def _without_each(values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The statistic without the first value, without the second, ..."""
    n = len(values)
    others = np.arange(n - 1)
    chunk = max(1, _NUMBERS_AT_A_TIME // values.size)
    starts = range(0, n, chunk)
    rows = (np.arange(start, min(start + chunk, n))[:, None] for start in starts)
    return np.concatenate([statistic(values[others + (others >= row)]) for row in rows])


def _levels(found: np.ndarray, value: float, jackknife: np.ndarray, level: float) -> np.ndarray:
    """The quantiles of the resampled statistic that are the interval's ends."""
    normal, ends = NormalDist(), np.array([(1 - level) / 2, (1 + level) / 2])
    # A tie counts half, so that a statistic with few values is not taken for a biased one.
    below = ((found < value).mean() + (found <= value).mean()) / 2
    deviations = jackknife.mean() - jackknife
    spread = (deviations**2).sum()
    if spread == 0 or not 0 < below < 1:
        return ends
    bias, acceleration = normal.inv_cdf(below), (deviations**3).sum() / (6 * spread**1.5)
    shifted = bias + np.array([normal.inv_cdf(end) for end in ends])
    return np.array([normal.cdf(bias + z / (1 - acceleration * z)) for z in shifted])


def half_samples(n: int, repeats: int, seed: int) -> Bool[np.ndarray, "repeats n"]:
    """Random halves (rounded down) of n items, True where an item belongs to the half."""
    rng = np.random.default_rng(seed)
    return rng.permuted(np.tile(np.arange(n) < n // 2, (repeats, 1)), axis=1)


def spread_interval(
    value: float, halves: Float[np.ndarray, " repeats"], count: int, level: float = 0.95
) -> Interval:
    """The interval of a metric of whole sets.

    Args:
        value: measured on everything.
        halves: measured on `half_samples` of everything.
        count: pictures of the smaller set.
        level: as in `interval`.
    """
    error = float(np.std(halves, ddof=1)) * NormalDist().inv_cdf((1 + level) / 2)
    return Interval(value, value - error, value + error, count)
