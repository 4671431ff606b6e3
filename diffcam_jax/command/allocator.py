"""Memory of programs that compute on a CPU: the C library's allocator, and Python's collector."""

import ctypes
import gc
import sys

# Parameters of glibc's mallopt, and their values.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**28, _ARENA_MAX: 1}

# New objects until the youngest are looked through, and how many times that until older ones are.
_COLLECTION = (100_000, 20, 100)


def keep_freed_memory() -> None:
    """Keeps memory that is freed for the next array, which is mostly as large.

    glibc hands large buffers back to the system at once, and the next step of a network faults
    every page of them in again: up to a third of its time. Call it before the first array is made;
    it does nothing where there is no glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return
    for parameter, value in _KEEP.items():
        mallopt(parameter, value)


def collect_rarely() -> None:
    """Looks for garbage in cycles a hundred times less often than Python does by itself.

    Tracing networks makes hundreds of thousands of objects that stay, and looking through them
    again and again takes a fifth of its time. For programs that start, trace, compute and end; not
    for loops that run for days.
    """
    gc.set_threshold(*_COLLECTION)
