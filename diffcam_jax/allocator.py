"""The C library's allocator, for programs that compute on a CPU."""

import ctypes
import sys

# Parameters of glibc's mallopt, and their values.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**28, _ARENA_MAX: 1}


def keep_freed_memory() -> None:
    """Keeps memory that is freed for the next array, which is mostly as large.

    glibc hands large buffers back to the system at once, and the next step of a network faults every page of them in again: up
    to a third of its time. Call it before the first array is made; it does nothing where there is no glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return
    for parameter, value in _KEEP.items():
        mallopt(parameter, value)
