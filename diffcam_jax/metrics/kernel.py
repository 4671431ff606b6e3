"""Kernel distance of two sets of features (KID with Inception features), unbiased at any size.

The squared maximum mean discrepancy with the kernel (x.y / d + 1)^3 of d features. It may be
slightly negative for equal distributions. Reference: Binkowski et al., Demystifying MMD GANs, arXiv
1801.01401.
"""

import numpy as np
from jaxtyping import Float

from diffcam_jax.errors import UserError
from diffcam_jax.metrics.bootstrap import Interval, half_samples, spread_interval

DEGREE = 3
HALVES = 400
_ROWS = 512


def polynomial(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, "n m"]:
    """The kernel of all pairs."""
    return (a @ b.T / a.shape[1] + 1) ** DEGREE


def kid(
    a: Float[np.ndarray, "n d"],
    b: Float[np.ndarray, "m d"],
    subsets: int = 100,
    size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """KID as it is published: mean and standard deviation over random subsets of both sets.

    Args:
        a: features of one set.
        b: features of the other set.
        subsets: number of subsets to draw.
        size: pictures of a subset; the whole smaller set if that has fewer.
        seed: of the draw.

    Returns:
        (mean, standard deviation); the deviation is that of a subset, not the error of the mean:
        see `kid_interval`.

    Raises:
        UserError: a set has fewer than 2 pictures.
    """
    a, b = _checked(a, b)
    size = min(size, len(a), len(b))
    rng = np.random.default_rng(seed)
    draws = ([x[rng.choice(len(x), size, replace=False)] for x in (a, b)] for _ in range(subsets))
    found = np.array([_sums(x, y, *np.ones((2, 1, size)))[0] for x, y in draws])
    return float(found.mean()), float(found.std())


def kid_interval(
    a: Float[np.ndarray, "n d"],
    b: Float[np.ndarray, "m d"],
    repeats: int = HALVES,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """KID of the whole sets, no subsets, with a confidence interval from random halves of both.

    The kernel is evaluated only once: the distance of every half is a quadratic form of it.

    Raises:
        UserError: a set has fewer than 4 pictures.
    """
    a, b = _checked(a, b, 4)
    value = _sums(a, b, *(np.ones((1, len(x))) for x in (a, b)))[0]
    halves = _sums(
        a, b, half_samples(len(a), repeats, seed), half_samples(len(b), repeats, seed + 1)
    )
    return spread_interval(float(value), halves, min(len(a), len(b)), level)


def _sums(
    a: np.ndarray, b: np.ndarray, of_a: np.ndarray, of_b: np.ndarray
) -> Float[np.ndarray, " r"]:
    """The unbiased squared discrepancy of r pairs of parts.

    The parts are chosen by weights of 0 and 1, [r, n] and [r, m].
    """
    of_a, of_b = np.asarray(of_a, np.float64), np.asarray(of_b, np.float64)
    n, m = of_a.sum(1), of_b.sum(1)
    within_a, within_b, between = (
        _quadratic(a, a, of_a, of_a),
        _quadratic(b, b, of_b, of_b),
        _quadratic(a, b, of_a, of_b),
    )
    own_a, own_b = (
        of @ ((x**2).sum(1) / x.shape[1] + 1) ** DEGREE for x, of in ((a, of_a), (b, of_b))
    )
    return (
        (within_a - own_a) / (n * (n - 1))
        + (within_b - own_b) / (m * (m - 1))
        - 2 * between / (n * m)
    )


def _quadratic(x: np.ndarray, y: np.ndarray, of_x: np.ndarray, of_y: np.ndarray) -> np.ndarray:
    """Sum of the kernel over the chosen pairs, a stripe of rows at a time."""
    total = np.zeros(len(of_x))
    for start in range(0, len(x), _ROWS):
        rows = slice(start, start + _ROWS)
        total += (of_x[:, rows] * (of_y @ polynomial(y, x[rows]))).sum(1)
    return total


def _checked(a: np.ndarray, b: np.ndarray, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if min(len(a), len(b)) < least:
        raise UserError(
            f"KID needs at least {least} pictures of each set, got {min(len(a), len(b))}; add "
            "pictures"
        )
    return a, b
