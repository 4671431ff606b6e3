"""Files with something wrong in them, for readers that must refuse them in their own words."""

from collections.abc import Callable

import numpy as np

from diffcam_jax.errors import UserError


def count_refused(
    read: Callable[[bytes], object], good: bytes, seed: int, trials: int, cut: float
) -> int:
    """How many damaged copies of a file a reader refuses.

    Any other exception than `UserError` comes through.

    Args:
      read: from the content of a file.
      good: the file.
      seed: of the damage.
      trials: copies.
      cut: share of them that end early; in each, one to three bytes are others.
    """
    rng = np.random.default_rng(seed)
    refused = 0
    for _ in range(trials):
        bad = bytearray(good)
        if rng.random() < cut:
            del bad[rng.integers(len(bad)) :]
        for _ in range(rng.integers(1, 4)):
            if bad:
                bad[rng.integers(len(bad))] = rng.integers(256)
        try:
            read(bytes(bad))
        except UserError:
            refused += 1
    return refused
