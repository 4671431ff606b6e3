"""A stream in which every item sees those before and after it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def with_neighbours(items: Iterable[Item], radius: int) -> Iterator[tuple[Item, list[Item]]]:
    """Every item with those at most `radius` places away, itself included, in their order.

    Only these are held, however long the stream is.
    """
    held: deque[Item] = deque(maxlen=2 * radius + 1)
    number = read = 0
    for item in items:
        held.append(item)
        read += 1
        if read > radius:
            yield _around(held, read, number, radius)
            number += 1
    while number < read:
        yield _around(held, read, number, radius)
        number += 1


def _around(held: deque[Item], read: int, number: int, radius: int) -> tuple[Item, list[Item]]:
    first = read - len(held)
    around = [item for i, item in enumerate(held, first) if abs(i - number) <= radius]
    return held[number - first], around


def averaged(
    around: Sequence[Item],
    place: Callable[[Item], int],
    value: Callable[[Item], np.ndarray],
    number: int,
    radius: int,
) -> np.ndarray:
    """The mean of neighbours, weighted by a triangle over their distance in frames.

    Args:
        around: the neighbours.
        place: number of a neighbour's frame.
        value: what is averaged of it, float.
        number: of the frame in the middle.
        radius: distance from which on a neighbour would count nothing, less 1.
    """
    weights = np.array([radius + 1 - abs(place(item) - number) for item in around], np.float32)
    weights = np.maximum(weights, 0) / np.maximum(weights, 0).sum()
    return sum(
        (w * value(item) for w, item in zip(weights, around, strict=True)), np.float32(0)
    ).astype(np.float32)
