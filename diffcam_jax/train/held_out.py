"""Evaluation on held-out pictures while training: means of measures, and sheets to look at."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Array, UInt8

Arrays = Mapping[str, np.ndarray]


def means(
    measure: Callable[[Arrays], Mapping[str, Array | np.ndarray]], arrays: Arrays, size: int
) -> dict[str, float]:
    """Averages what is measured on each picture; values that are not defined (NaN) do not count.

    Args:
        measure: a batch -> {name: values [b]}.
        arrays: name -> [n, ...], all of the same n.
        size: of a batch; the last one may be smaller.
    """
    count = len(next(iter(arrays.values())))
    parts = [
        measure({name: array[i : i + size] for name, array in arrays.items()})
        for i in range(0, count, size)
    ]
    return {
        name: float(np.nanmean(np.concatenate([part[name] for part in parts]))) for name in parts[0]
    }


def sheet(
    columns: Sequence[UInt8[Array, "n s s 3"] | UInt8[np.ndarray, "n s s 3"]],
) -> UInt8[np.ndarray, "h w 3"]:
    """Arranges pictures in one: a row for every face, with the columns side by side."""
    rows = np.concatenate([np.asarray(column) for column in columns], axis=2)
    return rows.reshape(-1, *rows.shape[2:])
