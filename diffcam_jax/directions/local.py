"""Directions that change what an attribute changes, but only in its own region.

A step D in W, the same for all rows, changes the attribute and much else. Of all steps in W+, the
one with the most similar effect inside the region, and none outside, is

    argmin_d  |J (d - D)|^2 inside + AWAY |J d|^2 outside + RIDGE |d|^2

with the derivative J of the picture by the code, and lengths in standard deviations of the prior. J
is known by the probes of `sensitivity`, so that this is a kernel regression: the steps' effect on
each probe is to be that of D inside, and zero outside. Every row, and every direction in it, gets
the weight that it deserves for what it changes where.
"""

import numpy as np
from jaxtyping import Bool, Float

from diffcam_jax.directions.sensitivity import Sensitivity, areas
from diffcam_jax.directions.space import CodeSpace

AWAY = 10.0
RIDGE = 5e-4
LEAST_KEPT = 0.25


def localised(
    step: Float[np.ndarray, "rows size"],
    sensitivity: Sensitivity,
    inside: Bool[np.ndarray, " z"],
    space: CodeSpace,
    away: float = AWAY,
    ridge: float = RIDGE,
) -> Float[np.ndarray, "rows size"]:
    """The step with the most similar effect inside of some zones and the least outside of them.

    It is as long as it must be to change as much inside as the given one, up to four times as long
    as the regression says.

    Args:
        step: D, in W+; rows of zeros stay so.
        sensitivity: of the generator.
        inside: the zones of the attribute's region.
        space: moments of the prior.
        away: weight of squared changes outside.
        ridge: weight of the squared length.
    """
    n, z, k, rows, size = sensitivity.probes.shape
    used = step.any(1)[:, None]
    probes = (used * sensitivity.probes / np.sqrt(n * k)).reshape(-1, rows, size)
    covariance = np.matmul(space.eigenvectors * space.eigenvalues[:, None], space.eigenvectors.mT)
    spread = np.matmul(probes.swapaxes(0, 1), covariance).swapaxes(0, 1)
    flat, spread = probes.reshape(len(probes), -1), spread.reshape(len(probes), -1)
    # Large zones count more, but small ones, such as lips, are not forgotten.
    weights = (areas(sensitivity.labels) + 1 / z) / 2 * np.where(inside, 1.0, away)
    kernel = flat @ spread.T
    by_probe = np.tile(np.repeat(weights, k), n)
    wanted = np.where(np.tile(np.repeat(inside, k), n), flat @ step.ravel(), 0.0)
    found = np.linalg.solve(kernel + np.diag(ridge / by_probe), wanted)
    reached = kernel @ found
    within = by_probe * (wanted != 0)
    kept = np.sqrt((within * reached**2).sum() / max((within * wanted**2).sum(), 1e-12))
    made = (found @ spread).reshape(rows, size)
    return (made / max(kept, LEAST_KEPT)).astype(np.float32)


def without(
    step: Float[np.ndarray, "rows size"], other: Float[np.ndarray, "rows size"], space: CodeSpace
) -> Float[np.ndarray, "rows size"]:
    """A step less its component along another, with lengths in standard deviations of the prior."""
    root = space.eigenvectors / np.sqrt(np.maximum(space.eigenvalues, 1e-6))[:, None]
    root = np.broadcast_to(root, (len(step), *root.shape[1:]))
    own, away = (np.einsum("rs,rst->rt", x, root) for x in (step, other))
    return (step - (own * away).sum() / (away**2).sum() * other).astype(np.float32)
