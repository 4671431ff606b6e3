"""The same work on many things, several at a time: threads, for NumPy and JAX leave Python free."""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")
_MOST = 4  # by default: each holds a few hundred megabytes


def cores() -> int:
    """How many things this machine does at a time by default: its free cores, at most `_MOST`."""
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(free or 1, _MOST)


def side_by_side(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[tuple[Item, Callable[[], Result]]]:
    """Does the work on all items, and gives the results in the order of the items.

    At most one result more than there are threads is held at a time, so memory does not grow with
    the number of items. When the caller stops early, what has not begun is left out.

    Args:
        work: may be called by several threads at once.
        items: taken one by one.
        threads: how many; 1 works in the caller's own, when the result is asked for.

    Yields:
        An item, and a function that returns its result or raises what the work raised.
    """
    if threads == 1:
        for item in items:
            yield item, functools.partial(work, item)
        return
    pool, begun = ThreadPoolExecutor(threads), deque()
    try:
        for item in items:
            begun.append((item, pool.submit(work, item)))
            if len(begun) > threads:
                item, future = begun.popleft()
                yield item, future.result
                del future  # with its result
        while begun:
            item, future = begun.popleft()
            yield item, future.result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
