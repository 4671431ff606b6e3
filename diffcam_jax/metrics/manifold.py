"""Improved precision and recall of a set of pictures against real ones.

A feature vector lies within a set if it is no farther from one of its members than that member's
k-th nearest neighbour is. Precision is the share of generated pictures within the real set, recall
that of real ones within the generated set. Published numbers use VGG16's second linear layer; with
Inception features, as here, they are not comparable to those.

Reference:
    Kynkaanniemi et al., arXiv 1904.06991, eqs. 1 and 2.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from diffcam_jax.errors import UserError

_ROWS = 512


class PrecisionRecall(NamedTuple):
    """Both in [0, 1]."""

    precision: float
    recall: float


def precision_recall(
    real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"], k: int = 3
) -> PrecisionRecall:
    """Improved precision and recall.

    Args:
        real: features of more than k real pictures.
        generated: features of more than k generated pictures. Sets of different sizes bias both
            numbers; published ones use 50,000.
        k: number of neighbours, without the vector itself.

    Raises:
        UserError: there are too few vectors.
    """
    return PrecisionRecall(
        float(within(generated, real, k).mean()), float(within(real, generated, k).mean())
    )


def within(
    queries: Float[np.ndarray, "n d"], members: Float[np.ndarray, "m d"], k: int = 3
) -> Bool[np.ndarray, " n"]:
    """Which queries lie within a set; precision and recall are means of these values.

    Args:
        queries: vectors to test.
        members: the set.
        k: as in `precision_recall`.

    Raises:
        UserError: the set is too small.
    """
    if k < 1 or len(members) <= k:
        raise UserError(
            f"neighbourhoods of {k} need more than {k} pictures of each set, got {len(members)}; "
            "add pictures"
        )
    queries, members = np.asarray(queries, np.float64), np.asarray(members, np.float64)
    # Position k counts from 0, and the nearest vector of a member is the member itself.
    stripes = range(0, len(members), _ROWS)
    radii = np.concatenate(
        [np.partition(_squares(members[i : i + _ROWS], members), k, axis=1)[:, k] for i in stripes]
    )
    stripes = range(0, len(queries), _ROWS)
    return np.concatenate(
        [(_squares(queries[i : i + _ROWS], members) <= radii).any(1) for i in stripes]
    )


def _squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distances of all pairs."""
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T, 0)
