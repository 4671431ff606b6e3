"""From measured values to the cells of a table.

Means with confidence intervals, and honest columns for distances of sets.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from diffcam_jax.evaluation.bench import Bench
from diffcam_jax.evaluation.instruments import PAIRS, SetScore
from diffcam_jax.evaluation.tables import number
from diffcam_jax.metrics.bootstrap import interval
from diffcam_jax.metrics.frechet import ENOUGH

INTERVALS = (
    "In brackets: 95 % confidence intervals, for means of pictures by bootstrap (BCa), for FID and "
    "KID from random halves of both sets."
)


def mean_cell(bench: Bench, values: Iterable[float], digits: int) -> str:
    """The mean of what is a number, with its bootstrap interval."""
    found = interval(
        np.asarray(list(values), np.float64),
        seed=bench.config.seed,
        resamples=max(bench.config.bootstrap, 1),
    )
    ends = (found.low, found.high) if bench.config.bootstrap else None
    return number(found.value, digits, ends)


def mean(values: Iterable[float]) -> float:
    """The mean of what is a number; NaN where nothing is."""
    found = _finite(values)
    return float(found.mean()) if len(found) else math.nan


def spread(values: Iterable[float]) -> float:
    """The standard deviation of what is a number.

    NaN where all are equal, as nothing can be measured by it.
    """
    found = _finite(values)
    return float(found.std()) or math.nan if len(found) else math.nan


def _finite(values: Iterable[float]) -> np.ndarray:
    array = np.asarray(list(values), np.float64)
    return array[np.isfinite(array)]


def pair_heads(bench: Bench) -> list[str]:
    """Heads of the columns of `pair_cells`."""
    return [PAIRS[name].label for name in bench.pairs.names]


def pair_cells(bench: Bench, records: Sequence[Mapping[str, float]]) -> list[str]:
    """Means over pairs of every measure of the run."""
    return [
        mean_cell(bench, (r[name] for r in records), PAIRS[name].digits)
        for name in bench.pairs.names
    ]


def set_heads(bench: Bench, scores: Sequence[SetScore]) -> list[str]:
    """Heads of the columns of `set_cells`: with few pictures KID comes first, as the headline."""
    return [*distance_heads(bench, scores), "precision", "recall"]


def distance_heads(bench: Bench, scores: Sequence[SetScore]) -> list[str]:
    """The two distances, the one that may be the headline first."""
    frechet, kernel = bench.sets.labels
    if few(scores):
        return [f"{kernel} x1000 (headline)", f"{frechet} (biased: few pictures)"]
    return [frechet, f"{kernel} x1000"]


def set_cells(scores: Sequence[SetScore]) -> list[list[str]]:
    """A row of cells for every score."""
    rows = []
    for score in scores:
        kernel = number(score.kid.value, 2, (score.kid.low, score.kid.high))
        frechet = number(score.frechet.value, 2, (score.frechet.low, score.frechet.high))
        first = [kernel, frechet] if few(scores) else [frechet, kernel]
        rows.append([*first, number(score.precision, 3), number(score.recall, 3)])
    return rows


def set_notes(bench: Bench, scores: Sequence[SetScore]) -> list[str]:
    """The warning that goes with few pictures."""
    if not scores or not few(scores):
        return []
    least, (label, kernel) = min(min(score.counts) for score in scores), bench.sets.labels
    return [
        f"Warning: {least} pictures in the smallest set, fewer than {ENOUGH}. {label} is biased "
        "upwards by that and not comparable with "
        f"published values; the headline is {kernel}, which is not biased."
    ]


def few(scores: Sequence[SetScore]) -> bool:
    """Whether any set is too small for a Frechet distance as headline."""
    return any(score.few for score in scores)
